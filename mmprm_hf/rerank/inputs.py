"""What users hand to the pipeline (figures and texts, rows, chats, datasets) to `Problem`s."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from transformers.image_utils import load_image as load_remote_image

from ..data import Problem
from ..models.images_mm_prm import load_image
from ..problem_keys import problem_fingerprint

_HINT = 'Give {"images": figure, "text": question}, a chat, or images=... and text=...'
Row = Mapping[str, Any]


def is_message(value: Any) -> bool:
    """True for one message of a chat."""
    return isinstance(value, Mapping) and "role" in value and "content" in value


def is_chat(value: Any) -> bool:
    """True for a list of messages, and for transformers' `Chat`."""
    return hasattr(value, "messages") or (isinstance(value, (list, tuple)) and len(value) > 0 and is_message(value[0]))


def rows_of(images: Any, text: Any) -> tuple[Any, bool]:
    """The inputs of a call as rows or chats, in one of two shapes.

    Args:
        images, text: As transformers' image-text-to-text pipeline takes them; either may hold chats, and `images` rows,
            a list, a generator or a dataset of them.

    Returns:
        ``(row, True)`` for one problem, ``(iterable of rows, False)`` for several.

    Raises:
        ValueError: if nothing was given, or figures and texts do not go together.
    """
    if images is None and text is None:
        raise ValueError(f"Found neither images nor text. {_HINT}")
    if is_chat(text) or (isinstance(text, (list, tuple)) and len(text) > 0 and is_chat(text[0])):
        if images is not None:
            raise ValueError("Found a chat as text beside images. A chat holds its images in its messages' content.")
        images, text = text, None
    if text is None:
        if is_chat(images) or isinstance(images, Mapping):
            return images, True
        if isinstance(images, (str, bytes, os.PathLike)) or not hasattr(images, "__iter__"):
            raise ValueError(f"Found no text for {str(images)[:80]!r}. {_HINT}")
        return images, False
    if isinstance(text, str):
        return {"images": images, "text": text}, True
    texts = list(text)
    figures = [None] * len(texts) if images is None else list(images)
    if len(figures) != len(texts):
        raise ValueError(
            f"Found {len(figures)} entries in images for {len(texts)} texts. Give one entry per text: a figure, a list "
            "of figures, or None."
        )
    return [{"images": figure, "text": one} for figure, one in zip(figures, texts, strict=True)], False


def problem_of(row: Any) -> tuple[Problem, str | None]:
    """The problem of one row or chat, its figures loaded, and the chat's system prompt.

    The id is a hash of what is shown, so that equal problems get equal candidates.

    Raises:
        ValueError: if the row has no question, a figure cannot be read, or a chat has other than one turn.
    """
    if is_chat(row):
        question, figures, system_prompt = _read_chat(getattr(row, "messages", row))
    elif isinstance(row, Mapping) and ("text" in row or "question" in row):
        question, system_prompt = row.get("text", row.get("question")), None
        figures = row.get("images") if row.get("images") is not None else row.get("image")
        figures = [] if figures is None else list(figures) if isinstance(figures, (list, tuple)) else [figures]
    else:
        raise ValueError(f"Found the input {row!r:.80}. {_HINT}")
    loaded = tuple(_loaded(figure) for figure in figures)
    key = problem_fingerprint(str(question), loaded)
    return Problem(id=key, question=question, images=loaded), system_prompt


def _loaded(figure: Any) -> Any:
    if isinstance(figure, str) and figure.startswith(("http://", "https://", "data:")):
        try:
            figure = load_remote_image(figure, timeout=60.0)
        except Exception as error:  # whatever the HTTP client or the decoder raises
            raise ValueError(f"Image {figure[:100]!r} cannot be read ({error}). Give a readable image.") from error
    return load_image(figure)


def _read_chat(messages: Sequence[Mapping[str, Any]]) -> tuple[str, list[Any], str | None]:
    """Question, figures and system prompt of a chat."""
    roles = [message["role"] for message in messages]
    if roles not in (["user"], ["system", "user"]):
        raise ValueError(
            f"Found a chat with the turns {', '.join(roles)}. A problem is one user turn, with a system turn before it "
            "or none; put earlier turns into the question."
        )
    system_prompt = "\n".join(_texts(messages[0])) if roles[0] == "system" else None
    return "\n".join(_texts(messages[-1])), list(_figures(messages[-1])), system_prompt


def _parts(message: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    content = message["content"]
    yield from [{"type": "text", "text": content}] if isinstance(content, str) else content


def _texts(message: Mapping[str, Any]) -> list[str]:
    return [part["text"] for part in _parts(message) if part.get("type") == "text"]


def _figures(message: Mapping[str, Any]) -> Iterator[Any]:
    """The figures of a message, in any of the spellings that chats have for them."""
    for part in _parts(message):
        kind = part.get("type")
        if kind == "text":
            continue
        if kind not in ("image", "image_url"):
            raise ValueError(f"Found a part of type {kind!r} in a chat. A problem is made of text and images.")
        source = next(
            (part[name] for name in ("image", "url", "path", "image_url") if part.get(name) is not None), None
        )
        if source is None and part.get("base64") is not None:
            source = f"data:image/png;base64,{part['base64']}"
        if source is None:
            raise ValueError(
                f"Found an image part without an image: {dict(part)!r:.80}. Give it as image, url or path."
            )
        yield source["url"] if isinstance(source, Mapping) and "url" in source else source


__all__ = ["is_chat", "problem_of", "rows_of"]
