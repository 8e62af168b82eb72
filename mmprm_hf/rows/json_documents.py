"""The rows of a JSON document: a list, rows by id, or a table as pandas writes it (`DataFrame.to_json`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .column_names import OUR_COLUMNS


def document_rows(document: Any) -> list[Any]:
    """Return the rows of a parsed JSON document.

    Args:
        document: A list of rows; an object of rows by id, which become the column ``id``; a table of pandas with any
            ``orient`` but "values"; anything else is one row.

    Example:
        >>> document_rows({"a": {"answer": "2"}})
        [{'id': 'a', 'answer': '2'}]
        >>> document_rows({"question": {"0": "1 + 1?"}, "answer": {"0": "2"}})
        [{'question': '1 + 1?', 'answer': '2'}]
    """
    if isinstance(document, list):
        return document
    if not isinstance(document, Mapping):
        return [document]
    if set(document) == {"columns", "index", "data"} and all(isinstance(part, list) for part in document.values()):
        names = [str(name) for name in document["columns"]]
        return [dict(zip(names, cells, strict=False)) for cells in document["data"] if isinstance(cells, list)]
    if set(document) == {"schema", "data"} and isinstance(document["data"], list):
        return document["data"]
    if not document or not all(isinstance(part, Mapping) for part in document.values()):
        return [document]
    if _is_by_column(document):
        index = next(iter(document.values()))
        return [{name: cells[key] for name, cells in document.items()} for key in index]
    return [{"id": key, **row} for key, row in document.items()]


def _is_by_column(document: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether an object of objects has a table's cells by column and then by the row's index, not rows by id."""
    first, *others = (set(part) for part in document.values())
    if not first or any(part != first for part in others):
        return False
    has_our_names = bool(OUR_COLUMNS & set(document)) and not OUR_COLUMNS & first
    return has_our_names or (all(name.isdigit() for name in first) and not all(name.isdigit() for name in document))
