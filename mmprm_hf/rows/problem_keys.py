"""What a problem *is*, as short hashes of its text and pixels: ids and paths of figures may change, the hash stays.

Imports Pillow, never torch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from ..data import Problem, content_hash
from ..models import load_image


def problem_fingerprint(question: str, images: Sequence[Any]) -> str:
    """Return a hash of a question and the pixels of its figures.

    Args:
        question: The text.
        images: Figures as `Problem` has them.

    Raises:
        ValueError: if a figure cannot be read.
    """
    figures = []
    for image in images:
        loaded = load_image(image)
        figures.append([loaded.size, hashlib.sha256(loaded.tobytes()).hexdigest()])
    return content_hash(question, figures)


def problem_key(problem: Problem) -> str:
    """Return a hash of all that labels depend on: question, pixels, gold answer, its type and the options.

    A labelling run keeps its results by this key, so that a moved figure or a new id repeats nothing.

    Raises:
        ValueError: if a figure cannot be read.

    Example:
        >>> problem_key(Problem("a", "1 + 1 = ?", answer="2")) == problem_key(Problem("b", "1 + 1 = ?", answer="2"))
        True
    """
    fingerprint = problem_fingerprint(problem.question, problem.images)
    return content_hash(fingerprint, problem.answer, problem.answer_type, list(problem.options))
