"""The step formats by name, and the one that most responses of a policy are written in. Standard library only."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import UnknownNameError
from .numbered import NUMBERED, NumberedFormat, find_numbered_format
from .plain import LINES, PARAGRAPHS
from .protocol import ParsedResponse, StepFormat
from .tagged import TAGGED, TaggedFormat
from .thoughts import split_thought

STEP_FORMATS: dict[str, StepFormat] = {
    step_format.name: step_format for step_format in (TAGGED, NUMBERED, PARAGRAPHS, LINES)
}
"""The formats by name, with their usual tags and headers; the order decides between formats that read equally well."""

AUTO = "auto"
"""In the place of a format's name: the one that the policy turns out to write."""


def read_step_format(value: str | Mapping[str, Any] | Sequence[str] | StepFormat) -> StepFormat:
    """Return a step format from its name, from what `StepFormat.to_dict` or `StepFormat.identity` gives, or as it is.

    Raises:
        UnknownNameError: for an unknown name or option.

    Example:
        >>> read_step_format("paragraphs").name
        'paragraphs'
        >>> read_step_format({"name": "numbered", "header": "{n}. "}).header
        '{n}. '
    """
    if isinstance(value, StepFormat):
        return value
    if isinstance(value, str):
        if value not in STEP_FORMATS:
            raise UnknownNameError("step format", value, STEP_FORMATS)
        return STEP_FORMATS[value]
    if not isinstance(value, Mapping):
        return TaggedFormat(*value)
    options = dict(value)
    known = read_step_format(str(options.pop("name", TAGGED.name)))
    names = [field.name for field in dataclasses.fields(known)]
    for option in options:
        if option not in names:
            raise UnknownNameError("option", option, names, f" of the step format {known.name!r}")
    return dataclasses.replace(known, **options)


@dataclasses.dataclass(frozen=True)
class FormatChoice:
    """The format that a policy's responses are read with.

    Args:
        step_format: The one that reads most of them completely.
        num_responses: Responses looked at.
        num_complete: By format's name, how many of them it reads completely.
    """

    step_format: StepFormat
    num_responses: int
    num_complete: dict[str, int]

    def __str__(self) -> str:
        counts = ", ".join(f"{name} {count}" for name, count in self.num_complete.items())
        return f"{self.step_format.name} (of {self.num_responses} responses read completely: {counts})"


def choose_step_format(responses: Sequence[tuple[str, str]]) -> FormatChoice:
    """Return the format that reads most responses completely, with two steps or more where it can.

    Of formats that read equally many the first of `STEP_FORMATS` is taken. A paragraph may have lines, so lines must
    read twice as many as paragraphs do. Where no format reads any (all are cut, say), the one that finds several steps
    most often decides, and paragraphs where none does.

    Args:
        responses: ``(text, finish reason)`` of responses to several problems.

    Example:
        >>> choose_step_format([("3 * 4 = 12\\n12 - 2 = 10\\nThe answer is 10.", "stop")]).step_format.name
        'lines'
    """
    formats = dict(STEP_FORMATS)
    numbered = find_numbered_format([split_thought(text)[1] for text, _ in responses])
    formats[NumberedFormat.name] = numbered or NUMBERED
    parsed = {name: [form.parse(text, reason) for text, reason in responses] for name, form in formats.items()}
    num_complete = {name: sum(response.complete for response in read) for name, read in parsed.items()}

    def rank(name: str) -> tuple[float, float, float]:
        read = parsed[name]
        several = [response for response in read if len(response.steps) > 1]
        num_several = sum(response.complete for response in several)
        if name == LINES.name:
            return num_several / 2, num_complete[name] / 2, len(several) / 2
        return num_several, num_complete[name], len(several)

    best = max((rank(name) for name in formats), default=(0, 0, 0))
    names = [name for name in formats if rank(name) == best] if any(best) else [PARAGRAPHS.name]
    return FormatChoice(formats[names[0]], len(responses), num_complete)


def read_solution(text: str) -> ParsedResponse:
    """Return the steps and the answer of one solution in whatever format it is written."""
    return choose_step_format([(text, "stop")]).step_format.parse(text)
