"""What columns of data are called: the names that readers look for, and a sentence where the data have others."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence

OUR_COLUMNS = frozenset(
    [
        *("id", "index", "pid", "question_id", "sample_index", "problem_id", "tree_id", "path_id", "split_group"),
        *("question", "text", "problem", "query", "query_cot", "prompt", "context", "modified_question"),
        *("images", "image", "decoded_image", "figures", "figure", "picture"),
        *(f"image_{number}" for number in range(1, 10)),
        *("options", "choices", "options_inline", "answer", "answer_type", "gold_answer", "ground_truth"),
        *("final_answer", "gold", "label", "unit", "precision", "final_answer_correct"),
        *("subject", "grade", "source", "license", "level", "paper", "data_source", "subset", "category"),
        *("classification", "idx", "solution", "steps", "response", "modified_process", "error_steps", "reason"),
        *("policy_model", "generator", "completions", "labels", "label_counts", "label_weights", "first_error"),
    ]
)
"""Every name of a column that some reader looks for."""


def missing_column(
    data: str | os.PathLike[str],
    name: str,
    own: Sequence[str],
    columns: Mapping[str, str] = {},  # noqa: B006 (only read)
) -> ValueError:
    """Return the error about a column of ours that data lack, which names those that there are.

    Args:
        data: Path or hub id.
        name: Our name of the column.
        own: The data's own names of columns.
        columns: Our names -> the data's own names, as they were given.
    """
    for ours, theirs in columns.items():
        if theirs == name:
            return ValueError(
                f"{data} has a column {name}, but the column names {ours}={theirs} make it {ours}. Leave that out; the "
                "form is OURS=THEIRS, such as question=problem."
            )
    return ValueError(
        f"{data} has no column {name}; found {', '.join(own) or 'none'}. Name the one that is meant: --columns "
        f"{name}=NAME."
    )


def without_rows(data: str | os.PathLike[str], own: Sequence[str]) -> ValueError:
    """Return the error about data without rows, which names the columns of a header."""
    columns = f"; its columns are {', '.join(own)}" if own else ""
    return ValueError(f"{data} has no rows{columns}. Give data with rows.")


def check_columns(data: str | os.PathLike[str], columns: Mapping[str, str], own: Sequence[str]) -> None:
    """Raise unless names of ours stand for columns that the data have.

    Args:
        data: Path or hub id.
        columns: Our names -> the data's own names.
        own: The data's own names of columns.

    Raises:
        ValueError: for a name of ours that no reader looks for, or a column that the data lack; it shows the right form
            where the two are the wrong way round.

    Example:
        >>> check_columns("mine.csv", {"problem": "question"}, ["problem", "gold"])
        Traceback (most recent call last):
        ...
        ValueError: mine.csv has no column question; found problem, gold. The form is OURS=THEIRS: question=problem.
    """
    for ours, theirs in columns.items():
        if theirs not in own:
            if not own:
                raise without_rows(data, own)
            raise ValueError(f"{data} has no column {theirs}; found {', '.join(own)}. {_remedy(ours, theirs, own)}")
        if ours not in OUR_COLUMNS:
            raise ValueError(
                f"Found the column names {ours}={theirs}, but nothing reads a column {ours}."
                f"{_close(ours, sorted(OUR_COLUMNS)) or ' Write a name of ours first.'} The form is OURS=THEIRS, such "
                "as question=problem."
            )


def _remedy(ours: str, theirs: str, own: Sequence[str]) -> str:
    if ours in own and theirs in OUR_COLUMNS:
        return f"The form is OURS=THEIRS: {theirs}={ours}."
    return _close(theirs, own).strip() or "Correct the name of the column."


def _close(name: str, known: Sequence[str]) -> str:
    matches = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f" Did you mean {matches[0]}?" if matches else ""
