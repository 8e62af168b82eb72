"""How search trees become label rows: the options, in one dataclass that every function takes."""

from __future__ import annotations

import dataclasses
from typing import Literal

from ..errors import UnknownNameError, check_values

_CHOICES = {
    "keep": ("mixed", "all"),
    "fill": ("monotone", "own"),
    "after_error": ("keep", "drop"),
    "consensus": ("ignore", "drop"),
}


@dataclasses.dataclass(frozen=True)
class LabelRowsConfig:
    """How trees become train and validation rows. By default every row is kept and nothing is held out.

    Args:
        keep: "mixed" takes only trees with 0 < MC(root) < 1, as MM-PRM does; "all" takes every tree.
        fill: What steps without an estimate of their own get: "monotone" bounds from other steps of the path, or
            nothing ("own").
        after_error: "keep" the steps after the first zero node, or "drop" them as MM-PRM does.
        consensus: "drop" the labels on which a step judge and MC disagree, or "ignore" the judge.
        consensus_threshold: In [0, 1); an estimate above it contradicts a judge's INCORRECT.
        max_rows_per_prefix: The most rows in which one labelled prefix may occur. None: no cap.
        max_rows_per_problem: The most rows of one problem. None: no cap.
        bis_share: In (0, 1]; the share of the *train* rows with the best BIS that is kept, after the caps. Validation
            rows stay a fair sample.
        bis_by: A row column, or a key of `Problem.meta` ("source", "subject"): keep that share for each of its values.
            None: over all rows.
        validation_share: In [0, 1); the expected share of problems (by split group) that is held out.
        tree_rollouts: Keep every rollout in the published trees; they are most of their size.
        seed: Seed of the caps, of ties and of the split.

    Raises:
        ValueError: if a value is unknown or out of its range.

    Example:
        >>> LabelRowsConfig(fill="own", validation_share=0.1).fill
        'own'
    """

    keep: Literal["mixed", "all"] = "mixed"
    fill: Literal["monotone", "own"] = "monotone"
    after_error: Literal["keep", "drop"] = "keep"
    consensus: Literal["ignore", "drop"] = "ignore"
    consensus_threshold: float = 0.0
    max_rows_per_prefix: int | None = None
    max_rows_per_problem: int | None = None
    bis_share: float = 1.0
    bis_by: str | None = None
    validation_share: float = 0.0
    tree_rollouts: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        for option, choices in _CHOICES.items():
            if getattr(self, option) not in choices:
                raise UnknownNameError(option, getattr(self, option), choices)
        caps = (self.max_rows_per_prefix, self.max_rows_per_problem)
        check_values(
            self,
            consensus_threshold=(0 <= self.consensus_threshold < 1, "in [0, 1)"),
            max_rows_per_prefix=(caps[0] is None or caps[0] >= 1, "at least 1, or None for no cap"),
            max_rows_per_problem=(caps[1] is None or caps[1] >= 1, "at least 1, or None for no cap"),
            bis_share=(0 < self.bis_share <= 1, "in (0, 1]"),
            validation_share=(0 <= self.validation_share < 1, "in [0, 1)"),
        )
