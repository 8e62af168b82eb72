"""Figures of problems: loaded, and as data URIs for servers. Pillow is imported when the first one is needed."""

from __future__ import annotations

import asyncio
import base64
import io
import weakref
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from ..data import Problem
from ..errors import ProblemInputError

if TYPE_CHECKING:
    from PIL.Image import Image

# Problems whose encoded figures are kept: a search asks for the same ones again and again.
_NUM_CACHED_PROBLEMS = 1024


def load_problem_image(problem_id: str, image: Any) -> Image:
    """RGB Pillow image from a path, a Pillow image, or the undecoded form of `datasets`.

    Raises:
        ProblemInputError: if the figure is something else, is missing or cannot be read.
    """
    from ..models import load_image

    try:
        return load_image(image)
    except ValueError as error:
        raise ProblemInputError(problem_id, f"its figure cannot be used: {error} Or drop the problem.") from error


def image_part(image: Image) -> dict[str, Any]:
    """A Pillow image as one part of a chat message in the OpenAI form: a PNG in a data URI."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}


def image_parts(problem: Problem) -> list[dict[str, Any]]:
    """All figures of a problem, in order, as parts of a chat message.

    Raises:
        ProblemInputError: if one cannot be read.
    """
    return [image_part(load_problem_image(problem.id, image)) for image in problem.images]


class FigureParts:
    """`image_parts` in a thread, once per problem while it is among the last used."""

    def __init__(self) -> None:
        self._found: OrderedDict[str, tuple[tuple[Any, ...], list[dict[str, Any]]]] = OrderedDict()
        self._locks: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = weakref.WeakKeyDictionary()

    async def parts(self, problem: Problem) -> list[dict[str, Any]]:
        """All figures of a problem, in order, as parts of a chat message.

        Raises:
            ProblemInputError: if one cannot be read.
        """
        if not problem.images:
            return []
        if (parts := self._kept(problem)) is None:
            # One at a time: a search's requests come together, and all want the same. A lock cannot change its loop.
            async with self._locks.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
                if (parts := self._kept(problem)) is None:
                    parts = await asyncio.to_thread(image_parts, problem)
                    self._found[problem.id] = (problem.images, parts)
                    if len(self._found) > _NUM_CACHED_PROBLEMS:
                        self._found.popitem(last=False)
        return parts

    def _kept(self, problem: Problem) -> list[dict[str, Any]] | None:
        images, parts = self._found.get(problem.id, ((), None))
        if parts is None or images != problem.images:
            return None
        self._found.move_to_end(problem.id)
        return parts
