"""Samples through a PRM: order, what is not scored, and the nano PRM on steps whose truth is known."""

import json
import random

import pytest
from PIL import Image

from mmprm_hf import metrics
from mmprm_hf.data import Candidate
from mmprm_hf.evaluation import step_runner
from mmprm_hf.evaluation.step_metrics import tuned_threshold
from mmprm_hf.evaluation.step_runner import evaluate_steps, score_samples
from mmprm_hf.evaluation.step_samples import StepSample, load_visual_process_bench
from mmprm_hf.files import write_json
from mmprm_hf.models.modeling_mm_prm import MMPRMModel
from mmprm_hf.models.processing_mm_prm import MMPRMProcessor
from mmprm_hf.nano import PRM_PATH
from mmprm_hf.nano.solver import Noise, StepTruth
from mmprm_hf.nano.world import nano_problems
from mmprm_hf.scoring.scorer import PRMScorer


class FakeScorer:
    """Scores a step by its length, and keeps what it was shown; fails on a question that says so."""

    def __init__(self):
        self.shown = []

    def score_solutions(self, problems, solutions):
        self.shown += problems
        for problem in problems:
            if "FAIL" in problem.question:
                raise ValueError("its image cannot be read")
        return [[tuple(float(len(step)) for step in steps) for steps in row] for row in solutions]


def sample(name, steps=("a", "bb"), question="Q", labels=None, category="math", first_error=None):
    labels = labels or (1,) * len(steps)
    return StepSample(name, category, question, (), tuple(steps), labels, first_error, {"answer": "GOLD-41"})


def test_order_is_kept_and_only_bad_samples_go_without(caplog, monkeypatch):
    samples = [sample("a"), sample("bad", question="FAIL"), sample("blank", ("x", " ")), sample("c", ("ccc",))]
    scorer = FakeScorer()
    for batch_size in (1, 2, 10):
        monkeypatch.setattr(step_runner, "BATCH_SIZE", batch_size)
        assert score_samples(scorer, samples) == [(1.0, 2.0), None, None, (3.0,)]
    assert "'bad' is not scored: its image cannot be read" in caplog.text
    assert "'blank' is not scored: this PRM cannot read one of its steps" in caplog.text
    assert "GOLD-41" not in repr(scorer.shown)


def test_a_scorer_with_another_number_of_scores_is_an_error():
    class Short(FakeScorer):
        def score_solutions(self, problems, solutions):
            return [[(0.5,)] for _ in problems]

    with pytest.raises(ValueError, match="Found 1 scores for the 2 steps of sample 'a'"):
        score_samples(Short(), [sample("a")])


def test_results_are_json_with_counts(tmp_path):
    samples = [sample("a", labels=(1, 0), first_error=1), sample("b", first_error=-1), sample("c", first_error=-1)]
    scores = [(0.9, 0.1), (0.9, 0.8), None]
    given = {"threshold": 0.5, "tuned_on": "none"}
    for benchmark, figure, value in (
        (
            "visualprocessbench",
            "macro_f1",
            (6 / 8 + 2 / 4) / 2,
        ),  # right: 3 found of 5, 3 called; wrong: 1 of 1, 3 called
        ("processbench", "average_f1", 2 / 3),  # the error found; one of two right ones, the other is not scored
        ("prmbench", "prm_score", 1.0),  # what is not scored is left out
    ):
        result = evaluate_steps(benchmark, samples, scores, **given)
        write_json(tmp_path / "result.json", result)
        assert json.loads((tmp_path / "result.json").read_text()) == result
        assert (result["num_samples"], result["num_unscored_samples"], result["tuned_on"]) == (3, 1, "none")
        # Of the four scored and labelled steps three are right (0.9, 0.9, 0.8) and one is wrong (0.1).
        assert result["calibration"]["ece"] == pytest.approx((0.1 + 0.1 + 0.1 + 0.2) / 4)
        assert [(row["right"], row["num_right"], row["wrong"]) for row in result["by_step"]] == [
            (0.9, 2, None),
            (0.8, 1, 0.1),
        ]
        assert result[figure] == pytest.approx(value)


def test_what_evaluate_steps_refuses():
    given = {"threshold": 0.5, "tuned_on": "none"}
    with pytest.raises(ValueError, match="Unknown step benchmark 'x'. Choose one of visualprocessbench"):
        evaluate_steps("x", [sample("a")], [None], **given)
    with pytest.raises(ValueError, match="Found 1 samples and 2 lists of scores"):
        evaluate_steps("prmbench", [sample("a")], [None, None], **given)
    with pytest.raises(ValueError, match="Found 1 scores for the 2 steps of sample 'a'"):
        evaluate_steps("processbench", [sample("a", first_error=-1)], [(0.9,)], **given)
    with pytest.raises(ValueError, match="'a' has no first_error"):
        evaluate_steps("processbench", [sample("a")], [None], **given)


# With the shipped PRM


@pytest.fixture(scope="module")
def scorer():
    return PRMScorer(MMPRMModel.from_pretrained(PRM_PATH), MMPRMProcessor.from_pretrained(PRM_PATH))


def nano_rows(folder, split, num_problems):
    """VisualProcessBench's shape: figures as files, labels by the exact checker (1 right, -1 wrong, 0 unparsable)."""
    folder.mkdir()
    values = {StepTruth.RIGHT: 1, StepTruth.WRONG: -1, StepTruth.UNPARSABLE: 0}
    rows = []
    for index, problem in enumerate(nano_problems(split, num_problems)):
        problem.figure().save(folder / f"{index}.png")
        steps = problem.solve(random.Random(index), Noise(misread=0.3, slip=0.3) if index % 2 else None)
        response = {
            "steps": [*steps, "so that is it"],
            "process_correctness": [values[t] for t in problem.check(steps)],
        }
        response["process_correctness"].append(0)
        shared = {"question": problem.question, "answer": problem.answer, "data_source": problem.family}
        rows.append({"id": problem.id, "image": [f"{index}.png"], "response": response, **shared})
    (folder / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "test.jsonl"


def test_the_nano_prm_on_steps_of_known_truth(tmp_path, scorer):
    train, _ = load_visual_process_bench(nano_rows(tmp_path / "train", "train", 24))
    samples, counts = load_visual_process_bench(nano_rows(tmp_path / "test", "test", 40))
    assert counts == {"num_rows": 40, "num_kept": 40, "problems": {}}
    scores = score_samples(scorer, samples)
    for index in (0, 1, 17):
        (candidate,) = scorer.score(samples[index].to_problem(), [Candidate(samples[index].steps)])
        assert scores[index] == pytest.approx(candidate.step_scores, abs=1e-4)
    threshold = tuned_threshold([sample.labels for sample in train], score_samples(scorer, train))
    result = evaluate_steps("visualprocessbench", samples, scores, threshold=threshold, tuned_on="train")
    assert (result["num_neutral"], result["num_unscored"], result["tuned_on"]) == (40, 0, "train")
    assert result["num_wrong"] > 5
    pairs = [(y, v) for s, row in zip(samples, scores, strict=True) for y, v in zip(s.labels, row, strict=True)]
    labels, values = zip(*[pair for pair in pairs if pair[0] is not None], strict=True)
    assert result["threshold"] == threshold
    assert result["macro_f1"] == pytest.approx(metrics.macro_f1(labels, values, threshold))
    assert result["macro_f1"] > 0.8  # 0.929 when this was written
    # The same steps before other figures: what is scored is the picture, too.
    shown = [sample.images for sample in samples]
    swapped = [
        StepSample(s.id, s.category, s.question, i, s.steps, s.labels)
        for s, i in zip(samples, shown[::-1], strict=True)
    ]
    other = evaluate_steps(
        "visualprocessbench",
        swapped,
        score_samples(scorer, swapped),
        threshold=threshold,
        tuned_on="train",
    )
    assert other["macro_f1"] < result["macro_f1"]


def test_a_cut_figure_is_counted_before_anything_is_scored(tmp_path, scorer):
    path = nano_rows(tmp_path / "rows", "test", 3)
    image = Image.effect_noise((200, 200), 90).convert("RGB")
    image.save(tmp_path / "rows" / "1.png", format="JPEG")
    whole = (tmp_path / "rows" / "1.png").read_bytes()
    (tmp_path / "rows" / "1.png").write_bytes(whole[: len(whole) // 2])  # its header is whole
    samples, counts = load_visual_process_bench(path)
    assert counts["num_kept"] == 2 and counts["problems"] == {"unreadable_image": 1}
    assert None not in score_samples(scorer, samples)
