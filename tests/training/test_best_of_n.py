"""Best-of-N in training: arithmetic by hand, the same scores as a scorer's, and the best checkpoint that follows."""

from __future__ import annotations

import pytest
import torch
from support.training_runs import make_args, make_trainer
from transformers import TrainerState

from mmprm_hf.data import Candidate, Problem
from mmprm_hf.files import write_jsonl
from mmprm_hf.models import MMPRMModel
from mmprm_hf.rows import FigureRules
from mmprm_hf.scoring import PRMScorer
from mmprm_hf.training import BestOfNCallback, read_candidate_sets
from mmprm_hf.training.best_of_n import CandidateSet, mean_outcomes


def candidate(steps, scores=None, answer=None):
    return Candidate(tuple(steps), answer, step_scores=scores)


def make_sets(figures=None):
    """Three problems of three candidates, the first of which is right."""
    sets = []
    for index in range(3):
        images = () if figures is None or index == 1 else (figures[index],)
        candidates = tuple(Candidate((f"step {index}", end), end) for end in ("good", "bad", "worse."))
        sets.append(CandidateSet(Problem(f"p{index}", f"What is {index}?", images), candidates, (1.0, 0.0, 0.0)))
    return sets


def rows_from(sets):
    """A label row for each candidate."""
    return [
        {
            "prompt": candidate_set.problem.question,
            "completions": list(candidate.steps),
            "labels": [1.0, outcome],
            "images": list(candidate_set.problem.images),
        }
        for candidate_set in sets
        for candidate, outcome in zip(candidate_set.candidates, candidate_set.outcomes, strict=True)
    ]


def test_selection_by_hand():
    scored = [
        [candidate("ab", (0.9, 0.2)), candidate("ab", (0.5, 0.4)), candidate("a", (0.3,))],  # min: second; last: second
        [candidate("ab", (0.1, 0.9)), candidate("ab", (0.6, 0.5))],  # min: second; last: first
        [candidate("ab", (0.5, 0.7)), candidate("ab", (0.5, 0.9))],  # a tie under min: the higher mean is the second
        [candidate("a"), candidate("b", (0.1,))],  # what is not scored never wins over what is
        [candidate("ab", (0.9, 0.8)), candidate("a", (0.1,))],  # the choice is undecided: the problem does not count
    ]
    outcomes = [(0.0, 1.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 0.0), (None, 0.0)]
    sets = [
        CandidateSet(Problem("p", "q"), tuple(candidates), row)
        for candidates, row in zip(scored, outcomes, strict=True)
    ]
    expected = {"min": 2 / 4, "last": 3 / 4, "max": 2 / 4}  # max: 0.9 of the first is wrong
    assert {name: mean_outcomes(sets, scored, name)["best_of_n"] for name in expected} == expected


class LengthScorer:
    """Scores every candidate by the length of its last step, and notes the modes of the model."""

    def __init__(self, model, processor=None, **options):
        self.model, self.modes = model, []

    def score_many(self, problems, candidates, progress=False):
        self.modes.append([module.training for module in self.model.modules()])
        return [[candidate(c.steps, (1 / len(c.steps[-1]),), c.answer) for c in row] for row in candidates]


def evaluated(callback, tmp_path, model):
    """Metrics of an evaluation after the callback."""
    metrics = {"eval_loss": 1.0}
    callback.on_evaluate(make_args(tmp_path), TrainerState(), None, metrics=metrics, model=model)
    return metrics


def test_metrics_are_added_in_place_and_modes_stay(tmp_path, tiny_prm_dir, monkeypatch):
    scorers = []
    monkeypatch.setattr(
        "mmprm_hf.training.best_of_n.PRMScorer",
        lambda *args, **options: scorers.append(LengthScorer(*args)) or scorers[-1],
    )
    model = MMPRMModel.from_pretrained(tiny_prm_dir)
    model.freeze_vision()
    model.train()
    before = [module.training for module in model.modules()]
    assert any(before) and not all(before)
    callback = BestOfNCallback(make_sets())
    expected = {"eval_best_of_n": 0.0, "eval_mean_pass_at_1": 1 / 3, "eval_oracle": 1.0, "eval_majority_vote": 1.0}
    for _ in range(2):  # "bad" is the shortest
        assert evaluated(callback, tmp_path, model) == {"eval_loss": 1.0, **expected}
    (scorer,) = scorers
    assert len(scorer.modes) == 2 and not any(map(any, scorer.modes))
    assert before == [module.training for module in model.modules()]


def test_a_vote_needs_an_answer_and_other_baselines_no_model(tmp_path, tiny_prm_dir, monkeypatch):
    monkeypatch.setattr("mmprm_hf.training.best_of_n.PRMScorer", LengthScorer)
    model = MMPRMModel.from_pretrained(tiny_prm_dir)

    def make(outcomes, answers):
        return CandidateSet(Problem("p", "q"), tuple(candidate("a", None, answer) for answer in answers), outcomes)

    sets = [
        make((1.0, 0.0, 0.0, 0.0), ["2", "3", "3", None]),
        make((1.0, 1.0), ["1/2", "0.5"]),
        make((0.0, 0.0, 0.0), [None] * 3),
    ]
    metrics = evaluated(BestOfNCallback(sets), tmp_path, model)
    assert metrics["eval_mean_pass_at_1"] == pytest.approx(1.25 / 3)
    assert (metrics["eval_oracle"], metrics["eval_majority_vote"]) == (2 / 3, 1 / 3)
    assert "eval_majority_vote" not in evaluated(BestOfNCallback(sets[2:]), tmp_path, model)


@pytest.mark.parametrize("is_adapted", [False, True])
def test_the_best_checkpoint_follows_best_of_n(tmp_path, tiny_prm_dir, prm_processor, figures, is_adapted):
    sets = make_sets(figures)
    adapter = None
    if is_adapted:
        peft = pytest.importorskip("peft")
        adapter = peft.LoraConfig(target_modules=r".*language_model.*\.(q_proj|v_proj)", r=4)
    callback = BestOfNCallback(sets)
    args = make_args(
        tmp_path,
        max_steps=8,
        learning_rate=1e-2,
        per_device_train_batch_size=9,
        eval_strategy="steps",
        eval_steps=2,
        save_strategy="steps",
        save_steps=2,
        load_best_model_at_end=True,
        metric_for_best_model="eval_best_of_n",
        greater_is_better=True,
    )
    rows = rows_from(sets)
    trainer = make_trainer(tiny_prm_dir, args, rows, eval_dataset=rows[:4], callbacks=[callback], peft_config=adapter)
    assert callback.trainer is trainer
    first = trainer.evaluate()
    trainer.train()
    values = {log["step"]: log["eval_best_of_n"] for log in trainer.state.log_history if "eval_best_of_n" in log}
    assert set(values) == {2, 4, 6, 8} and len(set(values.values()) | {first["eval_best_of_n"]}) > 1
    best = max(values, key=lambda step: (values[step], -step))
    assert trainer.state.best_metric == values[best]
    assert trainer.state.best_model_checkpoint == str(tmp_path / f"checkpoint-{best}")
    again = trainer.evaluate()  # of the best checkpoint, which was loaded
    assert again["eval_best_of_n"] == values[best]
    prm = trainer.model.get_base_model() if is_adapted else trainer.model
    scored = PRMScorer(prm, prm_processor, layout="rows").score_many(
        [candidate_set.problem for candidate_set in sets], [candidate_set.candidates for candidate_set in sets]
    )
    assert mean_outcomes(sets, scored, "min")["best_of_n"] == values[best]
    trainer.save_model(str(tmp_path / "prm"))
    table = (tmp_path / "prm" / "README.md").read_text().split("## Evaluation")[1]
    (header,) = [line for line in table.splitlines() if line.startswith("| step")]
    assert "best_of_n" in header and "loss" in header  # one row has what evaluation and callback logged


def test_scoring_changes_no_training(tmp_path, tiny_prm_dir, figures):
    sets = make_sets(figures)
    rows = rows_from(sets)
    weights = []
    for callbacks in ([], [BestOfNCallback(sets)]):
        args = make_args(tmp_path, max_steps=3, per_device_train_batch_size=3, eval_strategy="steps", eval_steps=1)
        trainer = make_trainer(tiny_prm_dir, args, rows, eval_dataset=rows, callbacks=callbacks)
        trainer.train()
        weights.append(trainer.model.state_dict())
    assert all(torch.equal(weight, weights[1][name]) for name, weight in weights[0].items())


def test_with_several_eval_splits_the_last_one_scores(tmp_path, tiny_prm_dir):
    sets = make_sets()
    rows = rows_from(sets)
    splits = {"near": rows[:2], "far": rows[2:4]}
    trainer = make_trainer(
        tiny_prm_dir, make_args(tmp_path), rows, eval_dataset=splits, callbacks=[BestOfNCallback(sets)]
    )
    metrics = trainer.evaluate()
    assert {"eval_near_loss", "eval_far_loss", "eval_best_of_n"} <= set(metrics)
    assert sum("eval_best_of_n" in log for log in trainer.state.log_history) == 1


def test_a_candidates_file_is_read(tmp_path, figures):
    (tmp_path / "figures").mkdir()
    figures[0].save(tmp_path / "figures" / "a.png")
    judged = [
        {"steps": ["a", "b"], "answer": "2", "verdict": "correct", "step_scores": [0.1, 0.2], "score": 0.1},
        {"steps": [], "answer": None, "verdict": "incorrect", "complete": False, "text": "cut"},
        {"steps": ["c"], "verdict": "undecided"},
    ]
    rows = [
        {"problem_id": "first", "question": "What is x?", "answer": "2", "candidates": judged},
        {"problem_id": "not shown", "error": "no figure", "candidates": []},
        {"problem_id": "no gold", "question": "?", "answer": None, "candidates": judged[:1]},
        {"problem_id": "last", "question": "And y?", "candidates": [{"steps": ["c"], "verdict": "incorrect"}]},
    ]
    rows[0]["figures"] = ["figures/a.png"]
    write_jsonl(tmp_path / "candidates.jsonl", rows)
    first, last = read_candidate_sets(tmp_path / "candidates.jsonl")
    assert first == CandidateSet(
        Problem("first", "What is x?", (str(tmp_path / "figures" / "a.png"),)),
        (Candidate(("a", "b"), "2"), Candidate((), None, False, "cut"), Candidate(("c",))),
        (1.0, 0.0, None),
    )
    assert last.problem == Problem("last", "And y?") and last.outcomes == (0.0,)


def test_figures_of_candidates_may_lie_where_a_user_allows(tmp_path, figures):
    for name in ("cands", "elsewhere"):
        (tmp_path / name).mkdir()
    figures[0].save(tmp_path / "elsewhere" / "a.png")
    row = {"problem_id": "a", "question": "?", "candidates": [{"steps": ["c"], "verdict": "correct"}]}
    write_jsonl(tmp_path / "cands" / "c.jsonl", [{**row, "figures": [str(tmp_path / "elsewhere" / "a.png")]}])
    rules = FigureRules(roots=(str(tmp_path / "elsewhere"),))
    (candidate_set,) = read_candidate_sets(tmp_path / "cands" / "c.jsonl", rules)
    assert candidate_set.problem.images == (str(tmp_path / "elsewhere" / "a.png"),)
    with pytest.raises(ValueError, match="Problem 'a' of .*c.jsonl has a figure that cannot be used: .*--figures-root"):
        read_candidate_sets(tmp_path / "cands" / "c.jsonl")


def test_bad_rows_of_a_candidates_file_are_named(tmp_path):
    good = {"problem_id": "p", "question": "q", "candidates": [{"steps": ["a"], "verdict": "correct"}]}
    path = tmp_path / "candidates.jsonl"
    for change, message in (
        ({"question": " "}, "empty question"),
        ({"figures": ["none.png"]}, r"Problem 'p' of .* has a figure that cannot be used: .*none\.png' does not exist"),
        ({"candidates": "a"}, r"candidates='a' of problem 'p', row 2 of .*They are a list"),
        ({"candidates": ["a"]}, "Candidate 0 of problem 'p', row 2 of .* is a str"),
        ({"candidates": [{"steps": "ab"}]}, "Candidate 0 .* has steps='ab'. Steps are a list"),
        ({"candidates": [{"steps": ["a"], "verdict": True}]}, "Candidate 0 .* has verdict=True"),
        ({"candidates": [{"steps": ["a"]}]}, "Candidate 0 .* has no verdict"),
        ({"candidates": [{"steps": ["a"], "answer": 3}]}, "Candidate 0 .* has answer=3"),
        ({"candidates": [{"steps": ["a"], "complete": "yes"}]}, "Candidate 0 .* has complete='yes'"),
    ):
        write_jsonl(path, [good, {**good, **change}])
        with pytest.raises(ValueError, match=message):
            read_candidate_sets(path)
    path.write_text("\n")
    with pytest.raises(ValueError, match="Found 0 rows"):
        read_candidate_sets(path)
    write_jsonl(path, [{**good, "candidates": []}])
    with pytest.raises(ValueError, match="Found no problem with judged candidates"):
        read_candidate_sets(path)


def test_bad_options_are_refused():
    with pytest.raises(ValueError, match="Unknown aggregation 'mni'"):
        BestOfNCallback(make_sets(), "mni")
    with pytest.raises(ValueError, match="Found 0 candidate sets"):
        BestOfNCallback([])
