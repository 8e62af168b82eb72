"""Counts of incomplete responses by their faults, and the words for them. Standard library only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

NOT_RECORDED = "reason not recorded"
"""In the place of a fault, for what older files and other engines give."""


def count_faults(faults: Iterable[str | None]) -> dict[str, int]:
    """Return how often each fault occurs, the most frequent first.

    Args:
        faults: `ParsedResponse.fault` of incomplete responses; "" and None count as `NOT_RECORDED`.

    Example:
        >>> count_faults(["no final answer", "cut at the token limit", "no final answer"])
        {'no final answer': 2, 'cut at the token limit': 1}
    """
    counts = Counter(fault or NOT_RECORDED for fault in faults)
    return dict(sorted(counts.items(), key=lambda entry: (-entry[1], entry[0])))


def fault_words(counts: Mapping[str, int]) -> str:
    """Return counts of faults as people read them, the most frequent first; "" for none.

    Example:
        >>> fault_words({"cut at the token limit": 14, "no final answer": 5})
        '14 cut at the token limit, 5 no final answer'
    """
    ranked = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
    return ", ".join(f"{count:,} {fault}" for fault, count in ranked)
