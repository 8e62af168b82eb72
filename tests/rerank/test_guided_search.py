"""Guided search on trees by hand: what is kept and drawn, what ends a search, and that nothing is lost."""

from __future__ import annotations

import dataclasses
import itertools
import random
from collections import Counter

import pytest
from support.scripted_search import CONTROL, LENGTH, PROBLEM, TableScorer, WritingEngine, at_random, from_table

from mmprm_hf.rerank.candidates import GUIDED_SEARCHES, scored_candidates, winner_index
from mmprm_hf.rerank.guided_search import SearchLimits, SearchPlan, guided_search, search_plan
from mmprm_hf.selection import aggregate
from mmprm_hf.steps import STEP_END, TAGGED


def run(write, value, plan, problems=(PROBLEM,), **options):
    """The solutions of each problem, the engine and the scorer."""
    engine, scorer = WritingEngine(write), TableScorer(value)
    solutions, generate_seconds, score_seconds = guided_search(
        engine, scorer, list(problems), plan, SearchLimits(**options)
    )
    assert generate_seconds > 0 and score_seconds > 0
    return solutions, engine, scorer


def winner(solutions, aggregation="min"):
    """The candidate that wins."""
    scored = scored_candidates(solutions.candidates, aggregation)
    return scored[winner_index(scored, "beam_search", aggregation)]


def drawn_per_round(engine):
    return [sum(request.num_samples for request in requests) for requests in engine.rounds]


def hashed_score(steps):
    """A score that looks random and depends on the whole prefix."""
    return random.Random(repr(steps)).uniform(0.05, 0.95)


# --- What is drawn ---------------------------------------------------------------------------------------------


def one_more_step(request, index):
    """Steps that are all different; the answer behind the third."""
    return "<answer>1</answer>" if len(request.prefix) == 3 else f"<step>{index}"


@pytest.mark.parametrize("strategy", GUIDED_SEARCHES)
@pytest.mark.parametrize("num_candidates", [1, 2, 7, 16])
def test_every_round_draws_what_the_plan_says(strategy, num_candidates):
    plan = search_plan(strategy, num_candidates)
    _, engine, scorer = run(one_more_step, hashed_score, plan)
    assert drawn_per_round(engine) == [plan.num_groups * plan.num_drawn(depth) for depth in range(4)]
    assert [len(requests) for requests in engine.rounds[1:]] == [
        plan.num_groups * plan.num_kept(depth) for depth in range(3)
    ]
    assert len(scorer.kept) == 3, "nothing is left to be kept once the answers are there"
    for requests in engine.rounds[1:]:
        shares = [request.num_samples for request in requests]
        assert max(shares) - min(shares) <= 1 and shares == sorted(shares, reverse=True)


# --- What is found ---------------------------------------------------------------------------------------------------

TRAP = {(): ["bright", "dull"], ("bright",): ["bad"], ("dull",): ["good"]}
TRAP |= {("bright", "bad"): ["=1"], ("dull", "good"): ["=2"]}
TRAP_SCORES = {"bright": 0.9, "bad": 0.1, "dull": 0.6, "good": 0.8}


@pytest.mark.parametrize(("plan", "answer"), [(SearchPlan(2, 2), "1"), (SearchPlan(4, 2), "2")])
def test_a_wider_beam_finds_what_looks_worse_at_first(plan, answer):
    """One kept prefix follows the bright step into the trap; two keep the dull one as well."""
    (solutions,), _, _ = run(from_table(TRAP), lambda steps: TRAP_SCORES[steps[-1]], plan)
    best = winner(solutions)
    assert (best.answer, best.step_scores) == {"1": ("1", (0.9, 0.1)), "2": ("2", (0.6, 0.8))}[answer]


def write_ternary(request, index):
    """Three steps of three choices each, then an answer that names the path."""
    prefix = request.prefix
    return f"<answer>{''.join(prefix)}</answer>" if len(prefix) == 3 else f"<step>{'abc'[index % 3]}"


def test_a_beam_that_keeps_everything_finds_the_best_of_all_paths():
    paths = list(itertools.product("abc", repeat=3))
    num_missed = 0
    for seed, aggregation in itertools.product(range(4), ("min", "mean", "product", "last")):

        def value(steps, seed=seed):
            return hashed_score((seed, *steps))

        best = max(aggregate([value(path[: end + 1]) for end in range(3)], aggregation) for path in paths)
        (wide,), _, _ = run(write_ternary, value, SearchPlan(81, 3), aggregation=aggregation)
        (narrow,), _, _ = run(write_ternary, value, SearchPlan(3, 3), aggregation=aggregation)
        assert winner(wide, aggregation).score == best
        assert {candidate.answer for candidate in wide.candidates} == {"".join(path) for path in paths}
        num_missed += winner(narrow, aggregation).score < best
    assert num_missed > 0, "a beam of one prefix finds everything as well: the tree asks for no search"


def test_ties_are_kept_by_the_higher_mean_and_then_by_the_order_of_draws():
    table = {(): ["low"], ("low",): ["b", "a", "c"], ("low", "a"): ["=1"], ("low", "b"): ["=2"], ("low", "c"): ["=3"]}
    scores = {"low": 0.2, "a": 0.9, "b": 0.5, "c": 0.9}
    (solutions,), _, _ = run(from_table(table), lambda steps: scores[steps[-1]], SearchPlan(3, 3))
    assert {candidate.answer for candidate in solutions.candidates} == {"1"}


def test_prefixes_are_kept_by_the_aggregation_that_is_asked_for():
    """By min and by last the even prefix is better, by mean the one that begins well."""
    table = {(): ["well", "even"], ("well",): ["x", "y"], ("even",): ["v", "w"]}
    table |= {("well", last): ["=1"] for last in "xy"} | {("even", last): ["=2"] for last in "vw"}
    scores = {"well": 0.95, "x": 0.3, "y": 0.3, "even": 0.5, "v": 0.5, "w": 0.5}
    for aggregation, answer in (("min", "2"), ("last", "2"), ("mean", "1")):
        (solutions,), _, _ = run(
            from_table(table), lambda steps: scores[steps[-1]], SearchPlan(4, 2), aggregation=aggregation
        )
        assert {candidate.answer for candidate in solutions.candidates} == {answer}, aggregation


# --- What ends a search --------------------------------------------------------------------------------------------


def test_complete_solutions_take_places_of_open_prefixes():
    """Of four places an early answer takes one: three prefixes share the three quarters that are left."""
    openings = ["<step>done</step><answer>1</answer>", "<step>a", "<step>b", "<step>c", "<step>d"]

    def write(request, index):
        return "<answer>2</answer>" if request.prefix else openings[index % 5]

    scores = {"done": 0.8, "a": 0.9, "b": 0.7, "c": 0.6, "d": 0.1}
    (solutions,), engine, _ = run(write, lambda steps: scores[steps[-1]], SearchPlan(16, 4))
    assert [[request.prefix for request in requests] for requests in engine.rounds] == [[()], [("a",), ("b",), ("c",)]]
    assert drawn_per_round(engine) == [16, 12]
    answers = Counter(candidate.answer for candidate in solutions.candidates)
    assert answers == {"1": 4, "2": 12}, "an equal solution counts as often as it was drawn"


def test_the_search_ends_where_solutions_take_all_places():
    table = {(): ["open", "x"], ("open",): ["more", "=1"], ("x",): ["=2", "=2"]}
    scores = {"open": 0.9, "x": 0.8, "more": 0.1}
    (solutions,), engine, _ = run(from_table(table), lambda steps: scores[steps[-1]], SearchPlan(4, 2))
    assert len(engine.rounds) == 2, "`more` is worse than both answers and is not continued"
    assert Counter(candidate.answer for candidate in solutions.candidates) == {"1": 1, "2": 2}


def test_an_answer_keeps_its_place_as_long_as_it_is_among_the_best():
    """Of two places the answer behind `good` takes one for good; `slow` goes on in the other one alone."""
    table = {(): ["good", "slow"], ("good",): ["=1"]} | {("slow",) * n: ["slow"] for n in range(1, 6)}
    _, engine, _ = run(
        from_table(table), lambda steps: {"good": 0.9, "slow": 0.5}[steps[0]], SearchPlan(4, 2), max_steps=5
    )
    assert drawn_per_round(engine) == [4, 4, 2, 2, 2, 2]
    assert len(engine.rounds[1]) == 2 and all(len(requests) == 1 for requests in engine.rounds[2:])


def test_better_prefixes_take_the_place_of_an_answer():
    """Under "last" a prefix may overtake: two of them leave the answer no place, and all draws are theirs again."""
    table = {(): ["answered", "late"], ("answered",): ["=1"], ("late",): ["x", "y"]}
    table |= {("late", step): ["=2"] for step in "xy"}
    scores = {"answered": 0.6, "late": 0.5, "x": 0.9, "y": 0.8}
    (solutions,), engine, _ = run(
        from_table(table), lambda steps: scores[steps[-1]], SearchPlan(4, 2), aggregation="last"
    )
    assert drawn_per_round(engine) == [4, 4, 4]
    assert Counter(candidate.answer for candidate in solutions.candidates) == {"1": 2, "2": 4}


def test_a_search_without_a_usable_draw_ends():
    (solutions,), engine, _ = run(lambda request, index: "no tags at all", hashed_score, SearchPlan(4, 2))
    assert len(engine.rounds) == 1
    assert [candidate.complete for candidate in solutions.candidates] == [False] * 4
    assert winner_or_none(solutions) is None


def winner_or_none(solutions):
    return winner_index(scored_candidates(solutions.candidates, "min"), "beam_search", "min")


def test_equal_draws_are_scored_once_and_kept_as_often_as_drawn():
    table = {(): ["a", "a", "b", "a"], ("a",): ["=1"], ("b",): ["=2", "=3"]}
    scores = {"a": 0.9, "b": 0.5}
    (solutions,), engine, scorer = run(from_table(table), lambda steps: scores[steps[-1]], SearchPlan(8, 4))
    assert scorer.scored == [[("a",), ("b",)], []], "an answer adds no step that was not scored before"
    assert scorer.kept == [[("a",), ("b",)]]
    assert [request.num_samples for request in engine.rounds[1]] == [4, 4]
    assert Counter(candidate.answer for candidate in solutions.candidates) == {"1": 4, "2": 2, "3": 2}
    assert {candidate.step_scores for candidate in solutions.candidates if candidate.answer != "1"} == {(0.5,)}


# --- Nothing is lost -------------------------------------------------------------------------------------------------


def num_written(prefix):
    """Tokens that a prefix of `WritingEngine` took."""
    return sum(len(f"<step>{step}") + 1 for step in prefix)


@pytest.mark.parametrize("strategy", GUIDED_SEARCHES)
@pytest.mark.parametrize(("max_steps", "max_new_tokens"), [(4, 1024), (32, 40)])
def test_every_draw_is_an_open_prefix_or_a_candidate_and_every_token_counts(strategy, max_steps, max_new_tokens):
    kinds = Counter()
    for seed in range(6):
        limits = {"max_steps": max_steps, "max_new_tokens": max_new_tokens, "seed": seed}
        (solutions,), engine, _ = run(at_random, hashed_score, search_plan(strategy, 16), **limits)
        assert solutions.num_tokens == sum(rollout.num_tokens for _, rollout in engine.drawn)
        expected = Counter()
        for prefix, rollout in engine.drawn:
            is_step = rollout.finish_reason == STEP_END
            num_steps = len(prefix) + (1 if is_step else len(rollout.steps))
            num_tokens = num_written(prefix) + rollout.num_tokens
            is_within = num_steps <= max_steps and num_tokens <= max_new_tokens
            kind = "open" if is_step and is_within else "complete" if rollout.complete and is_within else "incomplete"
            kinds[kind] += 1
            if kind != "open":
                expected[TAGGED.render_prefix(prefix) + rollout.text, kind, num_tokens] += 1
        counts = Counter()
        for candidate in solutions.candidates:
            is_unreadable = candidate.text.endswith("unreadable</step>")  # was an open prefix
            kind = "complete" if candidate.complete else "incomplete"
            counts[candidate.text, kind, candidate.num_tokens] += not is_unreadable
            scores = tuple(hashed_score(candidate.steps[: end + 1]) for end in range(len(candidate.steps)))
            assert candidate.step_scores == (scores if candidate.complete else None)
        assert +counts == expected
    assert min(kinds[kind] for kind in ("open", "complete", "incomplete")) > 5


@pytest.mark.parametrize("limits", [{"max_steps": 3}, {"max_new_tokens": 4 * len("<step>a") + 3}])
def test_a_solution_beyond_a_limit_is_incomplete(limits):
    """Steps without an end: the fourth is one too many, or begins within the tokens and ends beyond."""
    (solutions,), engine, _ = run(lambda request, index: "<step>a", hashed_score, SearchPlan(2, 2), **limits)
    assert [(c.steps, c.complete, c.step_scores, c.answer) for c in solutions.candidates] == [
        (("a",) * 4, False, None, None)
    ] * 2
    assert len(engine.rounds) == 4
    assert {candidate.num_tokens for candidate in solutions.candidates} == {4 * (len("<step>a") + 1)}
    assert solutions.num_tokens == 8 * (len("<step>a") + 1)


@pytest.mark.parametrize("reason", [LENGTH, CONTROL])
def test_cut_steps_and_those_with_a_control_token_are_not_continued(reason):
    def write(request, index):
        return ("<step>ab", reason) if index else "<step>whole</step><answer>1</answer>"

    (solutions,), engine, scorer = run(write, hashed_score, SearchPlan(3, 3))
    assert len(engine.rounds) == 1 and scorer.scored == [[("whole",)]]
    assert [(c.complete, c.text) for c in solutions.candidates] == [
        (True, "<step>whole</step><answer>1</answer>"),
        (False, "<step>ab"),
        (False, "<step>ab"),
    ]


def test_a_step_that_the_prm_cannot_read_is_an_incomplete_candidate():
    table = {(): ["unreadable", "fine", "unreadable too", "fine"], ("fine",): ["=1"]}
    (solutions,), engine, scorer = run(from_table(table), hashed_score, SearchPlan(4, 4))
    assert scorer.scored == [[("fine",)], []]
    assert [(c.text, c.complete) for c in solutions.candidates[-2:]] == [
        ("<step>unreadable</step>", False),
        ("<step>unreadable too</step>", False),
    ]
    assert winner(solutions).steps == ("fine",)


# --- Groups, seeds, problems -----------------------------------------------------------------------------------------


def test_groups_do_not_compete():
    """Each group's draws say whose they are; those of all but one are scored low, and all are answered."""
    seeds = []

    def write(request, index):
        if request.prefix:
            return f"<answer>{request.prefix[0]}</answer>"
        seeds.extend([request.seed] * (request.seed not in seeds))
        return f"<step>group {seeds.index(request.seed)}"

    def value(steps):
        return 0.9 if steps[0] == "group 1" else 0.1

    (solutions,), engine, _ = run(write, value, search_plan("dvts", 16))
    assert [[request.prefix for request in requests] for requests in engine.rounds] == [
        [()] * 4,
        [(f"group {index}",) for index in range(4)],
    ]
    assert Counter(c.answer for c in solutions.candidates) == {f"group {index}": 4 for index in range(4)}
    assert winner(solutions).answer == "group 1"


def test_groups_that_write_the_same_stay_apart_and_are_scored_once():
    table = {(): ["a"], ("a",): ["b"], ("a", "b"): ["=1"]}
    (solutions,), engine, scorer = run(from_table(table), hashed_score, search_plan("dvts", 4))
    assert scorer.scored == [[("a",)], [("a", "b")], []]
    for requests in engine.rounds:
        assert len({request.seed for request in requests}) == 2 and len({r.prefix for r in requests}) == 1
    assert len(solutions.candidates) == 4


@pytest.mark.parametrize("strategy", GUIDED_SEARCHES)
def test_solutions_depend_on_seed_and_problem_and_not_on_the_company(strategy):
    problems = [dataclasses.replace(PROBLEM, id=name) for name in ("q", "p", "r")]
    plan = search_plan(strategy, 8)
    together, engine, _ = run(at_random, hashed_score, plan, problems, max_steps=5)
    for problem, solutions in zip(problems, together, strict=True):
        (alone,), _, _ = run(at_random, hashed_score, plan, [problem], max_steps=5)
        assert solutions == alone
    assert max(len({request.problem.id for request in requests}) for requests in engine.rounds) == 3, "in one call"
    assert len({request.seed for request in engine.rounds[0]}) == 3 * plan.num_groups
    (other,), _, _ = run(at_random, hashed_score, plan, problems[:1], max_steps=5, seed=1)
    assert len({tuple(c.text for c in solutions.candidates) for solutions in (*together, other)}) == 4
