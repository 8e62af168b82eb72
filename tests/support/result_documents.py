"""Results documents of every kind for tests, small and complete, and a reader of pages."""

from __future__ import annotations

import html.parser

from mmprm_hf.evaluation.curves import best_of_n_curves
from mmprm_hf.evaluation.diagnosis import diagnose
from mmprm_hf.evaluation.exact_truth import false_positive_report, step_level_report
from mmprm_hf.evaluation.results import make_results
from mmprm_hf.evaluation.step_runner import evaluate_steps
from mmprm_hf.evaluation.step_samples import StepSample
from mmprm_hf.publish.words import METRICS


def best_of_n_document(**changes):
    """Three candidates for each of two problems; every metric 0.5 but best-of-N 0.6."""
    metrics = {name: {"value": 0.5, "ci_low": 0.4, "ci_high": 0.625} for name in METRICS}
    metrics["best_of_n"]["value"] = 0.6
    answers = {name: {"tokens": 1234.5, "seconds": 0.04567} for name in ("majority_vote", "best_of_n")}
    answers["greedy"] = {"tokens": 41.25, "seconds": None}
    counts = dict.fromkeys(("num_undecided", "num_incomplete", "num_problems_undecided"), 0)
    section = {"num_problems": 2, "num_candidates": 3, "aggregation": "min", "metrics": metrics, **counts}
    section["num_decided"] = dict.fromkeys(metrics, 2)
    facts = {
        "policy": "tiny-policy",
        "cost": {"num_tokens": 2469, "seconds": {"generate": 12.34, "score": 5.67}, "answers": answers},
        "best_of_n": section,
    }
    return make_results("tiny", **{**facts, **changes})


def candidate_rows(num_problems=6, num_candidates=4):
    """Scored candidates: the more the index, the lower the score and the longer; right ones have higher scores."""
    rows = []
    for problem in range(num_problems):
        candidates = []
        for index in range(num_candidates):
            is_right = (problem + index) % 3 != 0
            scores = [0.95 - 0.1 * index, (0.85 if is_right else 0.25) - 0.01 * problem] + [0.5] * (index % 2)
            candidates.append(
                {
                    "steps": [f"s{index}{step}" for step in range(len(scores))],
                    "answer": "7" if is_right else str(index),
                    "complete": True,
                    "step_scores": scores,
                    "verdict": "correct" if is_right else "incorrect",
                }
            )
        rows.append({"problem_id": str(problem), "answer": "7", "candidates": candidates})
    return rows


def curves_document():
    """Curves and diagnosis, and nothing else."""
    rows = candidate_rows()
    return make_results("tiny", prm="a PRM", curves=best_of_n_curves(rows), diagnosis=diagnose(rows))


def truth_document():
    """Step scores against an exact checker."""
    labels, scores = [1, 0, 1, 0, 1, 1], [0.9, 0.2, 0.8, 0.6, 0.4, 0.7]
    levels = step_level_report(labels, scores, train_labels=labels, train_scores=scores) | {"num_unparsable": 3}
    solutions = [([1, 0, 1], [0.9, 0.2, 0.3]), ([1, 1], [0.9, 0.8]), ([0, 1], [0.9, 0.8])]
    chosen, drawn_from = [[1, 1], [0, 1], [1, 1], [1, 1]], [[[1, 1], [1, 0]], [[0, 1]], [[1, 1]], [[1, 1]]]
    lucky = false_positive_report(solutions, threshold=0.5, chosen=chosen, drawn_from=drawn_from)
    truth = {"step_level": levels, "prefix_level": levels, "false_positives": {**lucky, "num_unjudged": 5}}
    return make_results("tiny", exact_truth=truth)


def steps_document(benchmark="processbench", **changes):
    """A step-level benchmark with two parts, its last solution not scored."""
    parts = {
        "visualprocessbench": ("MMMU", "MathVision"),
        "processbench": ("gsm8k", "math"),
        "prmbench": ("circular", "correct"),
    }[benchmark]
    samples, scores = [], []
    for index in range(8):
        labels = (1, 0, None) if benchmark == "visualprocessbench" else (1, 0) if index % 4 < 2 else (1, 1)
        first_error = 1 if 0 in labels else -1
        sample = {
            "id": str(index),
            "question": "Q",
            "steps": tuple("abc"[: len(labels)]),
            "labels": labels,
            "images": (),
        }
        samples.append(StepSample(**sample, first_error=first_error, category=parts[index % 2]))
        scores.append(None if index == 7 else (0.9, 0.3 + 0.1 * (index % 3), 0.5)[: len(labels)])
    steps = evaluate_steps(benchmark, samples, scores, threshold=0.45, tuned_on="its train split")
    return make_results(
        benchmark,
        **{
            "prm": "a PRM",
            "rows": {"num_rows": 10, "num_used": 8, "problems": {"a label too many": 2}},
            "steps": steps,
            **changes,
        },
    )


class Outline(html.parser.HTMLParser):
    """Collects tags, attributes and the visible text; fails on tags that do not nest."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.open, self.words = [], [], [], []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes.extend(attrs)
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"style", "title"} & set(self.open):
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())
