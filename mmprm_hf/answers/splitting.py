"""Text split where no bracket is open: the sides of relations, the parts of lists. Standard library only."""

from __future__ import annotations

import re

_JOINTS = re.compile(
    r"(?<=\d)(?:and|or)(?=\d)|\band\b|\bor\b|、|\\(?:text|quad)?(?:and|or)\b|\\(?:lor|vee|land|wedge)(?![A-Za-z])"
)


def outside_brackets(text: str, separator: re.Pattern[str]) -> list[str]:
    """Return the parts of a text between the separators that stand outside all brackets.

    Example:
        >>> outside_brackets("f(x=1)=2", re.compile("="))
        ['f(x=1)', '2']
    """
    depth = 0
    depths = []
    for character in text:
        depth -= character in ")]}"
        depths.append(depth)
        depth += character in "([{"
    parts, start = [], 0
    for match in separator.finditer(text):
        if match.start() < len(text) and depths[match.start()] == 0:
            parts.append(text[start : match.start()])
            start = match.end()
    return [*parts, text[start:]]


def nesting(text: str) -> int:
    """Return how deep the brackets of a text are nested."""
    depth = deepest = 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        deepest = max(deepest, depth)
    return deepest


def is_balanced(text: str) -> bool:
    """Return whether every bracket that closes in a text was opened in it, and the other way round."""
    depth = 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        if depth < 0:
            return False
    return depth == 0


def split_list(text: str, *, has_words: bool) -> list[str]:
    """Return the parts of a list: joined by semicolons, else by commas, and by "and", "or" if it `has_words`.

    A comma without a space between digits belongs to a number where other commas have spaces: ``1,000, 2,000``.

    Example:
        >>> split_list("1,000, 2,000 and 3", has_words=True), split_list("(1,2),(3,4)", has_words=False)
        (['1,000', '2,000', '3'], ['(1,2)', '(3,4)'])
    """
    parts = outside_brackets(text, re.compile(";"))
    if len([part for part in parts if part.strip()]) < 2:
        spaced = outside_brackets(text, re.compile(r",(?=\s)|(?<!\d),|,(?!\d{3}(?!\d))"))
        parts = spaced if len(spaced) > 1 else outside_brackets(text, re.compile(","))
    if has_words:
        parts = [piece for part in parts for piece in outside_brackets(part, _JOINTS)]
    return [part.strip() for part in parts if part.strip()]
