"""Text split where no bracket is open: the sides of relations, the parts of lists. Standard library only."""

from __future__ import annotations

import re

from .phrases import JOINT

_LABEL = re.compile(r"(?:^|(?<=[\s,;.]))\(?([a-h]|[1-9])\)\s+(?![-+*/=^])")


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
        parts = [piece for part in parts for piece in outside_brackets(part, JOINT)]
    return [part.strip() for part in parts if part.strip()]


def labelled_parts(text: str) -> dict[str, str]:
    """Return the parts of an answer by their labels, which count from a or 1; empty if there are not two.

    Example:
        >>> labelled_parts("(a) 3 (b) 5"), labelled_parts("a) x, b) y"), labelled_parts("f(a) (b)")
        ({'a': '3', 'b': '5'}, {'a': 'x', 'b': 'y'}, {})
    """
    labels = list(_LABEL.finditer(text))
    names = "".join(label.group(1) for label in labels)
    if len(names) < 2 or labels[0].start() > 0 or not ("abcdefgh".startswith(names) or "123456789".startswith(names)):
        return {}
    ends = [label.start() for label in labels[1:]] + [len(text)]
    return {label.group(1): text[label.end() : end].strip(" ,;.") for label, end in zip(labels, ends, strict=True)}
