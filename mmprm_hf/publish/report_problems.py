"""Problems of a report, candidate by candidate, as its template takes them: ranked candidates, and figures embedded."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from ..data import Verdict
from ..models import load_image
from ..rows import FigureFinder, FigureRules
from .documents import get
from .report_rows import GROUPS, classify, group_candidates, majority_choice, pick_problems, read_rows, verdict_of

_PIXEL_LIMIT = 256  # px; narrower figures are enlarged by whole factors without smoothing
_FIGURE_WIDTH = 288  # px; twice the nano world's figures
_WIDEST = 640  # px; the longest side of a figure that is embedded
_MIME_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".gif": "image/gif"}


def problems_section(candidates_path: Path, document: Mapping[str, Any], num_problems: int) -> dict[str, Any]:
    """Return what ``report_problems.html`` shows: problems picked by a fixed rule (`pick_problems`), by group.

    Args:
        candidates_path: A candidates file. Without it only its name is returned.
        document: The results document beside it.
        num_problems: How many problems to show.

    Raises:
        ValueError: for malformed rows or an unreadable figure.
    """
    if not candidates_path.is_file():
        return {"file": candidates_path.name}
    rows, left_out = read_rows(candidates_path)
    members = Counter(classify(row) for row in rows)
    picked = pick_problems(rows, num_problems)
    groups = []
    for group, heading in GROUPS.items():
        if group in members:
            problems = [_problem(rows[index], candidates_path.parent) for name, index in picked if name == group]
            groups.append({"heading": heading, "num_members": members[group], "problems": problems})
    return {
        "file": candidates_path.name,
        "num_lines": len(rows) + sum(left_out.values()),
        "num_expected": get(document, "rows", "num_rows"),
        "left_out": left_out,
        "aggregation": get(document, "best_of_n", "aggregation") or get(document, "settings", "aggregation"),
        "num_shown": len(picked),
        "num_rows": len(rows),
        "groups": groups,
    }


def _problem(row: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """One problem: its figures, the choices of PRM and majority, and its distinct candidates, best score first."""
    candidates, chosen = row["candidates"], row.get("chosen")
    choice, majority = (
        None if index is None else _candidate(candidates[index]) for index in (chosen, majority_choice(row))
    )
    return {
        "row": row,
        "figures": [_figure(folder, name) for name in row.get("figures") or []],
        "choice": choice,
        "majority": majority,
        "num_correct": sum(verdict_of(candidate) is Verdict.CORRECT for candidate in candidates),
        "ranked": [
            _candidate(candidates[group[0]], count=len(group), is_chosen=chosen in group)
            for group in group_candidates(candidates, chosen)
        ],
    }


def _candidate(candidate: Mapping[str, Any], count: int = 1, is_chosen: bool = False) -> dict[str, Any]:
    """A candidate with its verdict as it is counted, and its steps beside their scores."""
    steps = candidate["steps"]
    return {
        **candidate,
        "score": candidate.get("score"),
        "text": str(candidate.get("text") or ""),
        "fault": candidate.get("fault") or "",
        "verdict": verdict_of(candidate),
        "scored_steps": list(zip(steps, candidate["step_scores"] or [None] * len(steps), strict=True)),
        "count": count,
        "is_chosen": is_chosen,
    }


def _figure(folder: Path, name: str) -> dict[str, Any]:
    """The figure as Base64: small ones enlarged by a whole factor without smoothing, large ones made smaller.

    Only figures in the folder of the candidates file are embedded: a page is published, and a file may name anything.
    """
    try:
        path = Path(FigureFinder(folder, FigureRules()).find(name))
    except (ValueError, TypeError):
        return {"missing": PurePath(str(name)).name}
    if not path.is_file():  # moved since; a page is still worth having
        return {"missing": path.name}
    image = load_image(path)
    data, (width, height) = path.read_bytes(), image.size
    mime = _MIME_TYPES.get(path.suffix.lower())
    if max(width, height) > _WIDEST or mime is None:
        image.thumbnail((_WIDEST, _WIDEST))
        (width, height), mime, buffer = image.size, "image/jpeg", io.BytesIO()
        image.save(buffer, "JPEG", quality=90)
        data = buffer.getvalue()
    is_small = width <= _PIXEL_LIMIT
    factor = max(1, _FIGURE_WIDTH // width) if is_small else 1
    return {
        "mime": mime,
        "data": base64.b64encode(data).decode("ascii"),
        "width": width * factor,
        "height": height * factor,
        "kind": "pixels" if is_small else "photo",
    }
