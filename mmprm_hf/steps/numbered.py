"""Numbered steps: "Step 1:", "**Step 1.**", "## Step 1:", "1.", "第一步：". Standard library only.

A header stands at the beginning of a line and its numbers run from 1. What stands before the first header belongs to
the first step. The header is not part of a step's text, except where a policy writes it in another way than usual.
A last paragraph that gives the answer is a step of its own, with or without a header.
"""

from __future__ import annotations

import collections
import dataclasses
import re
from collections.abc import Sequence
from typing import ClassVar

from ..answers import final_answer
from .plain import PlainFormat
from .protocol import Steps, with_worked_example
from .splitting import is_inside, regions, split_blocks

_HEADER = re.compile(
    r"^[ \t]*(?P<opening>(?:#{1,6}[ \t]+)?(?:\*\*)?(?:step[ \t]*|第|步骤[ \t]*|\()?)"
    r"(?P<number>\d{1,2}|[一二三四五六七八九十]{1,3})"
    r"(?P<closing>步?(?:\*\*)?[:：.、)]?(?:\*\*)?[:：]?(?:\*\*)?)(?P<space>[ \t]*\r?\n|[ \t]*)",
    re.MULTILINE | re.IGNORECASE,
)
_DIGITS = "一二三四五六七八九"


@dataclasses.dataclass(frozen=True)
class NumberedFormat(PlainFormat):
    r"""Steps that begin with a numbered header.

    Args:
        header: What a step begins with, ``{n}`` in the place of its number, white space behind it included.
        separator: What stands between two steps.
        are_chinese: Whether the numbers are written 一, 二, 三.

    Raises:
        ValueError: if `header` has no ``{n}`` or nothing but it, or `separator` is not made of line breaks.

    Example:
        >>> parsed = NUMBERED.parse("Step 1: 3 * 4 = 12\n\nStep 2: 12 - 2 = 10\n\nThe answer is 10.")
        >>> parsed.steps, parsed.answer
        (('3 * 4 = 12', '12 - 2 = 10', 'The answer is 10.'), '10')
    """

    name: ClassVar[str] = "numbered"
    header: str = "Step {n}: "
    separator: str = "\n\n"
    are_chinese: bool = False

    def __post_init__(self) -> None:
        if self.header.count("{n}") != 1 or not self.header.replace("{n}", "").strip():
            raise ValueError(
                f"Found header={self.header!r}. It needs {{n}} once, where the number stands, and a sign or word that "
                "tells it from any other number, such as 'Step {n}: '."
            )
        if not self.separator.strip("\n") == "" or not self.separator:
            raise ValueError(f"Found separator={self.separator!r}. Steps are separated by line breaks, such as '\\n'.")

    @property
    def step_separator(self) -> str:
        """What stands between two steps."""
        return self.separator

    @property
    def opening(self) -> str:
        """The header of step 1."""
        return self.header_of(0)

    def header_of(self, step_index: int) -> str:
        """Return the header of a step, white space behind it included."""
        number = _chinese(step_index + 1) if self.are_chinese else str(step_index + 1)
        return self.header.replace("{n}", number)

    def split(self, text: str, num_steps: int = 0) -> Steps | None:
        """Return the steps; None if there is no header, or a text before the first one that extends an earlier step."""
        starts = self._header_starts(text, num_steps)
        leading = text[: starts[0]] if starts else text
        if not starts or (num_steps and leading.strip()):
            # Behind a prefix a conclusion needs no header; anything else would change the prefix's last step.
            is_conclusion = num_steps > 0 and not starts and (not text.strip() or final_answer(text) is not None)
            return ((text.strip("\r\n"),) if text.strip() else ()) if is_conclusion else None
        chunks = [text[start:end] for start, end in zip([0, *starts[1:]], [*starts[1:], len(text)], strict=True)]
        blocks = split_blocks(chunks[-1])
        conclusion = blocks[-1:] if len(blocks) > 1 and final_answer(blocks[-1]) is not None else []
        if conclusion:
            chunks[-1] = chunks[-1][: chunks[-1].rindex(conclusion[0])]
        steps = [self._content(chunk, num_steps + index) for index, chunk in enumerate(chunks)]
        return (*steps, *conclusion) if all(step.strip() for step in steps) else None

    def _header_starts(self, text: str, num_steps: int) -> list[int]:
        """Where the headers stand whose numbers follow `num_steps`, up to the first one that is missing."""
        starts: list[int] = []
        protected, position = regions(text), 0
        while True:
            headers = self._pattern(num_steps + len(starts)).finditer(text, position)
            header = next((match for match in headers if not is_inside(match.start(), protected)), None)
            if header is None:
                return starts
            starts.append(header.start())
            position = header.end()

    def _pattern(self, step_index: int) -> re.Pattern[str]:
        """Matches a step's header at the beginning of a line, whatever white space is around it."""
        header = self.header_of(step_index).rstrip()
        no_decimal = r"(?!\d)" if header.endswith(".") else ""
        return re.compile(rf"^[ \t]*{re.escape(header)}{no_decimal}", re.MULTILINE)

    def _content(self, chunk: str, step_index: int) -> str:
        return chunk.strip("\r\n").removeprefix(self.header_of(step_index))

    def join(self, steps: Sequence[str]) -> str:
        """Return the steps behind their headers; one that has its own is written as it is."""
        return self.separator.join(map(self._with_header, range(len(steps)), steps))

    def _with_header(self, step_index: int, step: str) -> str:
        header, pattern = self.header_of(step_index), self._pattern(step_index)
        has_own = pattern.match(step) or (step_index == 0 and pattern.search(step))
        return step if has_own and not step.startswith(header) else header + step

    def step_stops(self, num_steps: int) -> tuple[str, ...]:
        """The header of the step after it."""
        return ("\n" + self.header_of(num_steps + 1).rstrip(),)

    def followers(self, num_steps: int) -> tuple[str, ...]:
        """The next header, or a conclusion."""
        return (self.header_of(num_steps).rstrip(), "The")

    def instruction(self, *, with_example: bool = False) -> str:
        """Return the text that asks for numbered steps."""
        first, second = (self.header_of(index).strip() for index in (0, 1))
        text = (
            f'Solve the problem step by step. Begin the first step with "{first}", the second with "{second}", and so '
            'on. End with a line of its own that says "Answer:" and then the final answer alone.'
        )
        return with_worked_example(self, text) if with_example else text


NUMBERED = NumberedFormat()
"""`NumberedFormat` with "Step 1: "."""


def find_numbered_format(texts: Sequence[str]) -> NumberedFormat | None:
    """Return the format with the header that most of these responses number their steps with; None if there is none.

    Example:
        >>> find_numbered_format(["## Step 1: Add\\n3 + 4 = 7\\n\\n## Step 2: Halve\\n7 / 2 = 3.5"]).header
        '## Step {n}: '
    """
    votes = collections.Counter(style for text in texts for style in _styles(text))
    return NumberedFormat(*votes.most_common(1)[0][0]) if votes else None


def _styles(text: str) -> set[tuple[str, str, bool]]:
    """The styles (header, separator, are_chinese) of which a text has numbers 1 and 2, in this order."""
    styles: set[tuple[str, str, bool]] = set()
    first_headers: dict[tuple[str, str], re.Match[str]] = {}
    for match in _HEADER.finditer(text):
        opening, number, closing = match["opening"], match["number"], match["closing"]
        is_header = bool(closing.strip("*")) or bool(re.search(r"step|步骤", opening, re.IGNORECASE))
        if not is_header:
            continue
        key = (opening, closing)
        if number in ("1", "一"):
            first_headers.setdefault(key, match)
        elif number in ("2", "二") and key in first_headers:
            first = first_headers[key]
            space = "\n" if "\n" in first["space"] else first["space"]
            between = text[first.end() : match.start()]
            separator = "\n\n" if re.search(r"\n[ \t]*\r?\n\s*\Z", between) else "\n"
            styles.add((f"{opening}{{n}}{closing}{space}", separator, number == "二"))
    return styles


def _chinese(number: int) -> str:
    """A number below 100 in Chinese."""
    tens, ones = divmod(number, 10)
    digits = " " + _DIGITS
    tens_text = "" if not tens else "十" if tens == 1 else digits[tens] + "十"
    return tens_text + (digits[ones] if ones else "")
