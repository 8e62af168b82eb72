"""Problems whose several figures were joined in one file, as MathVision's are: their names are drawn in it.

No room beyond this one reads such rows by itself: elsewhere two placeholders and one figure are an error.
"""

from __future__ import annotations

from ..models import PLACEHOLDER


def name_composite_parts(question: str, num_figures: int) -> str:
    """Return the question with ``(image 2)`` for ``<image2>``, if one figure has several numbers; else as it is.

    Example:
        >>> name_composite_parts("Is <image1> like <image2>?", 1), name_composite_parts("What is <image1>?", 1)
        ('Is (image 1) like (image 2)?', 'What is <image1>?')
    """
    # Differs from MM-PRM: its models read the placeholders of MathVision as text, with the figure before them.
    numbers = {match[1] for match in PLACEHOLDER.finditer(question)}
    if num_figures != 1 or len(numbers) < 2 or "" in numbers:
        return question
    return PLACEHOLDER.sub(lambda match: f"(image {match[1]})", question)
