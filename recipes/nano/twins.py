"""How much do test problems matter whose facts were in training? The table on all test problems and without those.

    mmprm demo --num-problems 500 --output out/demo500
    python recipes/nano/twins.py --candidates out/demo500/candidates.jsonl

No two problems of different splits show and ask the same (`NanoProblem.content_id`). A *twin* is weaker: another figure
(other distractor, other places) with the same question and the same facts. Counted are twins in the stream that base
and judge were pretrained on (`base_stream.py`, as its present version draws it) and in the 10,000 problems of the
policy's corpus; and how many of the problems of `recipes/grpo_with_prm` were themselves in that stream.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from base_stream import shipped_problems

from mmprm_hf.evaluation import best_of_n_report
from mmprm_hf.files import write_json
from mmprm_hf.nano import NanoProblem, nano_problems, problem_from_id
from mmprm_hf.publish import format_best_of_n
from mmprm_hf.rows import read_candidate_rows

NUM_CORPUS, NUM_GRPO = 10_000, 1_500  # train problems of the policy's corpus; the following ones of the GRPO recipe


def facts_key(problem: NanoProblem) -> tuple:
    """Family, question and every true value."""
    return problem.family, problem.question, tuple(sorted(problem.facts.items()))


def count_twins(
    test: Sequence[NanoProblem],
    stream: Iterable[NanoProblem],
    corpus: Iterable[NanoProblem],
    grpo: Sequence[NanoProblem],
) -> tuple[dict[str, Any], list[bool]]:
    """The counts of twins, and for each test problem whether it has one, in the stream or in the corpus."""
    stream_keys, stream_contents = set(), set()
    for problem in stream:
        stream_keys.add(facts_key(problem))
        stream_contents.add(problem.content_id)
    corpus_keys = set(map(facts_key, corpus))
    has_twin = [facts_key(problem) in stream_keys | corpus_keys for problem in test]
    families = Counter(problem.family for problem, twin in zip(test, has_twin, strict=True) if twin)
    counts = {
        "num_twins": sum(has_twin),
        "num_twins_in_stream": sum(facts_key(problem) in stream_keys for problem in test),
        "num_twins_in_corpus": sum(facts_key(problem) in corpus_keys for problem in test),
        "twins_by_family": dict(families.most_common()),
        "grpo": {
            "num_problems": len(grpo),
            "num_in_stream": sum(problem.content_id in stream_contents for problem in grpo),
        },
    }
    return counts, has_twin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=Path, default=Path("out/demo500/candidates.jsonl"))
    parser.add_argument("--output", type=Path, default=Path("recipes/nano/results/without_twins.json"))
    args = parser.parse_args()
    rows = read_candidate_rows(args.candidates, need_verdicts=True)
    train, test = nano_problems("train", NUM_CORPUS + NUM_GRPO), [problem_from_id(row["problem_id"]) for row in rows]
    counts, has_twin = count_twins(test, shipped_problems(), train[:NUM_CORPUS], train[NUM_CORPUS:])
    report = best_of_n_report([row for row, twin in zip(rows, has_twin, strict=True) if not twin])
    print(f"{sum(has_twin)} of {len(test)} test problems have a twin; without them:\n\n{format_best_of_n(report)}")
    write_json(args.output, {**counts, **report})


if __name__ == "__main__":
    main()
