"""Cuts plain text into blocks and lines, but never inside a code fence, a displayed formula or a table.

What is opened and never closed is plain text. Near linear in the text. Standard library only.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterator

_MARK = re.compile(
    r"^[ \t]*(?:```|~~~)|\$\$|(?<!\\)\\[\[\]]|\\(?:begin|end)\{[A-Za-z]+\*?\}",
    re.MULTILINE,
)
_BLANK_LINES = re.compile(r"\r?\n(?:[ \t]*\r?\n)+")
_LINE_ENDS = re.compile(r"\r?\n(?:[ \t]*\r?\n)*")
_BLANK_EDGES = re.compile(r"\A(?:[ \t]*\r?\n)+|(?:\r?\n[ \t]*)+\Z")


def split_blocks(text: str) -> list[str]:
    r"""Return the parts of a text between blank lines, verbatim but for the blank lines.

    Example:
        >>> split_blocks("One.\n\n$$\nx\n\n= 1\n$$\n\n\nTwo.")
        ['One.', '$$\nx\n\n= 1\n$$', 'Two.']
    """
    return list(_parts(text, _BLANK_LINES, are_tables_kept=False))


def split_lines(text: str) -> list[str]:
    r"""Return the lines of a text that are not blank; a fence, a displayed formula or a table counts as one.

    Example:
        >>> split_lines("One.\n\\[\nx = 1\n\\]\nTwo.")
        ['One.', '\\[\nx = 1\n\\]', 'Two.']
    """
    return list(_parts(text, _LINE_ENDS, are_tables_kept=True))


def ends_inside_region(text: str) -> bool:
    """Return whether a text breaks off inside a fence or a displayed formula that it opens."""
    return _scan(text)[1]


def _parts(text: str, separator: re.Pattern[str], are_tables_kept: bool) -> Iterator[str]:
    text = _BLANK_EDGES.sub("", text)
    protected = [regions(text), _tables(text) if are_tables_kept else []]
    start = 0
    for match in separator.finditer(text):
        if not any(is_inside(match.start(), spans) for spans in protected):
            if text[start : match.start()].strip():
                yield text[start : match.start()]
            start = match.end()
    if text[start:].strip():
        yield text[start:]


def is_inside(position: int, spans: list[tuple[int, int]]) -> bool:
    """Return whether a position of a text lies in one of its spans, which are in order and do not overlap."""
    index = bisect.bisect_right(spans, position, key=lambda span: span[0]) - 1
    return index >= 0 and position < spans[index][1]


def regions(text: str) -> list[tuple[int, int]]:
    """Return start and end of every fence and displayed formula, in order; none overlap."""
    return _scan(text)[0]


def _scan(text: str) -> tuple[list[tuple[int, int]], bool]:
    """The regions of a text, and whether one is opened and never closed."""
    marks = list(_MARK.finditer(text))
    places: dict[str, list[int]] = {}  # of each mark, among `marks`
    for place, mark in enumerate(marks):
        places.setdefault(mark.group().strip(), []).append(place)
    spans: list[tuple[int, int]] = []
    is_open, place = False, 0
    while place < len(marks):
        closer = _closer(marks[place].group().strip())
        later = places.get(closer, []) if closer else []
        index = bisect.bisect_right(later, place)
        if index < len(later):
            spans.append((marks[place].start(), marks[later[index]].end()))
            place = later[index]
        else:
            is_open |= closer is not None
        place += 1
    return spans, is_open


def _closer(mark: str) -> str | None:
    """The mark that closes what this one opens; None for a mark that opens nothing."""
    if mark.startswith("\\begin"):
        return mark.replace("begin", "end", 1)
    return {"\\[": "\\]", "$$": "$$", "```": "```", "~~~": "~~~"}.get(mark[:3] if mark[0] in "`~" else mark)


def _tables(text: str) -> list[tuple[int, int]]:
    """Start and end of two or more lines in a row that begin with "|"."""
    found: list[tuple[int, int]] = []
    offset = 0
    for line in text.split("\n"):
        if line.lstrip(" \t").startswith("|"):
            if found and found[-1][1] + 1 == offset:
                found[-1] = (found[-1][0], offset + len(line))
            else:
                found.append((offset, offset + len(line)))
        offset += len(line) + 1
    return found
