"""How good the rules are: recall of listed near duplicates, and precision by pairs and problems that were read.

    python recipes/curation/check_rules.py --data problems.jsonl --listed near_duplicates.jsonl

`read_pairs.jsonl` contains a reader's verdict, from texts and figures, on every pair that is found in 1,000 problems of
MathVision: "same" (one problem, another translation or scan), "variant" (other numbers or another question about the
same thing), "other". All problems are compared, whatever the criteria would drop.

Real pairs with one text are rare, so copies are made, too: every problem again in capitals, with other spaces, markup
and punctuation, and its figure at four fifths of its size as a JPEG.

`read_needs.jsonl` says which problems need their figure, of those that the rule, or an earlier form of it, drops.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import itertools
import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from mmprm_hf.curation import CurationConfig
from mmprm_hf.curation.adapters import read_mathvision
from mmprm_hf.curation.duplicates import Pair, Sketch, find_pairs, sketch_of
from mmprm_hf.curation.figures import Figure, read_figure
from mmprm_hf.curation.question_rules import refers_to_figure
from mmprm_hf.curation.records import RawProblem
from mmprm_hf.curation.repairs import repair
from mmprm_hf.files import read_jsonl, write_json
from mmprm_hf.metrics import share_with_interval
from mmprm_hf.models import load_image
from mmprm_hf.rows import RawRows

HERE = Path(__file__).parent


def read_problems(data: Path) -> tuple[list[RawProblem], list[Sketch]]:
    """Repaired problems of a file of MathVision rows, and their sketches."""
    rows = RawRows(data)
    problems = [repair(read_mathvision(rows[index], index)) for index in range(len(rows))]
    return problems, [sketch_of(problem, [read_figure(image) for image in problem.images]) for problem in problems]


def copy_of(problem: RawProblem) -> tuple[RawProblem, list[Figure]]:
    """The same problem with other letters, spaces and figure bytes."""
    words = problem.question.replace("$", " $ ").replace(",", " ,  ").upper()
    figures = []
    for image in map(load_image, problem.images):
        file = io.BytesIO()
        image.resize((max(1, image.width * 4 // 5), max(1, image.height * 4 // 5))).save(file, "JPEG", quality=80)
        figures.append(read_figure({"bytes": file.getvalue(), "path": None}))
    return dataclasses.replace(problem, question=f"  {words} ."), figures


def recall_of_copies(problems: list[RawProblem], sketches: list[Sketch], config: CurationConfig) -> dict[str, Any]:
    """Share of copies that are found as duplicates of their originals, both in one set."""
    with_text = [(problem, sketch) for problem, sketch in zip(problems, sketches, strict=True) if problem.question]
    copies = [sketch_of(*copy_of(problem)) for problem, _ in with_text]
    pairs = find_pairs([*(sketch for _, sketch in with_text), *copies], config)
    duplicates = {(pair.first, pair.second) for pair in pairs if pair.kind != "variant"}
    num_found = sum((index, index + len(copies)) in duplicates for index in range(len(copies)))
    return share_with_interval(num_found, len(copies)) | {"num_copies": len(copies)}


def precision_of_not_needed(problems: list[RawProblem]) -> dict[str, Any]:
    """Share of the problems that need no figure, among those that the rule drops and that were read."""
    needs = {row["id"]: row["needs_figure"] for row in read_jsonl(HERE / "read_needs.jsonl")}
    dropped = [problem.id for problem in problems if problem.id in needs and not refers_to_figure(problem)]
    return share_with_interval(sum(not needs[name] for name in dropped), len(dropped)) | {"num_read": len(dropped)}


def found_pairs(data: Path) -> tuple[list[str], list[Pair]]:
    """Ids of the problems in a file, and the pairs of their indices that belong together."""
    problems, sketches = read_problems(data)
    return [problem.id for problem in problems], find_pairs(sketches, CurationConfig(sources=(str(data),)))


def check(data: Path, listed: Path) -> dict[str, Any]:
    """Recall and precision, with 95 % Wilson intervals."""
    config = CurationConfig(sources=(str(data),))
    problems, sketches = read_problems(data)
    ids = [problem.id for problem in problems]
    kinds = {frozenset((ids[pair.first], ids[pair.second])): pair.kind for pair in find_pairs(sketches, config)}
    near = [frozenset((row["a"], row["b"])) for row in read_jsonl(listed)]
    texts = defaultdict(list)
    for name, sketch in zip(ids, sketches, strict=True):
        texts[sketch.tokens].append(name)
    same_text = [frozenset(pair) for text, group in texts.items() if text for pair in itertools.combinations(group, 2)]
    verdicts = {frozenset(row["pair"]): row["said"] for row in read_jsonl(HERE / "read_pairs.jsonl")}
    right = {"near": ("same",), "variant": ("same", "variant")}
    precision = {}
    for kind in right:
        pairs = [pair for pair in kinds if kinds[pair] == kind]
        read = [pair for pair in pairs if pair in verdicts]
        precision[kind] = share_with_interval(sum(verdicts[pair] in right[kind] for pair in read), len(read))
        precision[kind] |= {"num_found": len(pairs), "num_read": len(read)}
    return {
        "num_problems": len(ids),
        "num_pairs": dict(Counter(kinds.values())),
        "recall_same_text": share_with_interval(sum(pair in kinds for pair in same_text), len(same_text))
        | {"num_pairs": len(same_text)},
        "recall_copies": recall_of_copies(problems, sketches, config),
        "recall_listed": share_with_interval(sum(pair in kinds for pair in near), len(near)) | {"num_pairs": len(near)},
        "listed_but_not_found": [sorted(pair, key=int) for pair in near if pair not in kinds],
        "precision": precision,
        "precision_figure_not_needed": precision_of_not_needed(problems),
    }


def main() -> None:
    """Print the results, and write them if there is an output."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--listed", type=Path, required=True)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    results = check(options.data, options.listed)
    print(json.dumps(results, indent=2))
    if options.output is not None:
        write_json(options.output, results)


if __name__ == "__main__":
    main()
