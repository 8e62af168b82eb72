"""What a thinking model writes before its solution, set apart from it. Standard library only."""

from __future__ import annotations

_TAGS = (("<think>", "</think>"), ("<thinking>", "</thinking>"))


def split_thought(text: str) -> tuple[str, str, bool]:
    """Return the thought a response begins with, the solution behind it, and whether the thought never ends.

    A thought is opened by the policy or, before its first own token, by its chat template; then the text has the
    closing tag alone.

    Example:
        >>> split_thought("<think>3 + 4?</think>\\n\\nIt is 7.")
        ('3 + 4?', 'It is 7.', False)
        >>> split_thought("It is 7.")
        ('', 'It is 7.', False)
    """
    body = text.lstrip()
    for opening, closing in _TAGS:
        is_opened = body.startswith(opening)
        thought, end, solution = body.removeprefix(opening).partition(closing)
        if end and (is_opened or opening not in thought):
            return thought.strip(), solution.lstrip(), False
        if is_opened:
            return thought.strip(), "", True
    return "", text, False


def thought_tag_in(text: str) -> str | None:
    """Return a tag of thoughts that a text holds; None if there is none."""
    return next((tag for tags in _TAGS for tag in tags if tag in text), None)


def opened_thought(prompt: str) -> str:
    """Return the tag of the thought that a prompt leaves open at its end; "" if it leaves none open.

    Example:
        >>> opened_thought("<|im_start|>assistant\\n<think>\\n")
        '<think>'
    """
    return next((opening for opening, _ in _TAGS if prompt.rstrip().endswith(opening)), "")


def empty_rest_of_thought(opening: str) -> str:
    """Return what ends a thought, right after its opening tag and a line break, without a word in it."""
    return f"\n{dict(_TAGS)[opening]}\n\n"
