"""Figures of problems: loaded, and as data URIs for servers. Pillow is imported when the first one is needed."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import io
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ..data import Problem
from ..errors import ProblemInputError

if TYPE_CHECKING:
    from PIL.Image import Image

T = TypeVar("T")


def load_problem_image(problem_id: str, image: Any) -> Image:
    """Return an RGB Pillow image from a path, a Pillow image, or the undecoded form of `datasets`.

    Raises:
        ProblemInputError: if the figure is something else, is missing or cannot be read.
    """
    from ..models import load_image

    try:
        return load_image(image)
    except ValueError as error:
        raise ProblemInputError(problem_id, f"its figure cannot be used: {error} Or drop the problem.") from error


def image_part(image: Image) -> dict[str, Any]:
    """Return a Pillow image as one part of a chat message in the OpenAI form: a PNG in a data URI."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}


def question_parts(problem: Problem) -> list[str | int]:
    """Return the question's texts and figures, by index, in reading order, see `models.split_question`.

    Raises:
        ProblemInputError: if placeholders and figures do not go together.
    """
    from ..models import split_question

    try:
        return split_question(problem.question, len(problem.images))
    except ValueError as error:
        raise ProblemInputError(problem.id, f"{error} Or drop the problem.") from error


def message_content(
    text: str, problem: Problem, figures: Sequence[dict[str, Any]], question: str | None = None
) -> str | list[dict[str, Any]]:
    """Return the content of a chat message that shows a problem: a text, or parts with the figures in their places.

    Args:
        text: The message; it contains the question.
        problem: The problem.
        figures: Its figures as parts of a message; empty sends the text alone, placeholders included.
        question: The question as it stands in `text`; None if it is the problem's own.

    Raises:
        ProblemInputError: if placeholders and figures do not go together.
    """
    question = problem.question if question is None else question
    if not figures and problem.images:  # they are not to be sent
        return text
    parts = question_parts(dataclasses.replace(problem, question=question))
    if not figures:
        return text
    before, _, after = text.partition(question)
    num_leading = next((index for index, part in enumerate(parts) if isinstance(part, str)), len(parts))
    first, *others = parts[num_leading:] or [""]
    texts_and_figures = [*parts[:num_leading], before + first, *others]
    if isinstance(texts_and_figures[-1], str):
        texts_and_figures[-1] += after
    else:
        texts_and_figures.append(after)
    return [{"type": "text", "text": p} if isinstance(p, str) else figures[p] for p in texts_and_figures if p != ""]


def image_parts(problem: Problem) -> list[dict[str, Any]]:
    """Return all figures of a problem, in order, as parts of a chat message.

    Raises:
        ProblemInputError: if one cannot be read.
    """
    return [image_part(load_problem_image(problem.id, image)) for image in problem.images]


def _is_same(first: Any, second: Any) -> bool:
    """Whether two figures are certainly the same: arrays are the same only if they are one object."""
    try:
        return first is second or bool(first == second)
    except (ValueError, RuntimeError):  # an array compares by element
        return False


class ProblemCache(Generic[T]):
    """One value for each of the problems used last; a problem with the same id but other figures is another one."""

    def __init__(self, max_problems: int) -> None:
        self._max_problems = max_problems
        self._values: OrderedDict[str, tuple[tuple[Any, ...], T]] = OrderedDict()

    def get(self, problem: Problem) -> T | None:
        """Return the problem's value; None if there is none."""
        images, value = self._values.get(problem.id, (None, None))
        if images is None or len(images) != len(problem.images) or not all(map(_is_same, images, problem.images)):
            return None
        self._values.move_to_end(problem.id)
        return value

    def put(self, problem: Problem, value: T) -> None:
        """Keep the problem's value; the one that was not used for the longest time goes."""
        self._values[problem.id] = (problem.images, value)
        self._values.move_to_end(problem.id)
        if len(self._values) > self._max_problems:
            self._values.popitem(last=False)


class FigureParts:
    """Encodes figures by `image_parts` in a thread, once per problem as long as it is among the last used.

    Args:
        max_problems: Problems whose parts are kept: a search asks for the same ones again and again.
    """

    def __init__(self, max_problems: int = 1024) -> None:
        self._cache: ProblemCache[list[dict[str, Any]]] = ProblemCache(max_problems)
        self._locks: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = weakref.WeakKeyDictionary()

    async def parts(self, problem: Problem) -> list[dict[str, Any]]:
        """Return all figures of a problem, in order, as parts of a chat message.

        Raises:
            ProblemInputError: if one cannot be read.
        """
        if not problem.images:
            return []
        # One at a time: a search's requests come together and need the same figures. A lock cannot change its loop.
        async with self._locks.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
            parts = self._cache.get(problem)
            if parts is None:
                parts = await asyncio.to_thread(image_parts, problem)
                self._cache.put(problem, parts)
        return parts
