"""Macro-F1 of step scores: the mean of F1 of right and F1 of wrong steps (VisualProcessBench, arXiv 2503.10291).

A metric module of the `evaluate` library; the arithmetic is `mmprm_hf`'s.
"""

import datasets
import evaluate

from mmprm_hf.evaluation.step_metrics import visual_process_bench_report

_DESCRIPTION = __doc__.splitlines()[0]
_INPUTS = """
Args:
    predictions: Per solution, the score of each step: P(step right).
    references: Per solution, 1 (right), 0 (wrong) or None (neutral: left out) for each step.
    threshold: A step with a lower score is called wrong.
    tuned_on: The split the threshold was chosen on; "none" for one fixed beforehand.
    sources: Source of each solution; None: one for all.
"""


class ProcessF1(evaluate.Metric):
    """See the module."""

    def _info(self):
        features = datasets.Features(
            {
                "predictions": datasets.List(datasets.Value("float64")),
                "references": datasets.List(datasets.Value("int64")),
            }
        )
        return evaluate.MetricInfo(description=_DESCRIPTION, citation="", inputs_description=_INPUTS, features=features)

    def _compute(self, predictions, references, threshold=0.5, tuned_on="none", sources=None):
        sources = ["all"] * len(predictions) if sources is None else sources
        return visual_process_bench_report(sources, references, predictions, threshold=threshold, tuned_on=tuned_on)
