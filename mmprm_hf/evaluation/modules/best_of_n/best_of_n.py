"""Best-of-N selection by a score, beside mean pass@1, majority vote and oracle, with bootstrap intervals.

A metric module of the `evaluate` library; the arithmetic is `mmprm_hf`'s.
"""

import datasets
import evaluate

from mmprm_hf.evaluation.evaluators import best_of_n_report

_DESCRIPTION = __doc__.splitlines()[0]
_INPUTS = """
Args:
    predictions: Per problem, the score in [0, 1] of each of its N candidates; the same N for all.
    references: Per problem, 1 (right), 0 (wrong) or None (undecided) for each candidate.
    answers: Per problem, the answer of each candidate as text; None takes no votes.
"""


class BestOfN(evaluate.Metric):
    """See the module."""

    def _info(self):
        features = datasets.Features(
            {
                "predictions": datasets.List(datasets.Value("float64")),
                "references": datasets.List(datasets.Value("int64")),
            }
        )
        return evaluate.MetricInfo(description=_DESCRIPTION, citation="", inputs_description=_INPUTS, features=features)

    def _compute(self, predictions, references, answers=None):
        rows = []
        for index, (scores, verdicts) in enumerate(zip(predictions, references, strict=True)):
            texts = [str(number) for number in range(len(scores))] if answers is None else answers[index]
            rows.append({"problem_id": str(index), "greedy": None, "candidates": _candidates(scores, verdicts, texts)})
        report = best_of_n_report(rows, aggregation="last")
        votes = () if answers is not None else ("majority_vote", "weighted_vote")
        metrics = {name: value for name, value in report["metrics"].items() if name not in ("greedy", *votes)}
        return {"num_problems": report["num_problems"], "num_candidates": report["num_candidates"], **metrics}


def _candidates(scores, verdicts, answers):
    """Candidates of one step each, as the report takes them."""
    words = {1: "correct", 0: "incorrect", None: "undecided"}
    return [
        {"steps": [f"{number}"], "answer": answer, "complete": True, "verdict": words[verdict], "step_scores": [score]}
        for number, (score, verdict, answer) in enumerate(zip(scores, verdicts, answers, strict=True))
    ]
