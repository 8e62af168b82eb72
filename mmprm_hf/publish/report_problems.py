"""Problems of a report, candidate by candidate: steps coloured by their scores. All text from data is escaped."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..data import Verdict
from ..models import load_image
from .documents import get
from .report_html import counted, text
from .report_rows import GROUPS, classify, group_candidates, majority_choice, pick_problems, read_rows, verdict_of
from .template_files import fill
from .words import NOT_MEASURED

SCORE_SCALE: tuple[tuple[float, tuple[int, int, int]], ...] = (
    (0.0, (236, 120, 80)),
    (0.5, (250, 240, 205)),
    (1.0, (72, 186, 170)),
)
"""Step score to sRGB: vermilion, cream, teal, linear in between. All carry black text, and both ends stay apart for
eyes without red or green cones."""

_SYMBOLS = {Verdict.CORRECT: "✓", Verdict.INCORRECT: "✗", Verdict.UNDECIDED: "?"}
_NUM_OPEN_CANDIDATES = 6  # distinct candidates visible before the fold
_PIXEL_LIMIT = 256  # px; narrower figures are enlarged by whole factors without smoothing
_FIGURE_WIDTH = 288  # px; twice the nano world's figures
_WIDEST = 640  # px; the longest side of a figure that is embedded
_MIME_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".gif": "image/gif"}
_RAW_LIMIT = 400  # characters of an unparsable response


def problems_section(candidates_path: Path, document: Mapping[str, Any], num_problems: int) -> str:
    """The section of problems, picked by a fixed rule (`pick_problems`) that it states.

    Args:
        candidates_path: A candidates file. Without it the section says what it would need.
        document: The results document beside it.
        num_problems: How many problems to show.

    Raises:
        ValueError: for malformed rows or an unreadable figure.
    """
    if not candidates_path.is_file():
        return (
            f'<p class="muted">No problems are shown: they come from <code>{html.escape(candidates_path.name)}</code> '
            "beside the results, which is not there.</p>"
        )
    rows, left_out = read_rows(candidates_path)
    notes = []
    num_lines, num_rows = len(rows) + sum(left_out.values()), get(document, "rows", "num_rows")
    if num_rows is not None and num_rows != num_lines:
        notes.append(
            f"<p><strong>{html.escape(candidates_path.name)} has {num_lines} rows, but the results count "
            f"{text(num_rows)}</strong>: it may be of another run.</p>"
        )
    if left_out:
        notes.append(
            f"<p>{sum(left_out.values())} of {num_lines} problems could not be shown to the models, have no candidates "
            f"and are left out here:</p>{counted(left_out)}"
        )
    picked = pick_problems(rows, num_problems)
    return fill(
        "report_problems.html",
        aggregation=text(get(document, "best_of_n", "aggregation") or get(document, "settings", "aggregation")),
        num_shown=str(len(picked)),
        num_rows=str(len(rows)),
        notes="\n".join(notes),
        problems=_problem_sections(rows, picked, candidates_path.parent),
    )


def score_color(score: float) -> str:
    """Return the colour, ``#rrggbb``, of a step score in [0, 1]; see `SCORE_SCALE`.

    Example:
        >>> score_color(0.0)
        '#ec7850'
    """
    (low, low_color), (high, high_color) = SCORE_SCALE[:2] if score <= SCORE_SCALE[1][0] else SCORE_SCALE[1:]
    share = (score - low) / (high - low)
    color = [round(a + share * (b - a)) for a, b in zip(low_color, high_color, strict=True)]
    return "#{:02x}{:02x}{:02x}".format(*color)


def _problem_sections(rows: Sequence[Mapping[str, Any]], picked: Sequence[tuple[str, int]], folder: Path) -> str:
    """The picked problems under a heading per group."""
    groups = [classify(row) for row in rows]
    parts = []
    for group, heading in GROUPS.items():
        indices = [index for picked_group, index in picked if picked_group == group]
        if not groups.count(group):
            continue
        share = f"{groups.count(group)} of {len(rows)} problems, {len(indices)} shown"
        parts.append(f'<h3>{html.escape(heading)} <span class="count">· {share}</span></h3>')
        parts.extend(_problem(rows[index], folder) for index in indices)
    return "\n".join(parts)


def _problem(row: Mapping[str, Any], folder: Path) -> str:
    """One problem with its ranked candidates, the tail behind a fold."""
    candidates, chosen, majority = row["candidates"], row.get("chosen"), majority_choice(row)
    groups = group_candidates(candidates, chosen)
    listed = [_candidate(candidates[group[0]], len(group), chosen in group) for group in groups]
    parts = ['<ol class="candidates">', *listed[:_NUM_OPEN_CANDIDATES], "</ol>"]
    if hidden := groups[_NUM_OPEN_CANDIDATES:]:
        num_right = sum(verdict_of(candidates[group[0]]) is Verdict.CORRECT for group in hidden)
        summary = f"{len(hidden)} more distinct candidates, {num_right} of them correct"
        if any(chosen in group for group in hidden):
            summary += ", among them the PRM's choice"
        tail = "\n".join(listed[_NUM_OPEN_CANDIDATES:])
        parts.append(f'<details><summary>{summary}</summary><ol class="candidates">{tail}</ol></details>')
    return fill(
        "report_problem.html",
        figures="\n".join(_figure(folder, name) for name in row.get("figures") or []),
        question=html.escape(str(row["question"])),
        answer=text(row.get("answer")),
        choice=_short_outcome(candidates, chosen),
        majority=_short_outcome(candidates, majority),
        num_correct=str(sum(verdict_of(candidate) is Verdict.CORRECT for candidate in candidates)),
        num_candidates=str(len(candidates)),
        problem_id=html.escape(str(row["problem_id"])),
        candidates="\n".join(parts),
    )


def _candidate(candidate: Mapping[str, Any], count: int, is_chosen: bool) -> str:
    """One row: score, steps as chips, outcome."""
    verdict, score = verdict_of(candidate), candidate.get("score")
    scores = candidate["step_scores"] or [None] * len(candidate["steps"])
    chips = [_chip(step, step_score) for step, step_score in zip(candidate["steps"], scores, strict=True)]
    if not chips:
        raw = str(candidate.get("text") or "")
        cut = "…" if len(raw) > _RAW_LIMIT else ""
        chips = [f'<p class="raw"><code>{html.escape(raw[:_RAW_LIMIT]) or "(empty response)"}{cut}</code></p>']
    return fill(
        "report_candidate.html",
        chosen_class=" chosen" if is_chosen else "",
        score="<small>no score</small>" if score is None else f"{score:.2f}",
        count=f"× {count}" if count > 1 else "",
        steps="\n".join(chips),
        mark='<span class="mark">★ PRM&#x27;s choice</span>' if is_chosen else "",
        answer="none" if candidate["answer"] is None else text(candidate["answer"]),
        verdict=str(verdict),
        verdict_text=_verdict_words(verdict),
        incomplete="" if candidate["complete"] else "<span>… incomplete, never chosen before a complete one</span>",
    )


def _chip(step: str, score: float | None) -> str:
    """One step, coloured by its score."""
    if score is None:
        return f'<span class="step unscored"><code>{html.escape(step)}</code> <b>{NOT_MEASURED}</b></span>'
    style = f'style="background:{score_color(score)}"'
    return f'<span class="step" {style}><code>{html.escape(step)}</code> <b>{score:.2f}</b></span>'


def _verdict_words(verdict: Verdict) -> str:
    """Symbol and word, so that nothing rests on colour alone."""
    return f"{_SYMBOLS[verdict]} {verdict}"


def _short_outcome(candidates: Sequence[Mapping[str, Any]], index: int | None) -> str:
    """Answer and verdict of one candidate."""
    if index is None:
        return "none"
    verdict, answer = verdict_of(candidates[index]), candidates[index]["answer"]
    words = f'<span class="verdict {verdict}">{_verdict_words(verdict)}</span>'
    return f"<b>{'none' if answer is None else text(answer)}</b> {words}"


def _figure(folder: Path, name: str) -> str:
    """The figure as a data URI: small ones enlarged by a whole factor without smoothing, large ones made smaller.

    It is looked for beside the candidates file, then where the command runs.
    """
    path = folder / name if (folder / name).is_file() else Path(name)
    if not path.is_file():  # moved since; a page is still worth having
        return f'<figure class="muted">figure not found: {html.escape(path.name)}</figure>'
    image = load_image(str(path))
    data, (width, height) = path.read_bytes(), image.size
    mime = _MIME_TYPES.get(path.suffix.lower())
    if max(width, height) > _WIDEST or mime is None:
        image.thumbnail((_WIDEST, _WIDEST))
        (width, height), mime, buffer = image.size, "image/jpeg", io.BytesIO()
        image.save(buffer, "JPEG", quality=90)
        data = buffer.getvalue()
    is_small = width <= _PIXEL_LIMIT
    factor = max(1, _FIGURE_WIDTH // width) if is_small else 1
    source = f"data:{mime};base64,{base64.b64encode(data).decode('ascii')}"
    size = f'width="{width * factor}" height="{height * factor}" class="{"pixels" if is_small else "photo"}"'
    return f'<figure><img src="{source}" alt="figure of the problem" {size}></figure>'
