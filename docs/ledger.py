"""The numbers in the sentences of README.md, docs/ and recipes' READMEs, read back from committed results.

    python docs/ledger.py     # lists what disagrees with its source or has none; exit code 1 if anything does

`docs/ledger.yaml` has for each document the phrases that hold measured numbers, each number written as a placeholder
``{source:path|format}``, and under ``constants`` phrases whose numbers are settings or citations. A source is a JSON
file that the YAML names (a list of rows is read by their names; ``rows[a=x&b=2]`` finds the entry of a list), or
``py``: ``{py:module:attribute}``. A ``~pattern`` behind a path takes a group out of a text. Formats: ``pct0``, ``pct1``
(a share in percent, with its sign), ``abs1`` (the same without), ``abs``, ``int``, or any of Python's.
"""

from __future__ import annotations

import functools
import importlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
LEDGER = yaml.safe_load((ROOT / "docs" / "ledger.yaml").read_text(encoding="utf-8"))
PLACEHOLDER = re.compile(r"\{(\w+):([^|{}~]+)(?:~([^|{}]+))?(?:\|([^{}]+))?\}")
# What looks measured: a decimal, a percentage, three digits or more, or a number of times, points, seconds, bytes.
MEASURED = re.compile(
    r"(?<![\w.,/-])[-+]?\d[\d,]*(?:\.\d+)?"
    r"(?: ?%| (?:to [\d.]+ )?(?:times|points|seconds|minutes|hours|MiB)\b)?(?![\w/]|\.\d)"
)


def is_measured(number: str) -> bool:
    """Whether a number needs a source."""
    digits = re.sub(r"[^\d.]", "", number)
    return "." in digits or len(digits) >= 3 or not re.fullmatch(r"[-+]?[\d,]+", number.strip())


@functools.cache
def source(name: str) -> Any:
    """A JSON file of the ledger; lists of named rows by name."""
    content = json.loads((ROOT / LEDGER["sources"][name]).read_text(encoding="utf-8"))
    return {row["name"]: row for row in content} if isinstance(content, list) else content


def look_up(name: str, path: str, pattern: str | None) -> Any:
    """The value of a placeholder."""
    if name == "py":
        module, _, attribute = path.partition(":")
        value = functools.reduce(
            lambda found, key: found[key] if isinstance(found, dict) else getattr(found, key),
            attribute.split("."),
            importlib.import_module(module),
        )
    else:
        value = source(name)
        for key in path.split("."):
            value = step_into(value, key)
    if pattern is not None:
        match = re.search(pattern, value)
        value = float(match[1].replace(",", "")) if match else f"no {pattern}"
    return value


def step_into(value: Any, key: str) -> Any:
    """One step of a path: a key, a place in a list, or ``key[a=x&b=2]``, the entry with these values."""
    if isinstance(value, list):
        return value[int(key)]
    if match := re.fullmatch(r"(\w+)\[(.+)\]", key):
        wanted = dict(pair.split("=") for pair in match[2].split("&"))
        return next(row for row in value[match[1]] if all(str(row.get(name)) == text for name, text in wanted.items()))
    return value[key]


def written(value: Any, form: str | None) -> str:
    """A value as a document writes it."""
    if form in ("pct0", "pct1", "abs1"):
        value = abs(value) if form == "abs1" else value
        return re.sub(r"^-(0\.?0*)$", r"\1", f"{100 * value:.{form[-1]}f}")
    if form == "abs":
        return f"{abs(value)}"
    if form == "int":
        return f"{round(value):,}"
    return format(value, form or "")


def rendered(phrase: str) -> str:
    """A phrase with its numbers."""
    return PLACEHOLDER.sub(lambda match: written(look_up(match[1], match[2], match[3]), match[4]), phrase)


def plain(text: str) -> str:
    """The sentences of a document, without code, generated tables, comments and link targets; spaces are single."""
    text = re.sub(r"<!-- table: \w+ -->.*?<!-- /table -->", " ", text, flags=re.DOTALL)
    text = re.sub(r"^---\n.*?\n---\n", " ", text, flags=re.DOTALL)
    text = re.sub(r"^ *```.*?^ *```", " ", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"<!--.*?-->|`[^`\n]*`|\]\([^)]*\)|https?://\S+|arXiv:?\s?\S+", " ", text, flags=re.DOTALL)
    return re.sub(r"\s+", " ", text)


def faults(document: str, text: str | None = None) -> Iterator[str]:
    """What is wrong with the numbers of one document, or of `text` in its place."""
    text = plain((ROOT / document).read_text(encoding="utf-8") if text is None else text)
    rest = text
    entry = LEDGER["documents"].get(document) or {}
    for phrase in entry.get("measured", ()):
        if (found := re.sub(r"\s+", " ", rendered(phrase))) not in text:
            yield f"{document} lacks the sentence {found!r}, which the results give"
        rest = rest.replace(found, " ")
    for phrase in entry.get("constants", ()):
        if phrase not in text:
            yield f"{document} lacks the constant {phrase!r}: remove it from docs/ledger.yaml"
        rest = rest.replace(phrase, " ")
    for match in MEASURED.finditer(rest):
        if is_measured(match[0]):
            around = rest[max(0, match.start() - 50) : match.end() + 30]
            yield f"{document}: {match[0]!r} has no source (... {around} ...)"


def main() -> None:
    found = [fault for document in LEDGER["documents"] for fault in faults(document)]
    print(*found, sep="\n")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
