"""Options of `PRMTrainer` beyond those of transformers' `TrainingArguments`; the only place that explains them."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from transformers import TrainingArguments

from ..errors import check_values
from .rows import RowLimits
from .targets import TargetConfig


def _option(default: Any, text: str) -> Any:
    return dataclasses.field(default=default, metadata={"help": text})


@dataclasses.dataclass
class PRMConfig(TrainingArguments):
    """Arguments of `PRMTrainer`: those of `TrainingArguments` and the fields below.

    No row is ever cut: one over a limit is a bad row. Options of TRL's removed trainer are accepted: `step_separator`
    and `train_on_last_step_only` have the same meaning; `max_prompt_length` and `max_completion_length`, which cut rows
    in TRL, are limits here.

    Raises:
        ValueError: if an option has an unknown value or two options contradict each other.

    Example:
        >>> PRMConfig(output_dir="out/prm", label_mapping="hard", report_to="none").label_mapping
        'hard'
    """

    # Rows
    max_length: int | None = _option(2048, "Most tokens of a row: prompt, images, steps, markers. None: no limit.")
    max_prompt_length: int | None = _option(None, "Most tokens of a prompt, images included. None: no limit.")
    max_completion_length: int | None = _option(None, "Most tokens of all steps of a row. None: no limit.")
    on_bad_row: Literal["raise", "drop"] = _option(
        "raise", "A row that cannot be trained on (over-long, bad labels, ...) raises, or is dropped and counted."
    )
    packing: bool | None = _option(
        None,
        "Train on packed rows: the solutions of one problem form a tree that holds shared tokens once. None: pack if "
        "rows name their problem (problem_id or tree_id) and the backbone can.",
    )
    max_packed_length: int = _option(8192, "Most tokens of a packed row. A problem that needs more gets several rows.")

    # Targets and loss
    label_mapping: Literal["soft", "hard", "banded", "counts"] = _option(
        "soft",
        "Target of a label. soft: the label, or k / n; hard: 1 if that is greater than hard_threshold, else 0; banded: "
        "0 up to band_low, 1 from band_high on, ignored between; counts: k / n weighted by n, the binomial likelihood.",
    )
    hard_threshold: float = _option(0.0, "With label_mapping=hard: labels above it are right, in [0, 1).")
    band_low: float = _option(0.25, "With label_mapping=banded: labels up to it are wrong, in [0, band_high).")
    band_high: float = _option(0.75, "With label_mapping=banded: labels from it on are right, in (band_low, 1].")
    use_label_weights: bool = _option(True, "Multiply the loss of each step by its label_weights, if rows have them.")
    train_on: Literal["all", "first_error", "last"] = _option(
        "all", "Steps to train on: all labelled ones, those up to the first_error, or the last one (outcome rewards)."
    )
    train_on_last_step_only: bool = _option(False, "TRL's name for train_on=last.")
    positive_weight: float = _option(1.0, "Weight of right steps in the loss; below 1 where they outnumber wrong ones.")
    pairwise_weight: float = _option(0.0, "Weight of a ranking loss of sibling steps in a tree; needs packed rows.")

    # Model
    freeze_vision: bool = _option(True, "Freeze the vision tower, in eval mode; projector and decoder are trained.")
    disable_dropout: bool = _option(True, "Set every dropout of the model to 0.")
    model_dtype: str | None = _option(None, "Dtype of loaded weights, or auto. None: float32; with an adapter auto.")
    marker_token: str = _option("<prm>", "Step marker of a PRM that is built from a policy.")
    positive_token: str = _option("Yes", "Token of a right step for a PRM that is built from a policy.")
    negative_token: str = _option("No", "Token of a wrong step for a PRM that is built from a policy.")
    step_separator: str = _option("", "Text between a marker and the next step for a PRM that is built from a policy.")
    remove_unused_columns: bool = _option(False, "Must stay False: the collator reads raw columns.")
    dataset_num_proc: int | None = _option(None, "Accepted for TRL's scripts, unused: one process checks the rows.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.data_seed is None:
            self.data_seed = self.seed  # otherwise the order of rows depends on whoever last seeded torch
        if self.train_on_last_step_only:
            self.train_on = "last"
        if self.device.type == "cpu":
            self.dataloader_pin_memory = False  # there is nothing to copy to, and torch would warn of it
        self.target_config  # noqa: B018 (checks its options)
        check_values(
            self,
            on_bad_row=(self.on_bad_row in ("raise", "drop"), "raise or drop"),
            positive_weight=(0 < self.positive_weight < float("inf"), "finite and above 0"),
            pairwise_weight=(self.pairwise_weight >= 0, "at least 0"),
            packing=(self.packing is not False or not self.pairwise_weight, "None or True with pairwise_weight"),
            max_packed_length=(self.max_packed_length >= 1, "at least 1"),
            label_smoothing_factor=(not self.label_smoothing_factor, "0; use soft labels, or label_mapping=banded"),
            train_sampling_strategy=(self.train_sampling_strategy != "batch_rebalance", "random or group_by_length"),
            remove_unused_columns=(not self.remove_unused_columns, "False; True drops `completions` and `images`"),
        )

    @property
    def target_config(self) -> TargetConfig:
        """How labels become targets."""
        return TargetConfig(**{field.name: getattr(self, field.name) for field in dataclasses.fields(TargetConfig)})

    @property
    def row_limits(self) -> RowLimits:
        """The most tokens of a row."""
        return RowLimits(self.max_length, self.max_prompt_length, self.max_completion_length)
