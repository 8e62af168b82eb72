"""Training target and weight of each step, from the labels of a row. The data keep counts; each training maps them.

Invariant: a target is in [0, 1] or -100, and an ignored step has weight 0, so that the sum of all weights is the
divisor of a weighted mean loss. Imports no torch.
"""

from __future__ import annotations

import dataclasses
import math
import struct
from collections.abc import Mapping
from typing import Any, Literal, get_args

from ..errors import UnknownNameError
from ..rows import is_absent

IGNORE_LABEL = -100.0  # as in models/modeling_mm_prm.py, which imports torch; a test compares the two

LabelMapping = Literal["soft", "hard", "banded", "counts"]
TrainOn = Literal["all", "first_error", "last"]


class BadRowError(ValueError):
    """A row that cannot be trained on; `reason` is the short name under which it is counted."""

    def __init__(self, reason: str, message: str):
        super().__init__(message)
        self.reason = reason


@dataclasses.dataclass(frozen=True)
class StepTargets:
    """Targets of the steps of one row, in [0, 1] or -100 (ignored), and weights, finite and >= 0; 0 where ignored."""

    targets: list[float]
    weights: list[float]


@dataclasses.dataclass(frozen=True)
class TargetConfig:
    """How labels become targets: the options of these names in `PRMConfig`, which explains them.

    A label is k / n of `label_counts`, or else the entry of `labels`. `hard_threshold` is also the highest label of a
    wrong step, except under "banded". Human labels give the steps after an error no agreed meaning: see `train_on`.

    Raises:
        ValueError: if an option has an unknown value or is out of range.

    Example:
        >>> TargetConfig(label_mapping="banded", band_low=0.1).band_high
        0.75
    """

    label_mapping: LabelMapping = "soft"
    hard_threshold: float = 0.0
    band_low: float = 0.25
    band_high: float = 0.75
    use_label_weights: bool = True
    train_on: TrainOn = "all"

    def __post_init__(self) -> None:
        for name, choices in (("label_mapping", get_args(LabelMapping)), ("train_on", get_args(TrainOn))):
            if getattr(self, name) not in choices:
                raise UnknownNameError(name, getattr(self, name), choices)
        if not 0.0 <= self.hard_threshold < 1.0:
            raise ValueError(
                f"Found hard_threshold={self.hard_threshold}. It must be in [0, 1): greater labels count as right."
            )
        if not 0.0 <= self.band_low < self.band_high <= 1.0:
            raise ValueError(
                f"Found band_low={self.band_low}, band_high={self.band_high}. Give 0 <= band_low < band_high <= 1."
            )


@dataclasses.dataclass(frozen=True)
class _StepLabel:
    """Label of one step before any mapping: k / n or the label, n if it is known, and where the label comes from."""

    label: float
    num_decided: int | None
    source: str | None


def list_column(row: Mapping[str, Any], name: str) -> Any:
    """Return a column of a row that has one entry per step; None if it is absent.

    Raises:
        BadRowError: if it is not a list ("wrong_type"): a text would be read letter by letter.
    """
    column = row.get(name)
    if is_absent(column):
        return column if isinstance(column, (list, tuple)) else None
    has_entries = hasattr(column, "__len__") and hasattr(column, "__getitem__") and getattr(column, "ndim", 1)
    if isinstance(column, (str, bytes, Mapping)) or not has_entries:
        raise BadRowError(
            "wrong_type",
            f"Found {name}={column!r:.80}, a {type(column).__name__}. {name} is a list, one entry per step.",
        )
    return list(column)


def step_targets(row: Mapping[str, Any], config: TargetConfig) -> StepTargets:
    """Return target and weight of each step of a row; a row may train nothing (all targets -100).

    Where a row has both, `label_counts` replace `labels`, but a label of -100 still ignores its step. Counts of [0, 0]
    are ignored, and so is a step whose source is "judge_dropped" (its counts stay in the data).

    A step whose source is "bound" borrows the counts of another prefix of its path (label rows made with
    ``fill: monotone`` do; with ``fill: own`` nothing is borrowed). Under "counts" a bound with k > 0 is ignored: its k
    and n are not rollouts of this prefix and have no place in the likelihood. A bound with k = 0 keeps (0, n): an
    earlier prefix found no right answer in n rollouts, which makes this label 0. Under "soft", "banded" and a
    `hard_threshold` above 0, a bound with k > 0 is trained on like an estimate, although it tends to be too high.

    Labels and thresholds are compared as float32, as datasets store labels: 0.3 is not greater than 0.3.

    Args:
        row: `labels` (per step a float or int in [0, 1], a bool, or -100) and/or `label_counts` ([num_correct,
            num_decided] per step); optionally `label_sources` (a name per step) and `label_weights` (>= 0 per step).
        config: The mapping.

    Raises:
        BadRowError: if there are no labels ("no_labels"), columns differ in length ("label_count"), a label or count
            is impossible ("label_range"), a label has no counts although "counts" needs them ("no_counts"), or a
            weight is negative or not finite ("label_weight").

    Example:
        >>> row = {"label_counts": [[3, 4], [0, 8], [0, 0]], "label_weights": [0.5, 1.0, 0.0]}
        >>> step_targets(row, TargetConfig())
        StepTargets(targets=[0.75, 0.0, -100.0], weights=[0.5, 1.0, 0.0])
        >>> step_targets(row, TargetConfig("counts"))
        StepTargets(targets=[0.75, 0.0, -100.0], weights=[2.0, 8.0, 0.0])
        >>> step_targets({"labels": [True, False, True]}, TargetConfig(train_on="first_error")).targets
        [1.0, 0.0, -100.0]
    """
    steps = _step_labels(row)
    weights = _row_weights(row, len(steps)) if config.use_label_weights else [1.0] * len(steps)
    targets = [_target(step, step_index, config) for step_index, step in enumerate(steps)]
    if config.label_mapping == "counts":  # n of an ignored step is dropped below
        weights = [weight * (step.num_decided or 0) for weight, step in zip(weights, steps, strict=True)]
    if config.train_on == "first_error":
        num_trained = 1 + next((i for i in range(len(steps)) if _is_error(targets[i], config)), len(steps))
        targets = [IGNORE_LABEL if i >= num_trained else target for i, target in enumerate(targets)]
    elif config.train_on == "last":
        targets = [IGNORE_LABEL if i < len(steps) - 1 else target for i, target in enumerate(targets)]
    weights = [0.0 if target == IGNORE_LABEL else w for target, w in zip(targets, weights, strict=True)]
    return StepTargets(targets, weights)


def _step_labels(row: Mapping[str, Any]) -> list[_StepLabel]:
    """The checked label of each step."""
    counts, labels, sources = (list_column(row, name) for name in ("label_counts", "labels", "label_sources"))
    if counts is None and labels is None:
        raise BadRowError("no_labels", "Found neither `labels` nor `label_counts`. Each step needs a label.")
    num_steps = len(labels if counts is None else counts)
    for name, column in (("labels", labels), ("label_sources", sources)):
        if column is not None and len(column) != num_steps:
            other = "labels" if counts is None else "label_counts"
            raise BadRowError(
                "label_count",
                f"Found {num_steps} {other} but {len(column)} {name}. Each step needs one of both; use -100 "
                "(labels) or [0, 0] (label_counts) to ignore a step.",
            )
    steps = []
    for step_index in range(num_steps):
        label, num_decided = None if labels is None else labels[step_index], None
        source = None if sources is None else sources[step_index]
        number = _number(label)
        if counts is not None and number != IGNORE_LABEL:
            num_correct, num_decided = _checked_counts(counts[step_index], step_index)
            number = num_correct / num_decided if num_decided else IGNORE_LABEL
        if number != IGNORE_LABEL and not 0.0 <= number <= 1.0:  # NaN is neither
            raise BadRowError(
                "label_range",
                f"Found label {label!r} at step_index {step_index}. A label is in [0, 1]; use -100 to ignore the step.",
            )
        steps.append(_StepLabel(IGNORE_LABEL if source == "judge_dropped" else number, num_decided, source))
    return steps


def _number(raw: Any) -> float:
    """A label or weight as a float; NaN if it is not a number. Digits in a text are not a number either."""
    try:
        return math.nan if isinstance(raw, str) else float(raw)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def _checked_counts(counts: Any, step_index: int) -> tuple[int, int]:
    """(num_correct, num_decided) of one step."""
    try:
        num_correct, num_decided = map(_number, counts)
    except (TypeError, ValueError):  # not a pair
        num_correct = num_decided = math.nan
    is_whole = num_correct.is_integer() and num_decided.is_integer()  # neither NaN nor infinity is
    if not is_whole or not 0 <= num_correct <= num_decided:
        raise BadRowError(
            "label_range",
            f"Found label count {counts!r} at step_index {step_index}. A count is [num_correct, num_decided], whole "
            "numbers with 0 <= num_correct <= num_decided; use [0, 0] to ignore the step.",
        )
    return int(num_correct), int(num_decided)


def _row_weights(row: Mapping[str, Any], num_steps: int) -> list[float]:
    """The weights of a row, 1 for each step if it has none."""
    column = list_column(row, "label_weights")
    if column is None:
        return [1.0] * num_steps
    if len(column) != num_steps:
        raise BadRowError(
            "label_weight",
            f"Found {len(column)} label_weights but labels of {num_steps} steps. Each step needs one weight; leave "
            "the column out, or set use_label_weights=False, to weigh all steps alike.",
        )
    weights = [_number(weight) for weight in column]
    for step_index, weight in enumerate(weights):
        if not 0.0 <= weight < math.inf:
            raise BadRowError(
                "label_weight",
                f"Found label weight {column[step_index]!r} at step_index {step_index}. A weight is finite and >= 0; "
                "use 0 to ignore the step, or set use_label_weights=False.",
            )
    return weights


def _target(step: _StepLabel, step_index: int, config: TargetConfig) -> float:
    """The target that the mapping gives one step."""
    label = step.label
    # Differs from MM-PRM: "soft" also trains on borrowed labels inside segments, where rows have fill="monotone".
    if label == IGNORE_LABEL or config.label_mapping == "soft":
        return label
    if config.label_mapping == "hard":
        return float(_as_float32(label) > _as_float32(config.hard_threshold))
    if config.label_mapping == "banded":
        if _as_float32(label) <= _as_float32(config.band_low):
            return 0.0
        return 1.0 if _as_float32(label) >= _as_float32(config.band_high) else IGNORE_LABEL
    if step.num_decided is None:
        raise BadRowError(
            "no_counts",
            f"Found label {label!r} without label_counts at step_index {step_index}. label_mapping=counts weighs a "
            "label by its number of rollouts; add the column label_counts, or choose soft, hard or banded.",
        )
    return IGNORE_LABEL if step.source == "bound" and label > 0 else label


def _is_error(target: float, config: TargetConfig) -> bool:
    """Whether a step is known to be wrong; of an ignored step nothing is known."""
    if target == IGNORE_LABEL:
        return False
    if config.label_mapping in ("hard", "banded"):
        return target == 0.0
    return _as_float32(target) <= _as_float32(config.hard_threshold)


def _as_float32(number: float) -> float:
    return struct.unpack("f", struct.pack("f", number))[0]
