"""PRMScore of PRMBench (arXiv 2501.03124): 0.5 * F1 of right steps + 0.5 * F1 of wrong steps, per category.

A metric module of the `evaluate` library; the arithmetic is `mmprm_hf`'s.
"""

import datasets
import evaluate

from mmprm_hf.evaluation.step_metrics import prm_bench_report

_DESCRIPTION = __doc__.splitlines()[0]
_INPUTS = """
Args:
    predictions: Per solution, the score of each step: P(step right).
    references: Per solution, 1 (right) or 0 (wrong) for each step.
    categories: Kind of error of each solution; "correct" for controls, "multi_solutions" has right steps only.
    threshold: A step with a lower score is called wrong.
    tuned_on: The split the threshold was chosen on; "none" for one fixed beforehand.
"""


class PRMScore(evaluate.Metric):
    """See the module."""

    def _info(self):
        features = datasets.Features(
            {
                "predictions": datasets.List(datasets.Value("float64")),
                "references": datasets.List(datasets.Value("int64")),
            }
        )
        return evaluate.MetricInfo(description=_DESCRIPTION, citation="", inputs_description=_INPUTS, features=features)

    def _compute(self, predictions, references, categories, threshold=0.5, tuned_on="none"):
        return prm_bench_report(categories, references, predictions, threshold=threshold, tuned_on=tuned_on)
