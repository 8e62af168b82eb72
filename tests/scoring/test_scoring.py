"""PRMScorer: shared prefix = row by row, order kept, unscorable candidates stay unscored, nothing scored twice."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from support.tiny_models import make_tokenizer
from tokenizers import normalizers
from transformers import LlamaConfig

from mmprm_hf.data import Candidate, Problem
from mmprm_hf.errors import CheckpointError
from mmprm_hf.models import MMPRMConfig, MMPRMModel, MMPRMProcessor
from mmprm_hf.nano import PRM_PATH
from mmprm_hf.nano.world import make_problem
from mmprm_hf.scoring import PRMScorer, ScoreStore

TOLERANCE = 1e-5  # float32, two layers of sums over at most 100 terms; scores differ by 2e-7 here


@pytest.fixture(scope="module")
def prm(tiny_prm_dir):
    return MMPRMModel.from_pretrained(tiny_prm_dir), MMPRMProcessor.from_pretrained(tiny_prm_dir)


@pytest.fixture
def problems(figures):
    images = [(figures[0],), (), (figures[1], figures[2]), (figures[3],)]
    return [Problem(id=str(i), question="What is x?" + " And why?" * i, images=row) for i, row in enumerate(images)]


@pytest.fixture
def candidates():
    def steps_of(index):
        return [
            Candidate(steps=("x = 2", "so x + 1 = 3", f"it is {index}")),
            Candidate(steps=("x = 2",)),
            Candidate(steps=(), complete=False),
            Candidate(steps=("x = 2", "so x + 1 = 3", f"it is {index}")),
            Candidate(steps=("cut", "off"), complete=False),
            Candidate(steps=("a long first step " * 3, "end"), answer="7"),
        ]

    return [steps_of(0), steps_of(1), [], steps_of(3)]


def flat_scores(rows):
    return torch.tensor([score for row in rows for c in row for score in c.step_scores or ()])


def assert_close(rows, expected):
    torch.testing.assert_close(flat_scores(rows), flat_scores(expected), atol=TOLERANCE, rtol=0)


def test_shared_prefix_equals_row_by_row(prm, problems, candidates):
    alone = PRMScorer(*prm, layout="rows").score_many(problems, candidates)
    assert flat_scores(alone).std() > 0.01  # the scores differ enough for the comparison to mean something
    for limits in ({}, {"max_batch_problems": 1}, {"max_batch_tokens": 100}, {"max_batch_tokens": 1}):
        assert_close(PRMScorer(*prm, layout="tree", **limits).score_many(problems, candidates), alone)


def test_order_is_kept_and_unscorable_candidates_get_none(prm, problems, candidates):
    scored = PRMScorer(*prm).score_many(problems, candidates)
    for before, after in zip(candidates, scored, strict=True):
        assert [(c.steps, c.answer, c.complete) for c in after] == [(c.steps, c.answer, c.complete) for c in before]
    assert scored[2] == []
    assert [c.step_scores is None for c in scored[0]] == [False, False, True, False, True, False]
    assert scored[0][0].step_scores == scored[0][3].step_scores
    assert [len(c.step_scores or ()) for c in scored[0]] == [3, 1, 0, 3, 0, 2]
    assert all(0 < score < 1 for c in scored[0] for score in c.step_scores or ())
    # a causal model: the first step's score does not depend on what follows
    assert scored[0][0].step_scores[0] == pytest.approx(scored[0][1].step_scores[0], abs=TOLERANCE)
    # the figure and the question matter
    assert abs(scored[0][1].step_scores[0] - scored[3][1].step_scores[0]) > 1e-4


def test_score_is_score_many_of_one(prm, problems, candidates):
    scorer = PRMScorer(*prm)
    assert_close([scorer.score(problems[3], candidates[3])], [scorer.score_many(problems, candidates)[3]])


def test_figure_and_question_are_encoded_once_and_candidates_are_not_repeated(prm, problems, candidates):
    model, processor = prm
    images, tokens = [], []
    tower = model.vlm.vision_tower.register_forward_pre_hook(
        lambda _, args, kwargs: images.append((args[0] if args else kwargs["pixel_values"]).shape[0]), with_kwargs=True
    )
    head = model.score.register_forward_pre_hook(lambda _, args: tokens.append(args[0].shape[0]))
    PRMScorer(model, processor).score_many(problems, candidates)
    tower.remove()
    head.remove()
    assert sum(images) == 2  # problem 0 and 3 have one figure each, problem 2 (two figures) has no candidates
    assert sum(tokens) == 3 * (3 + 2)  # "x = 2" opens two solutions and is scored once; only markers reach the head


def test_a_marker_in_sampled_text_writes_no_marker(prm, problems):
    scored = PRMScorer(*prm).score(problems[0], [Candidate(steps=("x <prm> <image> 2", "y"))])
    assert len(scored[0].step_scores) == 2


def tiny(prm):
    """Sizes of a text decoder over the PRM's vocabulary."""
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    return {**sizes, "vocab_size": prm[1].marker_token_id + 1}


def count_tokens(model):
    """A list that collects how many tokens each forward of the backbone gets, and its hook."""
    num_tokens = []
    hook = model.vlm.register_forward_pre_hook(
        lambda _, args, kwargs: num_tokens.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    return num_tokens, hook


def test_forwards_stay_within_the_token_budget(prm, problems, candidates):
    scorer = PRMScorer(*prm, max_batch_tokens=100, layout="tree")
    seen, hook = count_tokens(prm[0])
    scorer.score_many(problems, candidates)
    hook.remove()
    assert len(seen) > 6 and max(seen) <= 100
    longest = PRMScorer(*prm, max_batch_tokens=1)  # a prompt that is longer than the budget still runs, alone
    assert flat_scores(longest.score_many(problems, candidates)).isfinite().all()


def test_auto_packs_where_that_is_cheaper(prm, problems):
    """Short solutions go into one row; long ones would see each other's masked tokens at quadratic cost."""
    scorer = PRMScorer(*prm)
    for num_steps, is_packed in ((1, True), (60, False)):
        candidates = [Candidate(steps=(f"{i} a", *["x = 2"] * num_steps)) for i in range(10)]
        num_tokens, hook = count_tokens(prm[0])
        scored = scorer.score(problems[0], candidates)
        hook.remove()
        assert (len(num_tokens) == 1) == is_packed
        assert_close([scored], [PRMScorer(*prm, layout="rows").score(problems[0], candidates)])


def test_nothing_is_scored_twice(prm, problems, candidates, tmp_path):
    path = tmp_path / "scores" / "store.jsonl"
    scorer = PRMScorer(*prm, store=path)
    seen, hook = count_tokens(prm[0])
    first = scorer.score_many(problems, candidates)
    num_forwards = len(seen)
    again = scorer.score_many(problems, candidates)
    reopened = PRMScorer(*prm, store=path)
    num_probes = len(seen) - num_forwards  # making a scorer probes the backbone on a few tokens
    other_process = reopened.score_many(problems, candidates)
    hook.remove()
    assert num_forwards > 0 and len(seen) == num_forwards + num_probes and max(seen[num_forwards:]) <= 26
    assert first == again == other_process
    more = [*candidates[0], Candidate(steps=("new",))]
    assert len(reopened.store) == 9
    assert reopened.score(problems[0], more)[:-1] == first[0]
    assert len(reopened.store) == 10


def test_a_store_tells_apart_what_a_score_depends_on(prm, problems, candidates):
    model, processor = prm
    other_weights, other_template, other_normalizer = copy.deepcopy(model), *(copy.deepcopy(processor) for _ in "ab")
    with torch.no_grad():
        other_weights.score.weight[0] += 0.5
    other_template.base_processor.chat_template += "{{ ' ' }}"
    other_normalizer.tokenizer.backend_tokenizer.normalizer = normalizers.Replace("2", "3")
    store, problem = ScoreStore(), problems[0]
    scored = set()
    for scorer, asked in (
        ((model, processor), problem),
        ((other_weights, processor), problem),
        ((model, other_template), problem),
        ((model, other_normalizer), problem),
        ((model, MMPRMProcessor(processor.base_processor, step_separator=" ")), problem),
        ((model, processor), dataclasses.replace(problem, question="What is y?")),
        ((model, processor), dataclasses.replace(problem, images=problems[3].images)),
    ):
        before = len(store)
        scored.add(PRMScorer(*scorer, store=store).score(asked, candidates[0])[0].step_scores)
        assert len(store) == before + 3  # the three distinct candidates
    assert len(scored) == 7


def test_bad_input_is_refused(prm, problems):
    with pytest.raises(ValueError, match="Found 4 problems but 1 lists"):
        PRMScorer(*prm).score_many(problems, [[]])
    with pytest.raises(ValueError, match="Unknown layout 'trees'. Did you mean 'tree'"):
        PRMScorer(*prm, layout="trees")
    with pytest.raises(ValueError, match="max_batch_tokens=0"):
        PRMScorer(*prm, max_batch_tokens=0)
    broken = Problem(id="b", question="q", images=("/no/such.png",))
    with pytest.raises(ValueError, match=r"Image '/no/such\.png' does not exist"):
        PRMScorer(*prm).score(broken, [Candidate(steps=("a",))])


def test_what_is_not_a_candidate_or_a_problem_is_named(prm, problems):
    scorer, nano = PRMScorer(*prm), make_problem("clock", 1)
    for candidates, message in (
        (["A=22"], "the steps of one solution, where a list of solutions was expected. Put it into a list"),
        (Candidate(("A=22",)), "where a list of candidates was expected"),
        ("A=22", "where a list of candidates was expected"),
        ([None], "Found the solution None. It must be a list of steps"),
        ([["A=22", 5]], "Found the solution .*5.* It must be a list of steps"),
    ):
        with pytest.raises(ValueError, match=message):
            scorer.score(problems[0], candidates)
    with pytest.raises(ValueError, match=r"Found a NanoProblem where a Problem .* Give its to_problem\(\)"):
        scorer.score(nano, [Candidate(("A=22",))])
    with pytest.raises(ValueError, match="Found a NanoProblem"):
        scorer.session(nano)
    for solutions in (["A=22"], [("A=22", 5)], [5]):
        with pytest.raises(ValueError, match="Found the solution .* It must be a list of steps"):
            scorer.session(problems[0]).score(solutions)
        with pytest.raises(ValueError, match="Found the solution .* It must be a list of steps"):
            scorer.score_solutions([problems[0]], [solutions])


def test_lists_of_steps_are_scored_as_candidates_are(prm, problems):
    scorer, solutions = PRMScorer(*prm), [["A=22"], ("A=22", "B=61"), []]
    scored = scorer.score(problems[0], solutions)
    assert scored == scorer.score(problems[0], [Candidate(steps=tuple(steps)) for steps in solutions])
    assert [len(candidate.step_scores or ()) for candidate in scored] == [1, 2, 0]


def test_a_checkpoint_that_cannot_be_loaded_is_named(tmp_path):
    (tmp_path / "config.json").write_text("null")
    for name in ("no/such", str(tmp_path)):
        with pytest.raises(CheckpointError, match=f"The PRM '{name}' cannot be loaded: .* Give the folder or hub id"):
            PRMScorer.from_pretrained(name)


def test_a_scorer_is_loaded_by_the_names_that_people_write():
    for name, value in (("dtype", "bfloat16"), ("torch_dtype", torch.bfloat16), ("device_map", "cpu"), ("store", None)):
        scorer = PRMScorer.from_pretrained(str(PRM_PATH), **{name: value})
        assert (scorer.model.dtype == torch.bfloat16) == ("dtype" in name)
    eager = PRMScorer.from_pretrained("nano", attn_implementation="eager", layout="rows", revision="main")
    assert eager.model.config._attn_implementation == "eager" and eager.layout == "rows"


def test_an_option_that_a_scorer_does_not_have_is_named(prm):
    for options, message in (
        (
            {"batch_size": 3},
            "Unknown option 'batch_size' of PRMScorer.from_pretrained. Choose one of .*max_batch_tokens",
        ),
        ({"dtypes": "float32"}, "Unknown option 'dtypes' of .* Did you mean 'dtype'"),
        ({"dtype": "bf16"}, "Unknown dtype 'bf16'. Did you mean 'bfloat16'"),
        ({"dtype": "float32", "torch_dtype": "float32"}, "Found dtype='float32', torch_dtype=.*Give one of the two"),
        ({"device": "cpu", "device_map": "auto"}, "Found device='cpu', device_map='auto'. Give one of the two"),
    ):
        with pytest.raises(ValueError, match=message):
            PRMScorer.from_pretrained("nano", **options)
    with pytest.raises(ValueError, match=r"Found a MMPRMModel as the path of a PRM.* PRMScorer\(model, processor\)"):
        PRMScorer.from_pretrained(prm[0])


def test_solutions_without_a_score_are_named_once(prm, problems, caplog):
    scorer = PRMScorer(*prm)
    scored = scorer.score(problems[0], [["A=22"], [], ["A=22", "  "], [""]])
    assert [candidate.step_scores is None for candidate in scored] == [False, True, True, True]
    (record,) = caplog.records
    assert record.levelname == "WARNING" and "has no steps: it gets no score (2 more like it)." in record.getMessage()
    assert record.getMessage().startswith("Solution 1 of ")
    caplog.clear()
    scorer.score(problems[0], [Candidate(steps=(), complete=False)])  # a policy's unfinished text is no mistake
    assert not caplog.records


def test_rows_longer_than_a_changing_position_embedding_are_scored_alone(prm, caplog):
    """Dynamic RoPE depends on a row's own length beyond a limit, and transformers remembers the longest row."""
    config = LlamaConfig(
        **tiny(prm),
        max_position_embeddings=24,
        rope_parameters={"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0},
    )
    torch.manual_seed(0)
    model = MMPRMModel(MMPRMConfig(vlm_config=config, marker_token_id=prm[1].marker_token_id, initializer_range=1.0))
    with torch.no_grad():
        for parameter in model.vlm.layers.parameters():
            parameter.mul_(10.0)
    problem = Problem(id="p", question="x?")
    short = [Candidate(steps=("x = 2",)), Candidate(steps=("x = 3",))]
    candidates = [*short, Candidate(steps=("x = 2", "so x + 1 = 3 and more")), Candidate(steps=("a" * 80,))]
    scorer = PRMScorer(model, prm[1])
    assert scorer.layout == "auto" and scorer.max_shared_length == 24
    alone = [PRMScorer(model, prm[1], layout="rows").score(problem, [c])[0] for c in candidates]
    assert "row by row" not in caplog.text
    for order in (candidates, candidates[::-1]):
        scored = {c.steps: c.step_scores for c in scorer.score(problem, order)}
        for candidate in alone:
            assert scored[candidate.steps] == pytest.approx(candidate.step_scores, abs=TOLERANCE)
    assert "a row has 85 tokens, and the position embedding depends on a row's own length beyond 24" in caplog.text
    session = scorer.session(problem)
    session.score([c.steps for c in short])
    for candidate, scores in zip(alone, session.score([c.steps for c in candidates]), strict=True):
        assert scores == pytest.approx(candidate.step_scores, abs=TOLERANCE)
    leaky = model(**prm[1](text=["x?"] * 2, steps=[list(candidates[2].steps), list(candidates[3].steps)]))
    assert leaky.step_scores()[0].tolist() != pytest.approx(alone[2].step_scores, abs=1e-3)


def test_solutions_that_share_their_first_tokens_stay_within_the_budget(prm, problems):
    """One more solution apart from them keeps the common beginning out of the prefix."""
    candidates = [Candidate(steps=(f"The answer {chr(97 + i)} follows from {i}",)) for i in range(26)]
    candidates.append(Candidate(steps=("x",)))
    alone = PRMScorer(*prm, layout="rows").score(problems[1], candidates)
    for layout in ("auto", "tree"):
        scorer = PRMScorer(*prm, max_batch_tokens=150, layout=layout)
        num_tokens, hook = count_tokens(prm[0])
        scored = scorer.score(problems[1], candidates)
        session = scorer.session(problems[1]).score([c.steps for c in candidates])
        hook.remove()
        assert max(num_tokens) <= 150 and len(num_tokens) > 6
        assert_close([scored], [alone])
        assert session == [pytest.approx(c.step_scores, abs=TOLERANCE) for c in alone]


def test_a_session_keeps_branches_apart(prm, problems):
    session, grown = PRMScorer(*prm).session(problems[0]), [("b", "c"), ("d", "c"), ("d",)]
    session.score([("a long step that is forgotten",), ("b",), ("d",)])
    session.keep([("b",), ("d",), ("never scored",)])
    alone = PRMScorer(*prm, layout="rows").score_solutions([problems[0]], [grown])[0]
    assert session.score(grown) == [pytest.approx(scores, abs=TOLERANCE) for scores in alone]


def test_a_session_of_another_layout_scores_whole_solutions(prm, problems):
    solutions = [("a",), ("a", "b"), ()]
    expected = PRMScorer(*prm).session(problems[0]).score(solutions)
    for layout in ("rows", "chain", "packed"):
        session = PRMScorer(*prm, layout=layout).session(problems[0])
        assert session.score(solutions) == [pytest.approx(scores, abs=TOLERANCE) for scores in expected]
        session.keep(solutions)
        assert session.num_computed_tokens == 0


def test_a_session_goes_on_after_a_forward_that_failed(prm, problems, monkeypatch):
    def fail(**_):
        raise RuntimeError("out of memory")

    session = PRMScorer(*prm).session(problems[0])
    first = session.score([("a",)])
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="out of memory"):
        patch.setattr(prm[0], "forward", fail)
        session.score([("a", "b"), ("c",)])
    again = session.score([("a", "b"), ("c",)])
    assert again[0][0] == pytest.approx(first[0][0], abs=TOLERANCE) and len(again[0]) == 2


def test_a_bad_problem_is_named(prm, problems):
    bad = Problem(id="the bad one", question="x <image>?")
    candidates = [[Candidate(steps=("a",))]] * 2
    for layout in ("auto", "rows"):
        with pytest.raises(
            ValueError, match="Problem 'the bad one' cannot be scored: Found 1 placeholder .* but 0 figures"
        ):
            PRMScorer(*prm, layout=layout).score_many([problems[1], bad], candidates)


def test_a_batch_that_fails_only_as_a_batch_is_scored_one_by_one(tiny_prm_dir, problems):
    """Without a pad token no batch with images can be encoded."""
    model, processor = MMPRMModel.from_pretrained(tiny_prm_dir), MMPRMProcessor.from_pretrained(tiny_prm_dir)
    candidates = [[Candidate(steps=("a", "b"))] for _ in problems]
    expected = PRMScorer(model, processor).score_many(problems, candidates)
    processor.tokenizer.pad_token = None
    assert_close(PRMScorer(model, processor).score_many(problems, candidates), expected)


def test_a_candidate_that_writes_a_word_as_marker_gets_no_score(prm, caplog):
    """Where the marker is a word of the vocabulary, text can write it; the others are scored all the same."""
    processor = MMPRMProcessor(make_tokenizer(), marker_token="%")
    text_config = LlamaConfig(vocab_size=200, hidden_size=32, intermediate_size=64, num_hidden_layers=2)
    model = MMPRMModel(MMPRMConfig(vlm_config=text_config, marker_token_id=processor.marker_token_id))
    candidates = [Candidate(steps=("a",)), Candidate(steps=("5% of b",)), Candidate(steps=("a",), complete=False)]
    scored = PRMScorer(model, processor).score(Problem(id="p", question="q"), candidates)
    assert [c.step_scores is None for c in scored] == [False, True, True]
    assert "A candidate writes the step marker '%'" in caplog.text


def test_the_shipped_prm_gives_the_scores_that_it_always_gave():
    """Computed when it was shipped; float32 through six layers, so that every CPU agrees to 1e-5 of the unit interval
    and, as these scores are small, to 1e-3 of themselves."""
    problem = make_problem("rectangle", 1).to_problem()
    solutions = [("A=3", "A+2=5"), ("A=3", "A+2=6", "so 6"), ("B=1",)]
    expected = [(4.189400e-4, 2.295196e-4), (4.189400e-4, 1.511118e-4, 2.858611e-4), (8.355575e-4,)]
    (scores,) = PRMScorer.from_pretrained(PRM_PATH, dtype="float32", device="cpu").score_solutions(
        [problem], [solutions]
    )
    assert scores == [pytest.approx(step_scores, rel=1e-3) for step_scores in expected]
