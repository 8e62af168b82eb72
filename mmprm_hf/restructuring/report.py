"""A run in numbers: rows accepted and rejected by reason, tokens, and what showing the figure changes.

Standard library only.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ..metrics import share_with_interval
from .checks import REASONS
from .rows import Outcome
from .run import RUN_REASONS


def summarise(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return the counts of one way of asking.

    `tokens_*` are those of all replies, of earlier runs too; equal rows share replies, whose tokens count for each row.
    `num_helped_by_retry` are rows whose first reply was rejected and a later one accepted.
    """
    accepted = [outcome for outcome in outcomes if outcome.rejection is None]
    reasons = Counter(outcome.rejection.reason for outcome in outcomes if outcome.rejection is not None)
    return {
        "num_rows": len(outcomes),
        "num_accepted": len(accepted),
        "accepted_share": share_with_interval(len(accepted), len(outcomes)),
        "num_rejected": len(outcomes) - len(accepted),
        "rejected_by_reason": {name: reasons[name] for name in (*RUN_REASONS, *REASONS) if reasons[name]},
        "num_retried": sum(outcome.num_attempts > 1 for outcome in outcomes),
        "num_helped_by_retry": sum(outcome.num_attempts > 1 for outcome in accepted),
        "mean_steps": statistics.fmean(outcome.num_steps for outcome in accepted) if accepted else None,
        "tokens_in": sum(outcome.tokens_in for outcome in outcomes),
        "tokens_out": sum(outcome.tokens_out for outcome in outcomes),
    }


def compare(without: Sequence[Outcome], shown: Sequence[Outcome]) -> dict[str, Any]:
    """Return what showing the figure changes, over rows that have one and were asked about.

    Shares come with 95 % Wilson intervals. Steps are compared where both ways were accepted.

    Args:
        without, shown: Outcomes of the same rows, without and with their figures.
    """
    pairs = [(a, b) for a, b in zip(without, shown, strict=True) if a.has_figure and (a.num_attempts or b.num_attempts)]
    both = [(a, b) for a, b in pairs if a.rejection is None and b.rejection is None]
    num_accepted_without = sum(a.rejection is None for a, _ in pairs)
    num_accepted_shown = sum(b.rejection is None for _, b in pairs)
    num_rescued, num_lost = num_accepted_shown - len(both), num_accepted_without - len(both)
    return {
        "num_rows_with_figure": len(pairs),
        "num_accepted_without": num_accepted_without,
        "num_accepted_shown": num_accepted_shown,
        "num_accepted_both": len(both),
        "num_rescued_by_figure": num_rescued,
        "num_rejected_by_figure": num_lost,
        "outcome_differs": share_with_interval(num_rescued + num_lost, len(pairs)),
        "step_count_differs": share_with_interval(sum(a.num_steps != b.num_steps for a, b in both), len(both)),
        "text_differs": share_with_interval(sum(a.steps_hash != b.steps_hash for a, b in both), len(both)),
    }


def format_report(report: Mapping[str, Any]) -> str:
    """Return the content of ``restructure.json`` as a table for people."""
    meanings = {**RUN_REASONS, **REASONS}
    lines = [
        f"{report['num_rows']:>8,}  solutions",
        _count_line(report["num_accepted"], report["num_rows"], "restructured"),
    ]
    if report["num_helped_by_retry"]:
        lines.append(f"{report['num_helped_by_retry']:>8,}           of them at a second attempt")
    lines.append(_count_line(report["num_rejected"], report["num_rows"], "rejected"))
    for reason, count in sorted(report["rejected_by_reason"].items(), key=lambda pair: -pair[1]):
        lines.append(f"{count:>8,}           {reason:<18}{meanings[reason]}")
    if report["mean_steps"] is not None:
        lines.append(f"{report['mean_steps']:>8.1f}  steps per solution")
    new = report["asked_now"]
    lines.append(f"{new['num_replies']:>8,}  new replies: {new['tokens_in']:,} tokens in, {new['tokens_out']:,} out")
    if report.get("compare"):
        lines += ["", *_compare_lines(report["compare"])]
    return "\n".join(lines)


def _compare_lines(report: Mapping[str, Any]) -> list[str]:
    num_both = report["num_accepted_both"]
    return [
        f"With the figure shown, over {report['num_rows_with_figure']:,} rows that have one:",
        f"{report['num_rescued_by_figure']:>8,}  rejections rescued",
        f"{report['num_rejected_by_figure']:>8,}  rejections caused",
        _share_line(report["outcome_differs"], "other outcome"),
        _share_line(report["step_count_differs"], f"other number of steps, of {num_both:,} accepted both ways"),
        _share_line(report["text_differs"], "other text, of the same"),
    ]


def _count_line(count: int, total: int, words: str) -> str:
    share = f"{count / total:>6.1%}" if total else ""
    return f"{count:>8,}  {share:>7}  {words}"


def _share_line(share: Mapping[str, float | None], words: str) -> str:
    if share["value"] is None:
        return f"{'-':>8}  {words}"
    return f"{share['value']:>8.1%}  {words} ({share['low']:.1%} to {share['high']:.1%})"
