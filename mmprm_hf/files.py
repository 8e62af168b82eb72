"""Result files: JSON and JSON lines, written whole or not at all. Standard library only."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
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


def iter_jsonl(path: Path) -> Iterator[Any]:
    """Rows of a JSON-lines file, one at a time.

    Raises:
        ValueError: naming the line that is no JSON.
    """
    # Not str.splitlines: it also breaks lines at U+0085, U+2028 and U+2029, which JSON leaves as they are in texts.
    with path.open(encoding="utf-8", newline="\n") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                try:
                    yield json.loads(line)
                except json.JSONDecodeError as error:
                    raise ValueError(f"Line {number} of {path} is no JSON ({error}). Write the file again.") from error


def read_jsonl(path: Path) -> list[Any]:
    """All rows of a JSON-lines file; see `iter_jsonl`."""
    return list(iter_jsonl(path))
