"""Several models' answers to one problem as its candidates: accuracy of each, mean, random, majority vote and oracle.

    python recipes/answers/best_of_models.py --data ../shared/data --output recipes/answers/results/best_of_models.json

Answers are found and judged as in `agreement.py`: six models on 1,000 MATH-Vision problems, four on 300 of GSM8K.

- Accuracy by model, from the rules and from the given labels, over the answers that have a label; those without one are
  counted. An answer that the rules leave undecided is not right here, so that both have one denominator.
- The table: `best_of_n_curves` over all subsets of the models, without the metrics that need scores. Undecided answers
  leave numerator and denominator there. Once with the rules' verdicts, once with the labels (null: undecided).
- Answers that name an option, by letter or by value, vote for its letter. Of answers with equally many votes the one
  of the earliest model in the file wins, which is not the best model; "majority_vote_any_order" is the mean over them.
- Random among distinct: one of the different answers, each as likely, however many models gave it.

Takes about a minute on two cores.
"""

from __future__ import annotations

import argparse
import collections
import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agreement import Case, gsm8k, judge, mathvision

from mmprm_hf.answers import RuleVerifier, group_answers
from mmprm_hf.data import Verdict
from mmprm_hf.evaluation import best_of_n_curves
from mmprm_hf.files import write_json
from mmprm_hf.metrics import bootstrap_ci
from mmprm_hf.publish.words import metric_name

COMMAND = "python recipes/answers/best_of_models.py --data ../shared/data"
METRICS = ("mean_pass_at_1", "random_distinct", "majority_vote", "oracle")


def option_or_answer(answer: str | None, options: Sequence[str]) -> str | None:
    """Return the letter of the only option that an answer names by letter or value; else the answer as it is.

    Example:
        >>> option_or_answer("20 cm", ["10 cm", "20 cm"]), option_or_answer("(B)", ["10 cm", "20 cm"])
        ('B', 'B')
        >>> option_or_answer("30 cm", ["10 cm", "20 cm"])
        '30 cm'
    """
    letters = string.ascii_uppercase[: len(options)]
    verifier = RuleVerifier()
    named = [
        letter
        for letter in letters
        if verifier.verify(answer, letter, answer_type="choice", options=options) is Verdict.CORRECT
    ]
    return named[0] if len(named) == 1 else answer


def voting_answers(cases: Sequence[Case]) -> list[str | None]:
    """One text per answer to a problem, equal for equivalent answers: an option's letter or the group's first answer.

    None for no answer.
    """
    answers = [option_or_answer(case.answer, case.options) for case in cases]
    groups = group_answers(answers)
    return [None if group is None else answers[groups.index(group)] for group in groups]


def by_model(judged: Sequence[tuple[Case, Verdict]]) -> dict[str, dict[str, Any]]:
    """Accuracy in percent of each model from the rules and from the labels, over the labelled answers."""
    models: dict[str, list[tuple[Case, Verdict]]] = collections.defaultdict(list)
    for case, verdict in judged:
        models[case.group].append((case, verdict))
    table = {}
    for model, pairs in models.items():
        labelled = [(case, verdict) for case, verdict in pairs if case.label is not None]
        ours = 100 * sum(verdict is Verdict.CORRECT for _, verdict in labelled) / len(labelled)
        given = 100 * sum(case.label for case, _ in labelled) / len(labelled)
        table[model] = {
            "accuracy_rules": round(ours, 2),
            "accuracy_labels": round(given, 2),
            "difference": round(ours - given, 2),
            "num_labelled": len(labelled),
            "num_null": len(pairs) - len(labelled),
            "num_undecided": sum(verdict is Verdict.UNDECIDED for _, verdict in labelled),
        }
    return table


def verdict_of(label: bool | None) -> Verdict:
    """A label as a verdict."""
    return Verdict.UNDECIDED if label is None else Verdict.CORRECT if label else Verdict.INCORRECT


def candidate_row(answers: Sequence[str | None], verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """A problem as `best_of_n_curves` reads it; its candidates are `voting_answers`, in the order of the file."""
    candidates = [
        {"steps": [], "answer": answer, "complete": answer is not None, "verdict": str(verdict)}
        for answer, verdict in zip(answers, verdicts, strict=True)
    ]
    return {"problem_id": None, "greedy": None, "candidates": candidates}


def vote_in_any_order(row: dict[str, Any]) -> float | None:
    """Share of right ones among the answers with most votes, of those that are decided; 0 if nobody votes.

    None where all of them are undecided.
    """
    votes = collections.Counter(c["answer"] for c in row["candidates"] if c["complete"])
    if not votes:
        return 0.0
    first = {c["answer"]: Verdict(c["verdict"]) for c in reversed(row["candidates"])}
    best = [first[answer] for answer, count in votes.items() if count == max(votes.values())]
    decided = [verdict is Verdict.CORRECT for verdict in best if verdict is not Verdict.UNDECIDED]
    return sum(decided) / len(decided) if decided else None


def table(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Every metric that needs no scores, at each number of models."""
    num_models = len(rows[0]["candidates"])
    curves = best_of_n_curves(rows, sizes=range(1, num_models + 1))
    votes = [value for value in map(vote_in_any_order, rows) if value is not None]
    low, high = bootstrap_ci(votes)
    anyhow = {"n": num_models, "value": sum(votes) / len(votes), "ci_low": low, "ci_high": high}
    counts = ("num_problems", "num_candidates", "num_undecided", "num_incomplete", "num_problems_undecided")
    return {
        **{key: curves[key] for key in counts},
        "curves": {
            **{name: curves["curves"][name] for name in METRICS},
            "majority_vote_any_order": [anyhow | {"num_decided": len(votes)}],
        },
    }


def results_of(judged: Sequence[tuple[Case, Verdict]]) -> dict[str, Any]:
    """All figures of one file of answers, which come problem by problem, the models in one order."""
    models = by_model(judged)
    problems = [judged[start : start + len(models)] for start in range(0, len(judged), len(models))]
    for index, pairs in enumerate(problems):
        if [case.group for case, _ in pairs] != list(models):
            raise ValueError(
                f"Found the models {[case.group for case, _ in pairs]} at problem {index}. Every problem needs one "
                f"answer of each of {list(models)}, in this order; sort the file by problem."
            )
    voting = [voting_answers([case for case, _ in pairs]) for pairs in problems]
    by_texts = [group_answers([case.answer for case, _ in pairs]) for pairs in problems]
    num_regrouped = sum(group_answers(a) != texts for a, texts in zip(voting, by_texts, strict=True))
    rules = [[verdict for _, verdict in pairs] for pairs in problems]
    labels = [[verdict_of(case.label) for case, _ in pairs] for pairs in problems]
    return {
        "models": models,
        "num_problems_regrouped_by_options": num_regrouped,
        "by_rules": table([candidate_row(*both) for both in zip(voting, rules, strict=True)]),
        "by_labels": table([candidate_row(*both) for both in zip(voting, labels, strict=True)]),
    }


def read(data: Path) -> dict[str, list[tuple[Case, Verdict]]]:
    """Every answer of both files with the rules' verdict."""
    vision, school = data / "mathvision_candidates/candidates.jsonl", data / "gsm8k_candidates/gsm8k_candidates.jsonl"
    return {
        "mathvision": judge(mathvision(vision, data / "mathvision/problems.jsonl")),
        "gsm8k": judge(gsm8k(school)),
    }


def print_results(name: str, results: dict[str, Any]) -> None:
    """Accuracy by model and the largest N, in percent."""
    print(f"{name}\n{'accuracy in percent':<24}  rules  labels  difference  null  undecided")
    for model, row in results["models"].items():
        print(
            f"{model:<24}  {row['accuracy_rules']:5.2f}   {row['accuracy_labels']:5.2f}  {row['difference']:10.2f}"
            f"  {row['num_null']:4}  {row['num_undecided']:9}"
        )
    for source in ("by_rules", "by_labels"):
        n = results[source]["num_candidates"]
        for metric, points in results[source]["curves"].items():
            last = points[-1]
            words = metric_name(metric, n) if metric in METRICS else f"majority vote@{n}, any order"
            interval = f"{100 * last['ci_low']:5.1f} to {100 * last['ci_high']:5.1f}"
            print(f"{source}: {words:<28}  {100 * last['value']:5.1f}   {interval}   {last['num_decided']} problems")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with mathvision_candidates and its neighbours")
    parser.add_argument("--output", type=Path, help="JSON file for the figures")
    arguments = parser.parse_args()
    results: dict[str, Any] = {"command": COMMAND, "verifier": RuleVerifier.identity, "files": {}}
    for name, judged in read(arguments.data).items():
        results["files"][name] = results_of(judged)
        print_results(name, results["files"][name])
    if arguments.output:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        write_json(arguments.output, results)


if __name__ == "__main__":
    main()
