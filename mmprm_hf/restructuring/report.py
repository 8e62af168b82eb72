"""What a run did, in numbers: rows taken and rejected by reason, tokens, and what showing the figure changes.

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
    """Counts of one way of asking; `tokens_*` are of all replies, whenever they were paid for.

    `num_helped_by_retry` are rows whose first reply was rejected and a later one taken. Equal rows share replies, whose
    tokens then count for each.
    """
    taken = [outcome for outcome in outcomes if outcome.rejection is None]
    reasons = Counter(outcome.rejection.reason for outcome in outcomes if outcome.rejection is not None)
    return {
        "num_rows": len(outcomes),
        "num_accepted": len(taken),
        "accepted_share": share_with_interval(len(taken), len(outcomes)),
        "num_rejected": len(outcomes) - len(taken),
        "rejected_by_reason": {name: reasons[name] for name in (*RUN_REASONS, *REASONS) if reasons[name]},
        "num_retried": sum(outcome.num_attempts > 1 for outcome in outcomes),
        "num_helped_by_retry": sum(outcome.num_attempts > 1 for outcome in taken),
        "mean_steps": statistics.fmean(outcome.num_steps for outcome in taken) if taken else None,
        "tokens_in": sum(outcome.tokens_in for outcome in outcomes),
        "tokens_out": sum(outcome.tokens_out for outcome in outcomes),
    }


def compare(without: Sequence[Outcome], shown: Sequence[Outcome]) -> dict[str, Any]:
    """What showing the figure changes, over rows that have one and were asked about.

    Shares come with 95 % Wilson intervals. Steps are compared where both ways were taken.
    """
    pairs = [(a, b) for a, b in zip(without, shown, strict=True) if a.has_figure and (a.num_attempts or b.num_attempts)]
    both = [(a, b) for a, b in pairs if a.rejection is None and b.rejection is None]
    rescued = sum(a.rejection is not None and b.rejection is None for a, b in pairs)
    caused = sum(a.rejection is None and b.rejection is not None for a, b in pairs)
    other_count = sum(a.num_steps != b.num_steps for a, b in both)
    other_text = sum(a.steps_hash != b.steps_hash for a, b in both)
    return {
        "num_rows_with_figure": len(pairs),
        "num_accepted_without": sum(a.rejection is None for a, _ in pairs),
        "num_accepted_shown": sum(b.rejection is None for _, b in pairs),
        "num_accepted_both": len(both),
        "num_rescued_by_figure": rescued,
        "num_rejected_by_figure": caused,
        "outcome_differs": share_with_interval(rescued + caused, len(pairs)),
        "step_count_differs": share_with_interval(other_count, len(both)),
        "text_differs": share_with_interval(other_text, len(both)),
    }


def format_report(report: Mapping[str, Any]) -> str:
    """The report as a table for people."""
    meaning = {**RUN_REASONS, **REASONS}
    lines = [
        f"{report['num_rows']:>8,}  solutions",
        _counted(report["num_accepted"], report["num_rows"], "restructured"),
    ]
    if report["num_helped_by_retry"]:
        lines.append(f"{report['num_helped_by_retry']:>8,}           of them at a second attempt")
    lines.append(_counted(report["num_rejected"], report["num_rows"], "rejected"))
    for reason, count in sorted(report["rejected_by_reason"].items(), key=lambda pair: -pair[1]):
        lines.append(f"{count:>8,}           {reason:<18}{meaning[reason]}")
    if report["mean_steps"] is not None:
        lines.append(f"{report['mean_steps']:>8.1f}  steps a solution")
    now = report["asked_now"]
    lines.append(
        f"{now['num_replies']:>8,}  replies asked for now: {now['tokens_in']:,} tokens in, {now['tokens_out']:,} out"
    )
    if report.get("compare"):
        lines += ["", *_compare_lines(report["compare"])]
    return "\n".join(lines)


def _compare_lines(figures: Mapping[str, Any]) -> list[str]:
    return [
        f"With the figure shown, over {figures['num_rows_with_figure']:,} rows that have one:",
        f"{figures['num_rescued_by_figure']:>8,}  rejections rescued",
        f"{figures['num_rejected_by_figure']:>8,}  rejections caused",
        _share_line(figures["outcome_differs"], "other outcome"),
        _share_line(
            figures["step_count_differs"], f"other number of steps, of {figures['num_accepted_both']:,} taken twice"
        ),
        _share_line(figures["text_differs"], "other text, of the same"),
    ]


def _counted(count: int, total: int, words: str) -> str:
    share = f"{count / total:>6.1%}" if total else ""
    return f"{count:>8,}  {share:>7}  {words}"


def _share_line(share: Mapping[str, float | None], words: str) -> str:
    if share["value"] is None:
        return f"{'-':>8}  {words}"
    return f"{share['value']:>8.1%}  {words} ({share['low']:.1%} to {share['high']:.1%})"
