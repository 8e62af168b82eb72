"""The rows of a training: checked, counted, and packed by problem where that is possible."""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from typing import Any

from ..models import MMPRMModel, MMPRMProcessor
from ..scoring import packed_obstacle
from .prm_config import PRMConfig
from .rows import CheckedRows, TokenCounter, check_rows
from .tree_groups import GroupedRows, group_rows

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class TrainingData:
    """What is trained and evaluated on.

    Args:
        train: Rows, or `GroupedRows` where they are packed; None without train rows.
        evaluation: Rows, a dict of them by name, or None; never packed.
        lengths: Tokens of each item of `train`.
        num_tokens: Tokens of an epoch: ``raw``, row by row, and ``trained``, packed where rows are packed.
        num_rows: Usable rows of each split.
        dropped_rows: Number of dropped rows of each split, by reason.
        dataset_name: Hub id or name under which the train rows were loaded; None if they have none.
    """

    train: Any
    evaluation: Any
    lengths: list[int]
    num_tokens: dict[str, int]
    num_rows: dict[str, int]
    dropped_rows: dict[str, Counter[str]]
    dataset_name: str | None

    @property
    def is_packed(self) -> bool:
        """Whether train rows are packed."""
        return isinstance(self.train, GroupedRows)


def prepare_data(
    train_dataset: Any, eval_dataset: Any, model: MMPRMModel, processor: MMPRMProcessor, args: PRMConfig, may_pack: bool
) -> TrainingData:
    """Return the rows to train and evaluate on; arguments are those of `PRMTrainer`.

    Args:
        model: The PRM without adapter.
        may_pack: Whether the collator takes packed rows.

    Raises:
        ValueError: for a bad row (with ``on_bad_row="raise"``), a split without usable rows, or impossible packing.
    """

    def checked(dataset: Any, name: str) -> CheckedRows:
        rules = (args.row_limits, args.target_config, args.on_bad_row)
        return check_rows(dataset, processor, *rules, name=name, quiet=args.disable_tqdm)

    train = None if train_dataset is None else checked(train_dataset, "train")
    items, lengths = (None, []) if train is None else _items(train, model, processor, args, may_pack)
    named = eval_dataset if isinstance(eval_dataset, dict) else {"eval": eval_dataset}
    evals = {name: checked(dataset, name) for name, dataset in named.items() if dataset is not None}
    eval_rows = {name: split.rows for name, split in evals.items()}
    splits = evals if train is None else {"train": train, **evals}
    return TrainingData(
        train=items,
        evaluation=eval_rows if isinstance(eval_dataset, dict) else eval_rows.get("eval"),
        lengths=lengths,
        num_tokens={"raw": 0 if train is None else sum(train.lengths), "trained": sum(lengths)},
        num_rows={name: len(split.rows) for name, split in splits.items()},
        dropped_rows={name: split.dropped for name, split in splits.items()},
        dataset_name=getattr(train_dataset, "hub_id", None)
        or getattr(getattr(train_dataset, "info", None), "dataset_name", None),
    )


def _items(
    train: CheckedRows, model: MMPRMModel, processor: MMPRMProcessor, args: PRMConfig, may_pack: bool
) -> tuple[Any, list[int]]:
    """The train rows, grouped by problem if they can be packed, and the tokens of each item."""
    obstacle = _packing_obstacle(train.rows[0], model, args, may_pack)
    if obstacle:
        if args.packing:
            raise ValueError(f"packing=True is not possible: {obstacle}. Leave packing at None or False.")
        if args.pairwise_weight:
            raise ValueError(f"pairwise_weight compares sibling steps in packed rows, but {obstacle}.")
        logger.info("Rows are not packed: %s.", obstacle)
        return train.rows, train.lengths
    groups = group_rows(train.rows, TokenCounter(processor), args.max_packed_length, quiet=args.disable_tqdm)
    grouped = GroupedRows(train.rows, groups)
    if args.pairwise_weight and grouped.num_split_problems:
        logger.warning(
            "%d problems need more than max_packed_length=%d tokens. Siblings in different rows are not compared.",
            grouped.num_split_problems,
            args.max_packed_length,
        )
    return grouped, [group.num_tokens for group in groups]


def _packing_obstacle(row: dict[str, Any], model: MMPRMModel, args: PRMConfig, may_pack: bool) -> str | None:
    """Why rows are trained on one by one; None if they are packed."""
    if args.packing is False:
        return "packing is off"
    if not may_pack:
        return "a data_collator of your own takes single rows"
    if row.get("problem_id") is None and row.get("tree_id") is None:
        return "rows name no problem (problem_id or tree_id)"
    return packed_obstacle(model)
