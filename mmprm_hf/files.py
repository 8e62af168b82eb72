"""Result files: JSON and JSON lines, written whole or not at all. Standard library only."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def _replace(path: Path, text: str) -> None:
    """Write `text` beside `path`, then rename: a reader never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".part")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


def write_json(path: Path, content: Any) -> None:
    """Write one JSON document, indented, keys in the given order. NaN and infinities are refused (ValueError)."""
    _replace(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_jsonl(path: Path, rows: Iterable[Any]) -> None:
    """Write one JSON document a line. NaN and infinities are refused (ValueError)."""
    _replace(path, "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows))


def read_jsonl(path: Path) -> list[Any]:
    """Rows of a JSON-lines file.

    Raises:
        ValueError: naming the line that is no JSON.
    """
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if line.strip():
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError as error:
                raise ValueError(f"Line {number} of {path} is no JSON ({error}). Write the file again.") from error
    return rows
