"""Guided searches: plans, what is kept, what is counted, and that incremental scores are the scorer's own."""

import dataclasses

import pytest
import torch
from step_world import DEPTH, DigitScorer, StepEngine, answer_rollout, problem, step_rollout

from mmprm_hf import demo
from mmprm_hf.engines import SamplingConfig, TransformersEngine
from mmprm_hf.nano.world import problems
from mmprm_hf.rerank.candidates import GUIDED_SEARCHES, select, with_scores
from mmprm_hf.rerank.guided_search import SearchPlan, guided_search, search_plan
from mmprm_hf.scoring import PRMScorer


def search(plan, engine=None, scorer=None, targets=None, **options):
    engine, scorer = engine or StepEngine(), scorer or DigitScorer()
    found, _, _ = guided_search(engine, scorer, targets or [problem()], plan, **options)
    return found


def winner(solutions):
    scored = with_scores(solutions.candidates, "min")
    return scored[select(scored, "beam_search", "min")]


@pytest.mark.parametrize(
    ("num_candidates", "width"), [(1, 1), (2, 2), (3, 3), (4, 2), (6, 3), (7, 7), (8, 4), (12, 4), (16, 4)]
)
def test_the_beam_width_divides_the_number_of_draws(num_candidates, width):
    beam, dvts = (search_plan(name, num_candidates) for name in ("beam_search", "dvts"))
    assert beam == SearchPlan(num_candidates, width) and beam.places(0) == num_candidates // width
    assert dvts == SearchPlan(width, width, num_groups=num_candidates // width) and dvts.places(0) == 1
    assert all(plan.num_groups * plan.draws(depth) == num_candidates for plan in (beam, dvts) for depth in range(5))


def test_annealing_begins_wide_and_narrows_down_to_one_prefix():
    plan = search_plan("beam_annealing", 16)
    draws = [plan.draws(depth) for depth in range(12)]
    assert draws[0] == 32 and draws == sorted(draws, reverse=True) and draws[-1] == plan.beam_width == 4
    assert plan.places(0) == 5 and plan.places(11) == 1
    assert sum(draws[:5]) == pytest.approx(5 * 16, rel=0.15), "a solution of five steps costs about what N costs"


@pytest.mark.parametrize("width", [0, 9])
def test_a_beam_width_beyond_the_draws_is_refused(width):
    with pytest.raises(ValueError, match=f"Found beam_width={width} with num_candidates=8"):
        search_plan("dvts", 8, width)


def test_other_strategies_are_no_search():
    with pytest.raises(ValueError, match="'best_of_n' is no guided search"):
        search_plan("best_of_n", 8)


def written(table):
    """A policy that writes the steps of a table after each prefix, in turn; after `DEPTH` steps it answers."""

    def write(request, index):
        if len(request.prefix) == DEPTH:
            return answer_rollout("".join(request.prefix))
        steps = table[request.prefix]
        return step_rollout(steps[index % len(steps)])

    return write


# "5" looks best at first and leads nowhere; "4" is the way to "499".
TRAP = {
    (): ["5", "4"], ("5",): ["1", "0"], ("4",): ["9", "2"], ("5", "1"): ["1", "0"], ("5", "0"): ["0"],
    ("4", "9"): ["9", "3"], ("4", "2"): ["2"],
}  # fmt: skip


def test_a_wide_beam_finds_what_a_narrow_one_gave_up():
    narrow = search(SearchPlan(2, 2), StepEngine(written(TRAP)))[0]
    wide = search(SearchPlan(4, 2), StepEngine(written(TRAP)))[0]
    assert winner(narrow).answer == "511"
    assert winner(wide).answer == "499"


def test_a_beam_that_holds_everything_finds_the_best_of_all():
    tree = {(): ["3", "7"]} | {(a,): ["2", "8"] for a in "37"} | {(a, b): ["1", "6"] for a in "37" for b in "28"}
    (found,) = search(SearchPlan(16, 2), StepEngine(written(tree)))
    answers = {candidate.answer for candidate in found.candidates}
    assert answers == {a + b + c for a in "37" for b in "28" for c in "16"}
    assert winner(found).answer == "786"


def test_rounds_draw_what_the_plan_says_and_keep_the_best():
    engine, scorer = StepEngine(), DigitScorer()
    search(search_plan("beam_search", 8, 2), engine, scorer)
    for depth, requests in enumerate(engine.requests[: DEPTH + 1]):
        assert sum(request.num_samples for request in requests) == 8
        assert all(len(request.prefix) == depth for request in requests)
    session = scorer.sessions["p"]
    for scored, kept in zip(session.scored, session.kept, strict=False):
        ranked = sorted(dict.fromkeys(scored), key=lambda s: (min(map(int, s)), sum(map(int, s))), reverse=True)
        assert kept == ranked[:4]


def test_equal_steps_are_scored_once_and_counted_as_often_as_drawn():
    always = {(): ["9"], ("9",): ["9"], ("9", "9"): ["9"]}
    engine, scorer = StepEngine(written(always)), DigitScorer()
    (found,) = search(search_plan("beam_search", 8), engine, scorer)
    assert [len(batch) for batch in scorer.sessions["p"].scored] == [1] * DEPTH + [0]
    assert [candidate.answer for candidate in found.candidates] == ["999"] * 8
    assert found.num_tokens == DEPTH * 8 * 2 + 8
    assert {candidate.num_tokens for candidate in found.candidates} == {DEPTH * 2 + 1}


def test_a_complete_solution_takes_a_place_and_the_search_ends_when_all_are_taken():
    """After one step half of the draws answer. Of two places, a good answer takes one: its share is not drawn again."""

    def write(request, index):
        if not request.prefix:
            return step_rollout("97"[index % 2])
        return answer_rollout(request.prefix[0]) if request.prefix == ("9",) else step_rollout("1")

    engine = StepEngine(write)
    (found,) = search(SearchPlan(4, 2), engine, max_steps=6)
    assert [candidate.answer for candidate in found.candidates if candidate.complete] == ["9", "9"]
    assert [sum(r.num_samples for r in requests) for requests in engine.requests] == [4, 4, 2, 2, 2, 2, 2]
    everything = StepEngine(lambda request, index: step_rollout("9") if not request.prefix else answer_rollout("9"))
    search(SearchPlan(4, 2), everything)
    assert len(everything.requests) == 2


def test_limits_make_incomplete_candidates_and_nothing_is_lost():
    endless = StepEngine(lambda request, index: step_rollout(str(index), num_tokens=5))
    (found,) = search(SearchPlan(2, 2), endless, max_steps=3)
    assert len(found.candidates) == 2 and not any(candidate.complete for candidate in found.candidates)
    assert {len(candidate.steps) for candidate in found.candidates} == {4}
    assert found.num_tokens == 4 * 2 * 5
    endless.requests.clear()
    (found,) = search(SearchPlan(2, 2), endless, max_new_tokens=12)
    assert {candidate.num_tokens for candidate in found.candidates} == {15} and len(endless.requests) == 3


def test_an_answer_beyond_the_limit_of_tokens_is_incomplete():
    (found,) = search(SearchPlan(1, 1), StepEngine(written({(): "9", ("9",): "9", ("9", "9"): "9"})), max_new_tokens=6)
    (candidate,) = found.candidates
    assert candidate.answer == "999" and not candidate.complete and candidate.num_tokens == 7


@pytest.mark.parametrize("reason", ["length", "control_token"])
def test_a_cut_step_is_kept_as_an_incomplete_candidate(reason):
    def write(request, index):
        step = step_rollout(str(index))
        return dataclasses.replace(step, finish_reason=reason) if index == 0 else step

    (found,) = search(SearchPlan(2, 2), StepEngine(write), max_steps=2)
    cut = [candidate for candidate in found.candidates if candidate.text.endswith("<step>0")]
    assert len(cut) == 3 and not any(candidate.complete for candidate in cut)


def test_a_step_that_the_prm_cannot_read_ends_its_branch_as_incomplete():
    scorer = DigitScorer(unreadable=("5",))
    (found,) = search(SearchPlan(4, 2), StepEngine(written(TRAP)), scorer)
    assert winner(found).answer == "499"
    unread = [candidate for candidate in found.candidates if not candidate.complete]
    assert [candidate.steps for candidate in unread] == [("5",)]
    assert all("5" not in steps for batch in scorer.sessions["p"].scored for steps in batch)


def test_groups_of_dvts_neither_compete_nor_mix():
    """All draws of the first group are worse than those of the second; each still keeps its own best prefix."""

    def write(request, index):
        if len(request.prefix) == DEPTH:
            return answer_rollout("".join(request.prefix))
        if not request.prefix:
            group = seeds.setdefault(request.seed, len(seeds))
            return step_rollout(("12" if group == 0 else "89")[index % 2])
        return step_rollout(request.prefix[0])

    seeds = {}
    (found,) = search(SearchPlan(2, 2, num_groups=2), StepEngine(write))
    assert {candidate.answer for candidate in found.candidates} == {"222", "999"}
    seeds.clear()
    (found,) = search(SearchPlan(4, 2), StepEngine(lambda r, i: write(r, i) if r.prefix else step_rollout("1289"[i])))
    assert {candidate.answer for candidate in found.candidates} == {"888", "999"}, "one beam search keeps the best two"


@pytest.mark.parametrize("strategy", GUIDED_SEARCHES)
def test_a_problem_is_searched_alike_alone_and_among_others(strategy):
    plan = search_plan(strategy, 8)
    among = search(plan, targets=[problem(name) for name in "abc"], seed=3)
    assert search(plan, targets=[problem("b")], seed=3) == [among[1]]
    assert search(plan, targets=[problem("b")], seed=4) != [among[1]]
    assert among[0].candidates != among[1].candidates


@pytest.fixture(scope="module")
def nano():
    return demo.load_models()


@pytest.mark.parametrize("strategy", GUIDED_SEARCHES)
def test_scores_of_a_search_are_those_of_whole_solutions_and_cost_less(strategy, nano):
    targets = [one.to_problem() for one in problems("test", 3)]
    sampling = SamplingConfig(temperature=1.0, max_new_tokens=128, stop_strings=("</step>",))
    engine = TransformersEngine(nano.policy, nano.policy_processor, sampling=sampling)
    scorer = PRMScorer(nano.prm, nano.prm_processor)
    assert scorer.sharing == "tree"
    sessions = []
    make = scorer.session
    scorer.session = lambda one: sessions.append(make(one)) or sessions[-1]
    found = search(search_plan(strategy, 8), engine, scorer, targets, max_new_tokens=128)
    for one, solutions in zip(targets, found, strict=True):
        complete = [candidate for candidate in solutions.candidates if candidate.complete]
        assert complete and all(candidate.step_scores for candidate in complete)
        again = PRMScorer(nano.prm, nano.prm_processor).score(one, complete)
        for candidate, other in zip(complete, again, strict=True):
            torch.testing.assert_close(
                torch.tensor(candidate.step_scores), torch.tensor(other.step_scores), atol=1e-5, rtol=0
            )
    # Every distinct token of what was drawn once: far fewer than each round's prefixes in full.
    for one, solutions, session in zip(targets, found, sessions, strict=True):
        prompt = len(nano.prm_processor(images=list(one.images), text=one.question, steps=["1"])["input_ids"][0])
        whole = sum(prompt + 2 * candidate.num_tokens for candidate in solutions.candidates)
        assert 0 < session.num_computed_tokens < whole / 3
