"""Options of `PRMTrainer` beyond those of transformers' `TrainingArguments`; each option's text stands here once."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from transformers import TrainingArguments

from .losses import LOSS_TYPES
from .targets import TargetConfig


def _option(default: Any, text: str) -> Any:
    return dataclasses.field(default=default, metadata={"help": text})


@dataclasses.dataclass
class PRMConfig(TrainingArguments):
    """Arguments of `PRMTrainer`: those of `TrainingArguments` and the fields below.

    Options of TRL's removed trainer are taken too: `step_separator` and `train_on_last_step_only` mean what they meant
    there; `max_prompt_length` and `max_completion_length` cut rows there, and here bound them.

    Raises:
        ValueError: if an option has an unknown value or options contradict each other.

    Example:
        >>> PRMConfig(output_dir="out/prm", label_mapping="hard", report_to="none").label_mapping
        'hard'
    """

    # Rows
    max_length: int | None = _option(
        2048, "Most tokens of a row (prompt, image tokens, steps, markers); rows are never cut. None: no limit."
    )
    max_prompt_length: int | None = _option(None, "Most tokens of a prompt, images included; rows are never cut.")
    max_completion_length: int | None = _option(None, "Most tokens of all steps of a row; rows are never cut.")
    on_bad_row: Literal["raise", "drop"] = _option(
        "raise", "A row that cannot be trained on (over-long, bad labels, ...): raise, or drop and count."
    )
    packing: bool | None = _option(
        None,
        "Train on packed rows: the solutions of one problem as a tree, shared tokens once. None: where rows name their "
        "problem (problem_id or tree_id) and the backbone can.",
    )
    max_packed_length: int = _option(8192, "Most tokens of a packed row; a problem that needs more gets several rows.")

    # Targets and loss
    label_mapping: Literal["soft", "hard", "banded", "counts"] = _option(
        "soft",
        "soft: the target is the label or k / n; hard: 1 if that is greater than hard_threshold, else 0; banded: 0 up "
        "to band_low, 1 from band_high, ignored between; counts: k / n weighed by n, the binomial likelihood.",
    )
    hard_threshold: float = _option(0.0, "Of label_mapping=hard, in [0, 1). 0: any right rollout makes a step right.")
    band_low: float = _option(0.25, "Of label_mapping=banded: labels up to it are wrong, in [0, band_high).")
    band_high: float = _option(0.75, "Of label_mapping=banded: labels from it on are right, in (band_low, 1].")
    use_label_weights: bool = _option(True, "Multiply each step's loss by its label_weights, where rows have them.")
    train_on: Literal["all", "first_error", "last"] = _option(
        "all", "all labelled steps; those up to the first_error; or the last step (an outcome reward model)."
    )
    train_on_last_step_only: bool = _option(False, "TRL's name for train_on=last.")
    loss_type: Literal["cross_entropy", "binary"] = _option(
        "cross_entropy", "cross_entropy: two-way, with soft targets; binary: on the log-odds, with positive_weight."
    )
    positive_weight: float = _option(1.0, "Of loss_type=binary: weight of the positive part.")
    pairwise_weight: float = _option(
        0.0, "Weight of a ranking term between the sibling steps of one tree; above 0 needs packed rows."
    )

    # Model
    freeze_vision: bool = _option(
        True, "Freeze the vision tower and keep it in eval mode; projector and decoder train."
    )
    disable_dropout: bool = _option(True, "Set every dropout of the model to 0.")
    model_dtype: str | None = _option(
        None,
        "Dtype that a path's weights are loaded in, auto for their own. None: float32, or their own under an adapter.",
    )
    marker_token: str = _option("<prm>", "Step marker, when the PRM is built from a policy.")
    positive_token: str = _option("Yes", "Token of a right step, when the PRM is built from a policy.")
    negative_token: str = _option("No", "Token of a wrong step, when the PRM is built from a policy.")
    step_separator: str = _option("", "Text between a marker and the next step, when the PRM is built from a policy.")
    remove_unused_columns: bool = _option(False, "Must stay False: the collator reads raw columns.")
    dataset_num_proc: int | None = _option(None, "Of TRL; rows are checked in this process.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.data_seed is None:
            self.data_seed = self.seed  # else the order of rows would hang on whoever last seeded torch
        if self.train_on_last_step_only:
            self.train_on = "last"
        self.target_config  # noqa: B018 (checks its options)
        rules = {
            "on_bad_row": (self.on_bad_row in ("raise", "drop"), "raise or drop"),
            "loss_type": (self.loss_type in LOSS_TYPES, f"one of {', '.join(LOSS_TYPES)}"),
            "positive_weight": (self.positive_weight > 0, "above 0"),
            "pairwise_weight": (self.pairwise_weight >= 0, "at least 0"),
            "max_packed_length": (self.max_packed_length >= 1, "at least 1"),
        }
        for name, (holds, rule) in rules.items():
            if not holds:
                raise ValueError(f"Found {name}={getattr(self, name)!r} in PRMConfig; it must be {rule}.")
        if self.positive_weight != 1 and self.loss_type != "binary":
            raise ValueError(
                f"Found positive_weight={self.positive_weight} with loss_type={self.loss_type!r}, which has none. Set "
                'loss_type="binary".'
            )
        if self.pairwise_weight and self.packing is False:
            raise ValueError("pairwise_weight compares sibling steps, which share a packed row only. Leave packing on.")
        if self.label_smoothing_factor:
            raise ValueError("label_smoothing_factor is not for step labels; use soft labels, or label_mapping=banded.")
        if self.train_sampling_strategy == "batch_rebalance":
            raise ValueError('train_sampling_strategy="batch_rebalance" is not known here; use group_by_length.')
        if self.remove_unused_columns:
            raise ValueError("remove_unused_columns=True would drop `completions` and `images`; leave it False.")

    @property
    def target_config(self) -> TargetConfig:
        """How labels become targets."""
        return TargetConfig(
            label_mapping=self.label_mapping,
            hard_threshold=self.hard_threshold,
            band=(self.band_low, self.band_high),
            use_label_weights=self.use_label_weights,
            train_on=self.train_on,
        )


__all__ = ["PRMConfig"]
