"""How much do test problems with a twin in the train set matter? The table on all test problems and without the twins.

    python recipes/nano/twins.py

No two problems of different splits show and ask the same (`NanoProblem.content_id`). A *twin* is weaker: another figure
(other distractor, other places) with the same question and the same facts.
"""

from __future__ import annotations

from pathlib import Path

from mmprm_hf.evaluation.evaluators import best_of_n_report, format_table
from mmprm_hf.files import write_json
from mmprm_hf.nano.world import NanoProblem, problems
from mmprm_hf.stages.demo_stage import AGGREGATION, load_models, solve_nano


def facts_key(problem: NanoProblem) -> tuple:
    """Family, question and every true value."""
    return problem.family, problem.question, tuple(sorted(problem.facts.items()))


def main() -> None:
    train, test = {facts_key(problem) for problem in problems("train", 10_000)}, problems("test", 500)
    has_twin = [facts_key(problem) in train for problem in test]
    solved = solve_nano(test, load_models(), 16, progress=False)
    without = [row for row, twin in zip(solved.rows, has_twin, strict=True) if not twin]
    report = best_of_n_report(without, aggregation=AGGREGATION)
    print(f"{sum(has_twin)} of {len(test)} test problems have a twin; without them:\n\n{format_table(report)}")
    write_json(Path(__file__).parent / "results" / "without_twins.json", {"num_twins": sum(has_twin), **report})


if __name__ == "__main__":
    main()
