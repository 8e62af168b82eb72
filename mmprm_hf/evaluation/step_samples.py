"""Samples of step-level benchmarks: VisualProcessBench, ProcessBench and PRMBench as one type, from files or the Hub.

No row is left out or repaired in silence: each fault of a row is counted by its reason. A row whose reasons are all in
`KEPT_REASONS` is still a sample; any other reason leaves it out. The reference answer is in `meta`, which no PRM sees.
Imports levels 0 and 1 only.
"""

from __future__ import annotations

import dataclasses
import logging
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import huggingface_hub

from ..data import Problem
from ..models import figure_size, split_question
from ..rows import HUB_PREFIX, FigureRules, RawRows, cell, is_data_file, row_images, text_cell
from .composites import name_composite_parts

logger = logging.getLogger(__name__)

Counts = dict[str, Any]
"""``num_rows``, ``num_kept`` and ``problems``: rows per reason; a row may have several."""

KEPT_REASONS = {
    "empty_step",  # a step is blank; a PRM that cannot score it leaves the sample unscored
    "error_step_out_of_range",  # some listed errors are no step of the solution; those are ignored, the others count
    "repeated_error_step",
    "unsorted_error_steps",
    "zero_error_step",  # an error is step 0, though steps count from 1: does the whole file count from 0?
}
"""Faults of a row that is a sample all the same."""

PROCESS_BENCH_SUBSETS = ("gsm8k", "math", "olympiadbench", "omnimath")
CATEGORIES_WITHOUT_ERRORS = ("multi_solutions", "correct")


@dataclasses.dataclass(frozen=True)
class StepSample:
    """One solution with the truth of its steps.

    Args:
        id: Unique within the benchmark.
        category: Source, subset or kind of error: what figures are reported by.
        question: The text shown to a PRM.
        images: Figures in reading order, undecoded.
        steps: The solution.
        labels: Per step 1 (right), 0 (wrong) or None (neutral or unknown; left out of every figure).
        first_error: 0-based index of the first wrong step, -1 for none; None where it is unknown.
        meta: Everything else, the reference answer included.
    """

    id: str
    category: str
    question: str
    images: tuple[Any, ...]
    steps: tuple[str, ...]
    labels: tuple[int | None, ...]
    first_error: int | None = None
    meta: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.steps) != len(self.labels) or not set(self.labels) <= {0, 1, None}:
            raise ValueError(
                f"Sample {self.id!r} has {len(self.steps)} steps and the labels {self.labels!r:.200}. "
                "Give one label per step: 1, 0 or None."
            )

    def to_problem(self) -> Problem:
        """What a PRM is shown: question and figures, without answer and meta."""
        return Problem(id=self.id, question=self.question, images=self.images)


Parsed = tuple[StepSample | None, list[str]]  # and the reasons


def load_visual_process_bench(
    data: str | os.PathLike[str],
    rules: FigureRules = FigureRules(),  # noqa: B008 (frozen)
    columns: Mapping[str, str] | None = None,
) -> tuple[list[StepSample], Counts]:
    """Return the samples of VisualProcessBench (arXiv 2503.10291), and the counts of its rows.

    Its labels -1 (wrong), 0 (neutral), 1 (right) become 0, None, 1.

    Args:
        data: A file of rows or a folder with ``test.jsonl``, figures beside it in folders or zip archives; a hub id
            such as ``OpenGVLab/VisualProcessBench`` (half a gigabyte, fetched once, perhaps with ``@revision`` behind
            it); or a dataset that holds the figures, whose split "test" is read.
        rules: Which figures besides those in the data's folder may be read and fetched.
        columns: Our names of columns to those of the data, where they differ.
    """
    name = str(data).removeprefix(HUB_PREFIX)
    if not is_data_file(data):
        is_on_hub = str(data) != name or not Path(name).is_dir()
        folder = _fetched(name) if is_on_hub else Path(name)
        data = next((path for path in sorted(folder.glob("test.*")) if is_data_file(path)), data)
    rows = RawRows(data, "test", rules=rules, columns=columns)
    return _load(_with_columns(rows, ("question",), ("response",)), _visual_process_bench_row)


def _fetched(name: str) -> Path:
    """The rows and archives of a repository; nothing else of it is fetched."""
    repo_id, _, revision = name.partition("@")
    options = {"revision": revision or None, "allow_patterns": ["*.jsonl", "*.zip"]}
    return Path(huggingface_hub.snapshot_download(repo_id, repo_type="dataset", **options))


def load_process_bench(
    data: str | os.PathLike[str], columns: Mapping[str, str] | None = None
) -> tuple[list[StepSample], Counts]:
    """Return the samples of ProcessBench (arXiv 2412.06559), and the counts of its rows.

    Steps behind the first error have no label.

    Args:
        data: A file of rows (the subset is its column ``subset``, else what stands before the number in ``id``), or
            a dataset such as ``Qwen/ProcessBench``, whose splits are the subsets.
        columns: Our names of columns to those of the data, where they differ.
    """
    needed = ("problem",), ("steps",), ("label",)
    if is_data_file(data):
        return _load(_with_columns(RawRows(data, columns=columns), *needed), _process_bench_row)
    subsets = {split: RawRows(data, split, columns=columns) for split in PROCESS_BENCH_SUBSETS}
    rows = [{"subset": split, **row} for split, rows in subsets.items() for row in _with_columns(rows, *needed)]
    return _load(rows, _process_bench_row)


def load_prm_bench(
    data: str | os.PathLike[str], columns: Mapping[str, str] | None = None
) -> tuple[list[StepSample], Counts]:
    """Return the samples of PRMBench (arXiv 2501.03124), and the counts of its rows.

    A step that ``error_steps`` (1-based) does not list is right. The official columns (``modified_question``,
    ``modified_process``, ``classification``) and the short ones (``question``, ``steps``, ``category``) are read. As in
    the official evaluation, an error outside the solution is ignored, and of rows with the same category and ``idx``
    the first counts. Unlike there, a row none of whose errors is inside, or that lists none where one belongs, is left
    out: it would call a wrong solution right.

    Args:
        data: A ``.jsonl`` file, a dataset's folder or a hub id, of which the split "train" is read.
        columns: Our names of columns to those of the data, where they differ.
    """
    keys: set[tuple[Any, Any]] = set()

    def parse(index: int, row: Mapping[str, Any]) -> Parsed:
        sample, reasons = _prm_bench_row(index, row)
        key = (text_cell(row, "classification", "category"), text_cell(row, "idx"))
        if sample is None or key[1] is None:
            return sample, reasons
        if key in keys:
            return None, [*reasons, "repeated_sample"]
        keys.add(key)
        return sample, reasons

    needed = ("question", "modified_question"), ("steps", "modified_process"), ("error_steps",)
    samples, counts = _load(_with_columns(RawRows(data, "train", columns=columns), *needed), parse)
    if num_zeros := counts["problems"].get("zero_error_step"):
        logger.warning(
            "%d rows of %s list step 0 as an error. PRMBench counts steps from 1; if the file counts from 0, every "
            "label is read one step early: add 1 to its error_steps.",
            num_zeros,
            data,
        )
    return samples, counts


def _with_columns(rows: RawRows, *needed: tuple[str, ...]) -> RawRows:
    """The rows themselves, if they have one of the columns of each tuple."""
    for names in needed:
        rows.need(*names)
    return rows


def _load(
    rows: Sequence[Mapping[str, Any]], parse: Callable[[int, Mapping[str, Any]], Parsed]
) -> tuple[list[StepSample], Counts]:
    """All rows through `parse`, faults counted."""
    parsed = [_parsed(rows, index, parse) for index in range(len(rows))]
    samples = [sample for sample, _ in parsed if sample is not None]
    problems = Counter(reason for _, reasons in parsed for reason in set(reasons))
    return samples, {"num_rows": len(rows), "num_kept": len(samples), "problems": dict(sorted(problems.items()))}


def _parsed(rows: Sequence[Mapping[str, Any]], index: int, parse: Callable[[int, Mapping[str, Any]], Parsed]) -> Parsed:
    """One row through `parse`; whatever else is wrong with it costs only the row."""
    try:
        sample, reasons = parse(index, rows[index])
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        logger.warning("Row %d is left out: %s", index, error)
        return None, ["unreadable_row"]
    if sample is None:
        return None, reasons
    try:
        split_question(sample.question, len(sample.images))
    except ValueError as error:
        logger.warning("Row %d is left out: %s", index, error)
        return None, [*reasons, "placeholder_count_differs"]
    return sample, reasons


def _visual_process_bench_row(index: int, row: Mapping[str, Any]) -> Parsed:
    response = row.get("response") if isinstance(row.get("response"), Mapping) else {}
    question, steps, reasons = _texts(row.get("question"), response.get("steps"))
    images = tuple(row_images(row))
    reasons += [] if images else ["no_image"]
    reasons += [reason for image in images if (reason := _image_fault(image))]
    labels = _visual_process_bench_labels(response.get("process_correctness"), len(steps), reasons)
    if not KEPT_REASONS.issuperset(reasons):
        return None, reasons
    return StepSample(
        id=text_cell(row, "id") or f"visualprocessbench-{index}",
        category=text_cell(row, "data_source") or "None",
        question=name_composite_parts(question, len(images)),
        images=images,
        steps=steps,
        labels=labels,
        first_error=labels.index(0) if 0 in labels else -1,
        meta={name: row[name] for name in ("policy_model", "data_source", "answer") if name in row},
    ), reasons


def _visual_process_bench_labels(values: Any, num_steps: int, reasons: list[str]) -> tuple[int | None, ...]:
    """Labels as a sample has them; their faults are added to `reasons`."""
    if not isinstance(values, (list, tuple)) or any(type(value) is not int or abs(value) > 1 for value in values):
        reasons.append("unknown_label")
        return ()
    if len(values) != num_steps and "no_steps" not in reasons:
        reasons.append("label_count_differs")
    return tuple({1: 1, 0: None, -1: 0}[value] for value in values)


def _process_bench_row(index: int, row: Mapping[str, Any]) -> Parsed:
    question, steps, reasons = _texts(row.get("problem"), row.get("steps"))
    first = row.get("label")
    if type(first) is not int:
        reasons.append("unknown_label")
    elif "no_steps" not in reasons and not -1 <= first < len(steps):
        reasons.append("label_out_of_range")
    if not KEPT_REASONS.issuperset(reasons):
        return None, reasons
    sample_id = text_cell(row, "id") or f"processbench-{index}"
    num_right = len(steps) if first == -1 else first
    labels = [1] * num_right + [0] * (first >= 0) + [None] * (len(steps) - num_right - 1)
    return StepSample(
        id=sample_id,
        category=text_cell(row, "subset") or sample_id.rpartition("-")[0],
        question=question,
        images=(),
        steps=steps,
        labels=tuple(labels),
        first_error=first,
        meta={name: row[name] for name in ("generator", "final_answer_correct") if name in row},
    ), reasons


def _prm_bench_row(index: int, row: Mapping[str, Any]) -> Parsed:
    category = text_cell(row, "classification", "category") or "None"
    question, steps, reasons = _texts(
        cell(row, "modified_question", "question"), cell(row, "modified_process", "steps")
    )
    errors = row.get("error_steps")
    if not isinstance(errors, (list, tuple)) or any(type(error) is not int for error in errors):
        return None, [*reasons, "unknown_label"]
    wrong = {error - 1 for error in errors if 1 <= error <= len(steps)}
    if not errors and category not in CATEGORIES_WITHOUT_ERRORS:
        reasons.append("no_error_steps")
    if any(not 1 <= error <= len(steps) for error in errors) and "no_steps" not in reasons:
        reasons += ["error_step_out_of_range", *([] if wrong else ["no_error_step_in_range"])]
    reasons += ["zero_error_step"] if 0 in errors else []
    reasons += ["repeated_error_step"] if len(set(errors)) < len(errors) else []
    reasons += ["unsorted_error_steps"] if list(errors) != sorted(errors) else []
    if not KEPT_REASONS.issuperset(reasons):
        return None, reasons
    return StepSample(
        id=text_cell(row, "id") or f"{category}_{row.get('idx', index)}",
        category=category,
        question=question,
        images=(),
        steps=steps,
        labels=tuple(int(step not in wrong) for step in range(len(steps))),
        first_error=min(wrong, default=-1),
        meta={name: row[name] for name in ("idx", "error_steps", "reason", "ground_truth") if name in row},
    ), reasons


def _texts(question: Any, steps: Any) -> tuple[str, tuple[str, ...], list[str]]:
    """Question and steps, and their faults."""
    reasons = [] if isinstance(question, str) and question.strip() else ["no_question"]
    if not isinstance(steps, (list, tuple)) or not steps or not all(isinstance(step, str) for step in steps):
        return question, (), [*reasons, "no_steps"]
    return question, tuple(steps), reasons + ["empty_step"] * any(not step.strip() for step in steps)


def _image_fault(image: Any) -> str | None:
    """The reason why a figure cannot be shown, or None; its pixels are decoded."""
    try:
        figure_size(image)
    except ValueError as error:
        return "missing_image" if "does not exist" in str(error) else "unreadable_image"
    return None
