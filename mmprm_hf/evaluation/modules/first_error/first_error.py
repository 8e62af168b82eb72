"""Whether the first wrong step is found, as ProcessBench counts it (arXiv 2412.06559, section 3).

A metric module of the `evaluate` library; the arithmetic is `mmprm_hf`'s.
"""

import datasets
import evaluate

from mmprm_hf.evaluation.step_metrics import process_bench_report

_DESCRIPTION = __doc__.splitlines()[0]
_INPUTS = """
Args:
    predictions: Per solution, the score of each step: P(step right).
    references: 0-based index of each solution's first wrong step, -1 for none.
    threshold: The first step with a lower score is the predicted error.
    tuned_on: The split the threshold was chosen on; "none" for one fixed beforehand.
    subsets: Subset of each solution; None: one for all.
"""


class FirstError(evaluate.Metric):
    """See the module."""

    def _info(self):
        features = datasets.Features(
            {"predictions": datasets.List(datasets.Value("float64")), "references": datasets.Value("int64")}
        )
        return evaluate.MetricInfo(description=_DESCRIPTION, citation="", inputs_description=_INPUTS, features=features)

    def _compute(self, predictions, references, threshold=0.5, tuned_on="none", subsets=None):
        subsets = ["all"] * len(predictions) if subsets is None else subsets
        return process_bench_report(subsets, references, predictions, threshold=threshold, tuned_on=tuned_on)
