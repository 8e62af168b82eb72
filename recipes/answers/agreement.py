"""How often the rules agree with adjudicated labels of public model answers, and where they do not.

    python recipes/answers/agreement.py --data ../shared/data --output recipes/answers/results.json

Two kinds of files: pairs of an answer text and a gold, and whole responses, whose answers `extract_answer` finds first.
Undecided counts as disagreement. Answers whose label is null (nobody could tell) are left out and counted. Of files
under a share-alike license only counts are printed, no texts. Takes about a minute on two cores.
"""

from __future__ import annotations

import argparse
import collections
import json
import re
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mmprm_hf.answers import RuleVerifier, extract_answer
from mmprm_hf.data import Verdict
from mmprm_hf.files import read_jsonl

MAX_EXAMPLE_CHARS = 60


class Case(NamedTuple):
    """One answer to judge; `label` None where it is ambiguous."""

    group: str
    gold: str
    answer: str | None
    question_type: str
    options: tuple[str, ...]
    label: bool | None
    note: str = ""
    precision: int | None = None


def pairs(path: Path) -> Iterator[Case]:
    """Pairs of answer and gold."""
    for row in read_jsonl(path):
        question_type, options = row["question_type"], tuple(row["options"] or ())
        note, precision = row["pair_id"], row["precision"]
        yield Case("", row["gold"], row["answer_text"], question_type, options, row["label"], note, precision)


def mathvision(path: Path, problems_path: Path) -> Iterator[Case]:
    """Whole responses to MATH-Vision problems, by model."""
    problems = {row["id"]: row for row in read_jsonl(problems_path)}
    for row in read_jsonl(path):
        problem = problems[row["problem_id"]]
        answer = extract_answer(row["response"])
        question_type, options = problem["question_type"], tuple(problem["options"])
        note = f"{row['problem_id']} ({row['regrade_how']})"
        yield Case(row["model"], problem["answer"], answer, question_type, options, row["correct"], note)


def gsm8k(path: Path) -> Iterator[Case]:
    """Whole solutions of GSM8K problems, by model."""
    for row in read_jsonl(path):
        for candidate in row["candidates"]:
            answer = extract_answer(candidate["solution"])
            label = candidate["is_correct"]
            yield Case(candidate["model"], row["answer"], answer, "free_form", (), label, row["id"])


def form_of(text: str | None) -> str:
    """A rough name for how a text is written, for the table."""
    text = (text or "").strip().strip("$.()").strip()
    if len(text) == 1 and text.isalpha():
        return "letter"
    if re.fullmatch(r"-?\d+", text):
        return "integer"
    if re.fullmatch(r"-?\d*\.\d+", text):
        return "decimal"
    if text.count("{") > text.count("}"):
        return "cut LaTeX"
    if len(text) > MAX_EXAMPLE_CHARS:
        return "long text"
    if "\\" in text:
        return "LaTeX"
    return "words" if re.fullmatch(r"[^\W\d_][^\d]*", text) else "other" if text else "nothing"


def judge(cases: Iterable[Case]) -> list[tuple[Case, Verdict]]:
    """Every case with the rules' verdict."""
    verifier = RuleVerifier()
    judged = []
    for case in cases:
        answer_type = "choice" if case.question_type == "multi_choice" else "number"
        verdict = verifier.verify(
            case.answer, case.gold, answer_type=answer_type, options=case.options, precision=case.precision
        )
        judged.append((case, verdict))
    return judged


def summary(judged: list[tuple[Case, Verdict]]) -> dict[str, Any]:
    """Counts of one file or one model."""
    labelled = [(case, verdict) for case, verdict in judged if case.label is not None]
    num_agreeing = sum(agrees(case, verdict) for case, verdict in labelled)
    false_positives = sum(verdict is Verdict.CORRECT and not case.label for case, verdict in labelled)
    false_negatives = sum(verdict is Verdict.INCORRECT and bool(case.label) for case, verdict in labelled)
    verdicts = collections.Counter(str(verdict) for _, verdict in judged)
    return {
        "num_labelled": len(labelled),
        "num_ambiguous": len(judged) - len(labelled),
        "agreement": round(100 * num_agreeing / len(labelled), 2) if labelled else None,
        "false_positives": false_positives,
        "false_negatives": false_negatives,
        "undecided": len(labelled) - num_agreeing - false_positives - false_negatives,
        "accuracy_labels": round(100 * sum(case.label for case, _ in labelled) / len(judged), 2) if labelled else None,
        "accuracy_rules": round(100 * verdicts["correct"] / len(judged), 2),
        "verdicts": dict(sorted(verdicts.items())),
    }


def agrees(case: Case, verdict: Verdict) -> bool:
    return verdict is (Verdict.CORRECT if case.label else Verdict.INCORRECT)


def disagreements(judged: list[tuple[Case, Verdict]], with_examples: bool) -> list[dict[str, Any]]:
    """Kinds of disagreement, the most frequent first, each with one short example."""
    kinds: dict[tuple[str, ...], list[Case]] = collections.defaultdict(list)
    for case, verdict in judged:
        if case.label is not None and not agrees(case, verdict):
            kinds[case.question_type, form_of(case.gold), form_of(case.answer), str(verdict), str(case.label)].append(
                case
            )
    rows = []
    for kind, cases in sorted(kinds.items(), key=lambda item: (-len(item[1]), item[0])):
        row = dict(
            zip(("question_type", "gold_form", "answer_form", "verdict", "label"), kind, strict=True), count=len(cases)
        )
        if with_examples:
            shortest = min(cases, key=lambda case: len(case.answer or ""))
            row["example"] = {
                "gold": shortest.gold[:MAX_EXAMPLE_CHARS],
                "answer": (shortest.answer or "")[:MAX_EXAMPLE_CHARS],
            }
        rows.append(row)
    return rows


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with answers_pairs.jsonl and its neighbours")
    parser.add_argument("--output", type=Path, help="JSON file for the figures")
    parser.add_argument("--all", action="store_true", help="print every disagreement of the files without share-alike")
    arguments = parser.parse_args()
    data = arguments.data
    files = {
        "answers_pairs": lambda: pairs(data / "answers_pairs.jsonl"),
        "answers_pairs_mathvista": lambda: pairs(data / "cc_by_sa/answers_pairs_mathvista.jsonl"),
        "answers_ambiguous": lambda: pairs(data / "answers_ambiguous.jsonl"),
        "mathvision": lambda: mathvision(
            data / "mathvision_candidates/candidates.jsonl", data / "mathvision/problems.jsonl"
        ),
        "gsm8k": lambda: gsm8k(data / "gsm8k_candidates/gsm8k_candidates.jsonl"),
    }
    results: dict[str, Any] = {"verifier": RuleVerifier.identity, "files": {}}
    for name, read in files.items():
        start = time.perf_counter()
        judged = judge(read())
        seconds = time.perf_counter() - start
        result = summary(judged)
        groups = sorted({case.group for case, _ in judged} - {""})
        result["groups"] = {group: summary([pair for pair in judged if pair[0].group == group]) for group in groups}
        result["disagreements"] = disagreements(judged, with_examples="mathvista" not in name)
        results["files"][name] = result
        print(
            f"{name}: { ({k: v for k, v in result.items() if k not in ('groups', 'disagreements')}) }  {seconds:.0f} s"
        )
        for group, figures in result["groups"].items():
            print(f"  {group}: {figures}")
        for row in result["disagreements"]:
            print("   ", *row.values(), sep=" | ")
        if arguments.all and "mathvista" not in name:
            for case, verdict in judged:
                if case.label is not None and not agrees(case, verdict):
                    texts = (case.gold, list(case.options), (case.answer or "")[-200:])
                    print("      ", verdict, case.label, case.group, case.note, *map(repr, texts))
    if arguments.output:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
