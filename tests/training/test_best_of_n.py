"""Best-of-N in training: arithmetic by hand, the same scores as a scorer's, and the best checkpoint that follows."""

from __future__ import annotations

import pytest
import torch
from transformers import TrainerState, TrainingArguments

from mmprm_hf.data import Candidate, Problem, Verdict
from mmprm_hf.files import write_jsonl
from mmprm_hf.models import MMPRMModel, MMPRMProcessor
from mmprm_hf.scoring.scorer import PRMScorer
from mmprm_hf.training.best_of_n import (
    BestOfNCallback,
    CandidateSet,
    baselines,
    read_candidate_sets,
    selection_accuracies,
)
from mmprm_hf.training.prm_config import PRMConfig
from mmprm_hf.training.prm_trainer import PRMTrainer


@pytest.fixture(scope="module")
def processor(tiny_prm_dir):
    return MMPRMProcessor.from_pretrained(tiny_prm_dir)


def candidate(steps, scores=None, answer=None):
    return Candidate(tuple(steps), answer, step_scores=scores)


def judged(problem, candidates, marks):
    """A candidate set; a mark of None is undecided."""
    words = {True: Verdict.CORRECT, False: Verdict.INCORRECT, None: Verdict.UNDECIDED}
    return CandidateSet(problem, tuple(candidates), tuple(words[mark] for mark in marks))


def make_sets(figures=None):
    """Three problems of three candidates."""
    sets = []
    for index in range(3):
        images = () if figures is None or index == 1 else (figures[index],)
        candidates = tuple(Candidate((f"step {index}", end), end) for end in ("good", "bad", "worse."))
        sets.append(judged(Problem(f"p{index}", f"What is {index}?", images), candidates, (True, False, False)))
    return sets


def rows_of(sets):
    return [
        {
            "prompt": found.problem.question,
            "completions": list(c.steps),
            "labels": [1.0, float(mark)],
            "images": list(found.problem.images),
        }
        for found in sets
        for c, mark in zip(found.candidates, found.outcomes, strict=True)
    ]


def make_args(tmp_path, **options):
    defaults = {"report_to": "none", "use_cpu": True, "disable_tqdm": True, "save_strategy": "no"}
    return PRMConfig(output_dir=str(tmp_path), **{**defaults, **options})


def test_selection_by_hand():
    scored = [
        [candidate("ab", (0.9, 0.2)), candidate("ab", (0.5, 0.4)), candidate("a", (0.3,))],  # min: second; last: second
        [candidate("ab", (0.1, 0.9)), candidate("ab", (0.6, 0.5))],  # min: second; last: first
        [candidate("ab", (0.5, 0.7)), candidate("ab", (0.5, 0.9))],  # a tie under min: the higher mean is the second
        [candidate("a"), candidate("b", (0.1,))],  # what is not scored never wins over what is
        [candidate("ab", (0.9, 0.8)), candidate("a", (0.1,))],  # the choice is undecided: the problem leaves
    ]
    marks = [(False, True, False), (True, False), (False, True), (True, False), (None, False)]
    sets = [judged(Problem("p", "q"), found, given) for found, given in zip(scored, marks, strict=True)]
    assert selection_accuracies(sets, scored, "min")["best_of_n"] == 2 / 4
    assert selection_accuracies(sets, scored, "last")["best_of_n"] == 3 / 4
    assert selection_accuracies(sets, scored, "max")["best_of_n"] == 2 / 4  # 0.9 of the first is wrong


def test_baselines_by_hand():
    def make(marks, answers):
        return judged(Problem("p", "q"), (candidate("a", None, answer) for answer in answers), marks)

    sets = [
        make([True, False, False, False], ["2", "3", "3", None]),
        make([True, True], ["1/2", "0.5"]),
        make([False, False, False], [None] * 3),
    ]
    found = baselines(sets)
    assert found == {"mean_pass_at_1": pytest.approx(1.25 / 3), "oracle": 2 / 3, "majority_vote": 1 / 3}
    assert "majority_vote" not in baselines(sets[2:])


class FakeScorer:
    """Scores every candidate by the length of its last step, and notes the model's mode."""

    def __init__(self, model):
        self.model, self.modes = model, []

    def score_many(self, problems, candidates, progress=False):
        self.modes.append([module.training for module in self.model.modules()])
        return [[candidate(c.steps, (1 / len(c.steps[-1]),)) for c in row] for row in candidates]


def test_metrics_are_added_in_place_every_so_often_and_modes_stay(tmp_path, tiny_prm_dir, processor):
    model = MMPRMModel.from_pretrained(tiny_prm_dir)
    model.freeze_vision()
    model.train()
    before = [module.training for module in model.modules()]
    assert any(before) and not all(before)
    callback = BestOfNCallback(make_sets(), every=2, num_candidates=2)
    callback._scorer = FakeScorer(model)
    found = []
    for _ in range(4):
        metrics = {"eval_loss": 1.0}
        args = TrainingArguments(str(tmp_path), use_cpu=True)
        callback.on_evaluate(args, TrainerState(), None, metrics=metrics, model=model, processing_class=processor)
        found.append(metrics)
    expected = {"eval_best_of_n": 0.0, "eval_mean_pass_at_1": 0.5, "eval_oracle": 1.0, "eval_majority_vote": 1.0}
    assert found[0] == found[2] == {"eval_loss": 1.0, **expected}  # "bad" is the shortest
    assert found[1] == found[3] == {"eval_loss": 1.0}
    assert not any(map(any, callback._scorer.modes)) and len(callback._scorer.modes) == 2
    assert before == [module.training for module in model.modules()]


@pytest.mark.parametrize("is_adapted", [False, True])
def test_the_best_checkpoint_follows_best_of_n(tmp_path, tiny_prm_dir, processor, figures, is_adapted):
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
    trainer = PRMTrainer(
        MMPRMModel.from_pretrained(tiny_prm_dir), args, train_dataset=rows_of(sets), eval_dataset=rows_of(sets)[:4],
        processing_class=processor, callbacks=[callback], peft_config=adapter,
    )  # fmt: skip
    assert callback.trainer is trainer
    first = trainer.evaluate()
    trainer.train()
    logs = [log for log in trainer.state.log_history if "eval_best_of_n" in log]
    values = {log["step"]: log["eval_best_of_n"] for log in logs}
    assert set(values) == {2, 4, 6, 8} and len(set(values.values()) | {first["eval_best_of_n"]}) > 1
    best = max(values, key=lambda step: (values[step], -step))
    assert trainer.state.best_metric == values[best]
    assert trainer.state.best_model_checkpoint == str(tmp_path / f"checkpoint-{best}")
    again = trainer.evaluate()  # of the best checkpoint, which was loaded
    assert again["eval_best_of_n"] == values[best]
    prm = trainer.model.get_base_model() if is_adapted else trainer.model
    scored = PRMScorer(prm, processor, layout="rows").score_many(
        [s.problem for s in sets], [s.candidates for s in sets]
    )
    assert selection_accuracies(sets, scored, "min")["best_of_n"] == values[best]
    trainer.save_model(str(tmp_path / "prm"))
    table = (tmp_path / "prm" / "README.md").read_text().split("## Evaluation")[1]
    (header,) = [line for line in table.splitlines() if line.startswith("| step")]
    assert "best_of_n" in header and "loss" in header  # one row has what evaluation and callback logged


def test_scoring_changes_no_training(tmp_path, tiny_prm_dir, processor, figures):
    sets = make_sets(figures)
    weights = []
    for callbacks in ([], [BestOfNCallback(sets)]):
        args = make_args(tmp_path, max_steps=3, per_device_train_batch_size=3, eval_strategy="steps", eval_steps=1)
        trainer = PRMTrainer(
            MMPRMModel.from_pretrained(tiny_prm_dir), args, train_dataset=rows_of(sets), eval_dataset=rows_of(sets),
            processing_class=processor, callbacks=callbacks,
        )  # fmt: skip
        trainer.train()
        weights.append(trainer.model.state_dict())
    assert all(torch.equal(p, weights[1][name]) for name, p in weights[0].items())


def test_of_several_eval_splits_the_last_one_scores(tmp_path, tiny_prm_dir, processor):
    sets = make_sets()
    callback = BestOfNCallback(sets)
    splits = {"near": rows_of(sets)[:2], "far": rows_of(sets)[2:4]}
    trainer = PRMTrainer(
        MMPRMModel.from_pretrained(tiny_prm_dir), make_args(tmp_path), train_dataset=rows_of(sets),
        eval_dataset=splits, processing_class=processor, callbacks=[callback],
    )  # fmt: skip
    metrics = trainer.evaluate()
    assert {"eval_near_loss", "eval_far_loss", "eval_best_of_n"} <= set(metrics)
    assert callback._num_evaluations == 1


def test_a_metric_that_some_evaluations_lack_cannot_choose(tmp_path, tiny_prm_dir, processor):
    sets = make_sets()
    args = make_args(tmp_path, max_steps=1, metric_for_best_model="best_of_n")
    trainer = PRMTrainer(
        MMPRMModel.from_pretrained(tiny_prm_dir), args, train_dataset=rows_of(sets), eval_dataset=rows_of(sets),
        processing_class=processor, callbacks=[BestOfNCallback(sets, every=2)],
    )  # fmt: skip
    with pytest.raises(ValueError, match="metric_for_best_model='best_of_n' needs its value at every evaluation"):
        trainer.train()


def test_a_file_of_candidates(tmp_path, figures):
    (tmp_path / "figures").mkdir()
    figures[0].save(tmp_path / "figures" / "a.png")
    rows = [
        {
            "problem_id": "first",
            "question": "What is x?",
            "answer": "2",
            "figures": ["figures/a.png"],
            "candidates": [
                {"steps": ["a", "b"], "answer": "2", "verdict": "correct", "step_scores": [0.1, 0.2], "score": 0.1},
                {"steps": [], "answer": None, "verdict": "incorrect", "complete": False, "text": "cut"},
            ],
        },
        {"problem_id": "not shown", "error": "no figure", "candidates": []},
        {
            "problem_id": "no gold",
            "question": "?",
            "answer": None,
            "candidates": [{"steps": ["c"], "verdict": "correct"}],
        },
        {"problem_id": "last", "question": "And y?", "candidates": [{"steps": ["c"], "verdict": "incorrect"}]},
    ]
    path = tmp_path / "candidates.jsonl"
    write_jsonl(path, rows)
    first, last = read_candidate_sets(path)
    assert first == judged(
        Problem("first", "What is x?", (str(tmp_path / "figures" / "a.png"),)),
        (Candidate(("a", "b"), "2"), Candidate((), None, False, "cut")),
        (True, False),
    )
    assert last.problem == Problem("last", "And y?") and last.outcomes == [0.0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"question": " "}, "empty question"),
        ({"figures": ["none.png"]}, r"none\.png' of problem 'p' does not exist"),
        ({"candidates": "a"}, r"candidates='a' of problem 'p', row 2 of .*They are a list"),
        ({"candidates": ["a"]}, "Candidate 0 of problem 'p', row 2 of .* is a str"),
        ({"candidates": [{"steps": "ab"}]}, "Candidate 0 .* has steps='ab'. Steps are a list"),
        ({"candidates": [{"steps": ["a"], "verdict": True}]}, "Candidate 0 .* has verdict=True"),
        ({"candidates": [{"steps": ["a"], "answer": 3}]}, "Candidate 0 .* has answer=3"),
        ({"candidates": [{"steps": ["a"], "complete": "yes"}]}, "Candidate 0 .* has complete='yes'"),
    ],
)
def test_bad_rows_are_named(tmp_path, change, message):
    good = {"problem_id": "p", "question": "q", "candidates": [{"steps": ["a"], "verdict": "correct"}]}
    write_jsonl(tmp_path / "candidates.jsonl", [good, {**good, **change}])
    with pytest.raises(ValueError, match=message):
        read_candidate_sets(tmp_path / "candidates.jsonl")


def test_bad_options_and_empty_files_are_refused(tmp_path):
    sets = make_sets()
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(ValueError, match="Found 0 rows"):
        read_candidate_sets(tmp_path / "empty.jsonl")
    with pytest.raises(ValueError, match="Unknown aggregation 'mni'"):
        BestOfNCallback(sets, "mni")
    with pytest.raises(ValueError, match="Found 0 candidate sets"):
        BestOfNCallback([])
    with pytest.raises(ValueError, match="every=0"):
        BestOfNCallback(sets, every=0)
    with pytest.raises(ValueError, match="Found 3 candidates of problem 'p0', but num_candidates=4"):
        BestOfNCallback(sets, num_candidates=4)
    with pytest.raises(ValueError, match="Found 1 candidates and 2 verdicts"):
        judged(Problem("p", "q"), (Candidate(("a",)),), (True, False))
