"""The one way to show a progress bar: tqdm's, in a terminal as in a notebook, and none where the user wants none.

``TQDM_DISABLE=1`` and ``HF_HUB_DISABLE_PROGRESS_BARS=1`` silence every bar. tqdm reads its variable itself, but only
for calls that do not pass `disable`, which ours do. Must not import a room.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from tqdm.auto import tqdm

SILENCING_VARIABLES = ("TQDM_DISABLE", "HF_HUB_DISABLE_PROGRESS_BARS")
_OFF = ("", "0", "false", "no", "off")


def is_silenced() -> bool:
    """Return whether the environment, as it is now, forbids progress bars."""
    return any(os.environ.get(name, "").strip().lower() not in _OFF for name in SILENCING_VARIABLES)


def progress_bar(
    iterable: Iterable[Any] | None = None,
    *,
    desc: str,
    total: int | None = None,
    unit: str = "it",
    is_shown: bool | None = True,
    initial: int = 0,
    delay: float = 0.0,
    is_mean_rate: bool = False,
) -> tqdm:
    """Return a tqdm bar, which is a context manager and, over `iterable`, an iterator.

    Args:
        iterable: What is counted; None for a bar that the caller moves by ``update()``.
        desc: Words before the bar.
        total: Length of what is counted; None takes that of `iterable`, if it has one.
        unit: What is counted, in the singular.
        is_shown: False shows nothing; None shows the bar only in a terminal.
        initial: How many were done before.
        delay: Seconds before the bar is first shown.
        is_mean_rate: Let the time left follow from the mean rate instead of the last items, which may end in bursts.

    Example:
        >>> list(progress_bar([1, 2], desc="rows", is_shown=False))
        [1, 2]
    """
    return tqdm(
        iterable,
        desc=desc,
        total=total,
        unit=unit,
        initial=initial,
        delay=delay,
        smoothing=0 if is_mean_rate else 0.3,  # tqdm's default
        dynamic_ncols=True,
        disable=True if is_silenced() else None if is_shown is None else not is_shown,
    )
