"""Options of `PRMTrainer` beyond those of transformers' `TrainingArguments`; each option's text stands here once."""

from __future__ import annotations

import dataclasses
from typing import Literal

from transformers import TrainingArguments


@dataclasses.dataclass
class PRMConfig(TrainingArguments):
    """Arguments of `PRMTrainer`: those of `TrainingArguments` and the fields below.

    Raises:
        ValueError: if an option has an unknown value.

    Example:
        >>> PRMConfig(output_dir="out/prm", label_mapping="hard", report_to="none").label_mapping
        'hard'
    """

    max_length: int | None = dataclasses.field(
        default=2048,
        metadata={
            "help": "Most tokens of a row (prompt, image tokens, steps, markers); rows are never cut. None: no limit."
        },
    )
    on_bad_row: Literal["raise", "drop"] = dataclasses.field(
        default="raise",
        metadata={"help": "A row that cannot be trained on (over-long, bad labels, ...): raise, or drop and count."},
    )
    label_mapping: Literal["soft", "hard"] = dataclasses.field(
        default="soft",
        metadata={
            "help": "soft: the target is the label or k / n; hard: 1 if that is greater than hard_threshold, else 0."
        },
    )
    hard_threshold: float = dataclasses.field(
        default=0.0,
        metadata={"help": "Threshold of label_mapping=hard, in [0, 1). 0: any right rollout makes a step right."},
    )
    freeze_vision: bool = dataclasses.field(
        default=True,
        metadata={"help": "Freeze the vision tower and keep it in eval mode; projector and decoder train."},
    )
    marker_token: str = dataclasses.field(
        default="<prm>", metadata={"help": "Step marker, when the PRM is built from a policy."}
    )
    positive_token: str = dataclasses.field(
        default="Yes", metadata={"help": "Token of a right step, when the PRM is built from a policy."}
    )
    negative_token: str = dataclasses.field(
        default="No", metadata={"help": "Token of a wrong step, when the PRM is built from a policy."}
    )
    remove_unused_columns: bool = dataclasses.field(
        default=False, metadata={"help": "Must stay False: the collator reads raw columns."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, allowed in (("on_bad_row", ("raise", "drop")), ("label_mapping", ("soft", "hard"))):
            if getattr(self, name) not in allowed:
                raise ValueError(f"Found {name}={getattr(self, name)!r}, expected one of {allowed}.")
        if not 0.0 <= self.hard_threshold < 1.0:
            raise ValueError(f"Found hard_threshold={self.hard_threshold}, expected a value in [0, 1).")
        if self.remove_unused_columns:
            raise ValueError("remove_unused_columns=True would drop `completions` and `images`; leave it False.")


__all__ = ["PRMConfig"]
