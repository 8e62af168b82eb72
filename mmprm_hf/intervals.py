"""Shares with their uncertainty. Standard library only."""

from __future__ import annotations

import math

_Z_95 = 1.96  # standard normal quantile of 0.975


def share_with_interval(count: int, total: int) -> dict[str, float | None]:
    """``{"value", "low", "high"}``: a share with its 95 % Wilson interval; None throughout where `total` is 0.

    Example:
        >>> {name: round(number, 2) for name, number in share_with_interval(1, 10).items()}
        {'value': 0.1, 'low': 0.02, 'high': 0.4}
    """
    if total == 0:
        return {"value": None, "low": None, "high": None}
    share, z2 = count / total, _Z_95**2 / total
    centre = (share + z2 / 2) / (1 + z2)
    margin = _Z_95 / (1 + z2) * math.sqrt(share * (1 - share) / total + z2 / (4 * total))
    return {"value": share, "low": max(centre - margin, 0.0), "high": min(centre + margin, 1.0)}
