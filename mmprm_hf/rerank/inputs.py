"""Reads what users hand to the pipelines: figures and texts, rows, chats, datasets as `Problem`s, and models."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from transformers import AutoConfig
from transformers.utils.peft_utils import find_adapter_config_file

from ..data import Problem
from ..errors import CheckpointError, loading
from ..models import MMPRMConfig, is_figure, join_parts, load_image, start_of_adapter
from ..nano import checkpoint_or_nano
from ..rows import problem_fingerprint, row_images

OTHER_SPELLINGS = {"question": "text", "prompt": "text", "image": "images"}
"""What an input is called elsewhere -> its name in a call of the pipelines."""
_HINT = 'Give {"images": figure, "text": question}, a chat, or images=... and text=...'


def is_message(value: Any) -> bool:
    """Return whether it is one message of a chat."""
    return isinstance(value, Mapping) and "role" in value and "content" in value


def is_chat(value: Any) -> bool:
    """Return whether it is a list of messages, or transformers' `Chat`."""
    return hasattr(value, "messages") or (isinstance(value, (list, tuple)) and len(value) > 0 and is_message(value[0]))


def read_rows(images: Any, text: Any) -> tuple[Any, bool]:
    """Return the inputs of a call as rows or chats.

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
    if not (text is None or isinstance(text, str) or is_chat(text)):
        text = list(_entries(text))
    if is_chat(text) or (isinstance(text, list) and len(text) > 0 and is_chat(text[0])):
        if images is not None:
            raise ValueError("Found a chat as text beside images. A chat holds its images in its messages' content.")
        images, text = text, None
    if text is None:
        if is_chat(images) or isinstance(images, Mapping):
            return images, True
        if _is_single(images):
            raise ValueError(f"Found no text for {str(images)[:80]!r}. {_HINT}")
        return _entries(images), False
    if isinstance(text, str):
        return {"images": images, "text": text}, True
    figures = [None] * len(text) if images is None else [images] if _is_single(images) else list(_entries(images))
    if len(figures) != len(text):
        raise ValueError(
            f"Found {len(figures)} entries in images for {len(text)} texts. Give one entry per text: a figure, a list "
            "of figures, or None."
        )
    return [{"images": figure, "text": question} for figure, question in zip(figures, text, strict=True)], False


def _is_single(value: Any) -> bool:
    """Whether it is not a collection: a figure in any form, or something unreadable."""
    is_collection = hasattr(value, "__iter__") or (hasattr(value, "__getitem__") and hasattr(value, "__len__"))
    return is_figure(value) or not is_collection


def _entries(values: Any) -> Iterable[Any]:
    """A collection as something to iterate over: a dataset may know only its length and its rows by index."""
    if _is_single(values):
        raise ValueError(f"Found {values!r:.80} where texts or rows were expected. {_HINT}")
    return values if hasattr(values, "__iter__") else (values[index] for index in range(len(values)))


def read_problem(row: Any, allow_urls: bool | Sequence[str] = False) -> tuple[Problem, str | None]:
    """Return the problem of one row or chat, its figures loaded, and the chat's system prompt.

    The id is a hash of what is shown, so that equal problems get equal candidates.

    Args:
        row: The row or chat.
        allow_urls: Whether addresses of figures are fetched, see `load_image`.

    Raises:
        ValueError: if the row has no question, a figure cannot be read, or a chat has other than one user turn.
        ConnectionError: if a figure's server cannot be reached: the row is not at fault, and a run should stop.
    """
    if is_chat(row):
        question, figures, system_prompt = _read_chat(getattr(row, "messages", row))
    elif isinstance(row, Mapping) and ("text" in row or "question" in row):
        question, system_prompt = row.get("question") if row.get("text") is None else row["text"], None
        try:
            figures = row_images(row)
        except ValueError as error:
            raise ValueError(f"The input {row!r:.80} {error}") from error
    else:
        raise ValueError(f"Found the input {row!r:.80}. {_HINT}")
    if not isinstance(question, str):
        raise ValueError(f"Found the question {question!r:.80}. It must be one text; of several problems give rows.")
    images = tuple(load_image(figure, allow_urls=allow_urls) for figure in figures)
    return Problem(id=problem_fingerprint(question, images), question=question, images=images), system_prompt


def _read_chat(messages: Sequence[Mapping[str, Any]]) -> tuple[str, list[Any], str | None]:
    """Question, figures and system prompt of a chat."""
    if not all(is_message(message) for message in messages):
        raise ValueError("Found a chat with an entry that is not a message. Each has a role and content.")
    roles = [message["role"] for message in messages]
    if roles not in (["user"], ["system", "user"]):
        raise ValueError(
            f"Found a chat with the turns {', '.join(roles)}. A problem is one user turn, with or without a system "
            "turn before it; put earlier turns into the question."
        )
    system_prompt = "\n".join(_texts(messages[0])) if roles[0] == "system" else None
    if roles[0] == "system" and any(True for _ in _figures(messages[0])):
        raise ValueError("Found an image in the system turn of a chat. Put it into the user's turn.")
    figures, texts = list(_figures(messages[-1])), iter(_texts(messages[-1]))
    parts = [next(texts) if part.get("type") == "text" else None for part in _parts(messages[-1])]
    return join_parts(parts, "\n"), figures, system_prompt


def _parts(message: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    content = message["content"]
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if not isinstance(parts, (list, tuple)) or not all(isinstance(part, Mapping) for part in parts):
        raise ValueError(f"Found the content {content!r:.80} in a chat. It is a text, or a list of parts (dicts).")
    return parts


def _texts(message: Mapping[str, Any]) -> list[str]:
    texts = [part.get("text") for part in _parts(message) if part.get("type") == "text"]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError(f"Found a text part without a text in a chat: {message['content']!r:.80}.")
    return texts


def _figures(message: Mapping[str, Any]) -> Iterator[Any]:
    """The figures of a message, in any of the spellings that chats have for them."""
    for part in _parts(message):
        part_type = part.get("type")
        if part_type == "text":
            continue
        if part_type not in ("image", "image_url"):
            raise ValueError(f"Found a part of type {part_type!r} in a chat. A problem consists of text and images.")
        sources = [part[name] for name in ("image", "url", "path", "image_url") if part.get(name) is not None]
        if not sources and part.get("base64") is not None:
            sources = [f"data:image/png;base64,{part['base64']}"]
        if not sources:
            raise ValueError(
                f"Found an image part without an image: {dict(part)!r:.80}. Give it as image, url or path."
            )
        source = sources[0]
        yield source["url"] if isinstance(source, Mapping) and "url" in source else source


def checkpoint_of(model: Any, option: str) -> str:
    """Where a loaded model came from, to load its processor from there.

    Raises:
        ValueError: if it was built in memory.
    """
    path = model.name_or_path
    if not path:
        raise ValueError(
            f"A loaded {type(model).__name__} was given without {option}, and it comes from no checkpoint. "
            f"Pass {option}=..., or give the path."
        )
    return path


def checked_checkpoint(model: Any, kind: str, trust_remote_code: bool | None = None, **hub_options: Any) -> Any:
    """Return the path or hub id of a policy or a PRM, after a look at its configuration; a loaded model as it is.

    Args:
        model: Path, hub id, "nano" for the shipped one, or a model.
        kind: "policy" or "PRM".
        trust_remote_code, hub_options: As in ``AutoConfig.from_pretrained``.

    Raises:
        CheckpointError: if there is no such checkpoint, or it is a PRM in a policy's place or the reverse.
    """
    path = checkpoint_or_nano(model, kind)
    if not isinstance(path, (str, os.PathLike)):
        return model
    with loading(kind, path):
        if find_adapter_config_file(path, **hub_options) is not None:  # its base decides
            is_prm = start_of_adapter(path, **hub_options) is not None or kind == "PRM"
        else:
            config = AutoConfig.from_pretrained(path, trust_remote_code=trust_remote_code, **hub_options)
            is_prm = config.model_type == MMPRMConfig.model_type
    if is_prm and kind == "policy":
        raise CheckpointError(
            f"{str(path)!r} is a PRM, not a policy. Give it as the PRM, and a policy that writes solutions."
        )
    if not is_prm and kind == "PRM":
        raise CheckpointError(
            f"{str(path)!r} is not a PRM: its model_type is {config.model_type!r}, not {MMPRMConfig.model_type!r}. "
            "Train one of it (PRMTrainer), or start an untrained one by MMPRMModel.from_policy."
        )
    return os.fspath(path)
