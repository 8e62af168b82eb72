"""The label rows of a training: opened from a folder, file or the Hub, divided into two splits."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..data import content_hash
from ..rows import FigureRules, RawRows

notes = logging.getLogger("mmprm_hf.notes")  # what `mmprm` prints beside its results


def train_and_eval_rows(
    data: str | Path,
    eval_share: float,
    rules: FigureRules = FigureRules(),  # noqa: B008 (frozen)
    columns: Mapping[str, str] | None = None,
) -> tuple[RawRows, RawRows]:
    """Return the train and validation rows, or the train rows divided by a hash of problem id or prompt.

    Args:
        data: Folder of label rows, such as ``labels/paths``; a file that `RawRows` reads; or a hub id.
        eval_share: Share of problems whose rows are kept for evaluation, where there is no validation split.
        rules: Which figures besides those in the data's folder may be read and fetched.
        columns: Our names of columns to those of the data, where they differ.

    Raises:
        ValueError: if the data are not label rows.
        OSError: if there are no such data.
    """
    splits = RawRows.splits(data, rules, columns)
    if "train" not in splits:
        raise ValueError(f"{data} has the splits {', '.join(splits)} and no train split. Name one of its files.")
    for rows in splits.values():
        _check_columns(rows)
    rows = splits["train"]
    if "validation" in splits:
        notes.info(
            "%d rows to train on, %d of the validation split to evaluate on.", len(rows), len(splits["validation"])
        )
        return rows, splits["validation"]
    names = rows.column("problem_id" if "problem_id" in rows.columns else "prompt")
    is_eval = [_is_evaluated(name, eval_share) for name in names]
    if any(is_eval):
        words = f"the {sum(is_eval)} rows of {100 * eval_share:g} % of the problems, chosen by hash, are held out for "
        words += "evaluation"
    else:
        words = "none are held out for evaluation"
        words += f": the hash chose none of these problems for the share of {100 * eval_share:g} %" * (eval_share > 0)
    notes.info("%d rows to train on; %s.", len(is_eval) - sum(is_eval), words)
    return tuple(rows.select([i for i, is_held in enumerate(is_eval) if is_held == held]) for held in (False, True))


def _is_evaluated(name: Any, eval_share: float) -> bool:
    """Whether the rows of a problem are kept for evaluation; a name that is not one stays with the bad train rows."""
    is_turn = isinstance(name, list) and not any(isinstance(entry, str) for entry in name)
    if not isinstance(name, (str, int)) and not is_turn:
        return False
    try:
        return int(content_hash(name, length=8), 16) % 1000 < 1000 * eval_share
    except UnicodeEncodeError:
        return False


def _check_columns(rows: RawRows) -> None:
    try:
        for names in (("prompt",), ("completions",), ("labels", "label_counts")):
            rows.need(*names)
    except ValueError as error:
        raise ValueError(f"{error} `mmprm label` writes label rows, into the folder paths of its output.") from error
