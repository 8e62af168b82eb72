"""Figures of problems: loaded, and as data URIs for servers. Pillow is imported when the first one is needed."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any

from mmprm_hf.data import Problem
from mmprm_hf.engines.requests import ProblemInputError

if TYPE_CHECKING:
    from PIL.Image import Image


def load_problem_image(problem_id: str, image: Any) -> Image:
    """RGB Pillow image from a path, a Pillow image, or the undecoded form of `datasets`.

    Raises:
        ProblemInputError: if the figure is something else, is missing or cannot be read.
    """
    from mmprm_hf.models.images_mm_prm import load_image

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
