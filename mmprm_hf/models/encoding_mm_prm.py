"""Texts and images to token ids: batches, text that is read as text, padding, rows that are too long.

Part of the portable island, which is copied into checkpoints: imports siblings only.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from .figure_sources_mm_prm import is_figure
from .images_mm_prm import load_image
from .stock_mm_prm import tokenizer_of

logger = logging.getLogger(__name__)


def encode_texts(
    base: Any, texts: list[str], images: Sequence[Sequence[Any]], add_special_tokens: bool
) -> tuple[list[list[int]], dict[str, Any]]:
    """Return the unpadded ids of texts with image placeholders, and the stock processor's other tensors.

    `base` is a stock processor, or a tokenizer for texts without images. Token types, which it returns as (batch, seq),
    become lists of per-row lists. What cannot be read or is read by cross-attention is refused (ValueError).
    """
    has_pad = tokenizer_of(base).pad_token_id is not None
    if not has_pad and len(texts) > 1:
        return _encode_one_by_one(base, texts, images, add_special_tokens)
    options: dict[str, Any] = {"padding": has_pad, "padding_side": "right", "return_tensors": "pt"}
    if not add_special_tokens:
        options["add_special_tokens"] = False
    if getattr(base, "image_processor", None) is None:
        features = base(texts, **options)
    else:
        loaded = [[load_image(image) for image in row] for row in images]
        features = base(images=loaded if any(loaded) else None, text=texts, **options)
    if "cross_attention_mask" in features:
        raise ValueError(
            f"{type(base).__name__} belongs to a backbone that reads images by cross-attention (Mllama), which PRMs do "
            "not support. Leave the images out, or choose a policy whose images are tokens of its rows."
        )
    lengths = features["attention_mask"].sum(-1).tolist()
    shape = features["input_ids"].shape
    extra: dict[str, Any] = {}
    for name, value in features.items():
        if name in ("input_ids", "attention_mask", "labels"):
            continue
        is_per_token = isinstance(value, torch.Tensor) and value.shape == shape and name.endswith("type_ids")
        extra[name] = [r[:n].tolist() for r, n in zip(value, lengths, strict=True)] if is_per_token else value
    ids = [row[:length].tolist() for row, length in zip(features["input_ids"], lengths, strict=True)]
    return ids, extra


def _encode_one_by_one(
    base: Any, texts: list[str], images: Sequence[Sequence[Any]], add_special_tokens: bool
) -> tuple[list[list[int]], dict[str, Any]]:
    if any(images):
        raise ValueError("The tokenizer has no pad token; set tokenizer.pad_token before encoding a batch with images.")
    encoded = [encode_texts(base, [text], [[]], add_special_tokens) for text in texts]
    extra = {name: [rows for _, row_extra in encoded for rows in row_extra[name]] for name in encoded[0][1]}
    return [row for rows, _ in encoded for row in rows], extra


def encode_as_text(tokenizer: PreTrainedTokenizerBase, text: str, control_tokens: Iterable[str]) -> list[int]:
    """Return the ids of a text whose control tokens are read as text.

    `split_special_tokens` keeps added tokens whole that are not special (image placeholders of some families). A text
    that would still write one is cut behind the first character of each control token.
    """

    def encode(part: str) -> list[int]:
        return tokenizer.encode(part, add_special_tokens=False, split_special_tokens=True)

    ids = encode(text)
    control_ids = set(tokenizer.convert_tokens_to_ids(list(control_tokens))) - {tokenizer.unk_token_id}
    if control_ids.isdisjoint(ids):
        return ids
    cuts = {start + 1 for token in control_tokens for start in range(len(text)) if text.startswith(token, start)}
    bounds = sorted(cuts | {0, len(text)})
    return [i for start, end in itertools.pairwise(bounds) for i in encode(text[start:end])]


def is_word(tokenizer: PreTrainedTokenizerBase, token: str) -> bool:
    """Whether plain text can write a token's id: it is not an added token, or is a word of the vocabulary as well."""
    added = {entry.content: entry for entry in tokenizer.added_tokens_decoder.values()}.get(token)
    if added is None or not added.special:  # `split_special_tokens` does not concern tokens that are not special
        return added is None
    ids = tokenizer.encode(token, add_special_tokens=False, split_special_tokens=True)
    return tokenizer.convert_tokens_to_ids(token) in ids


def pad_rows(rows: Sequence[Sequence[float]], value: float, padding_side: str = "right") -> torch.Tensor:
    """Return rows as a (batch, seq) tensor padded with `value`, of floats if `value` or a row has floats."""
    width = max((len(row) for row in rows), default=0)
    if padding_side == "right":
        return torch.tensor([list(row) + [value] * (width - len(row)) for row in rows])
    return torch.tensor([[value] * (width - len(row)) + list(row) for row in rows])


def pad_batch(
    rows: Sequence[Sequence[int]], extra: dict[str, Any], pad_token_id: int, step_type_id: int, padding_side: str
) -> dict[str, Any]:
    """Return id rows as padded (batch, seq) tensors with their mask and `extra`, its token types extended by steps'."""
    features = {
        "input_ids": pad_rows(rows, pad_token_id, padding_side),
        "attention_mask": pad_rows([[1] * len(row) for row in rows], 0, padding_side),
    }
    for name, value in extra.items():
        if isinstance(value, list) and name.endswith("type_ids"):
            whole = [v + [step_type_id] * (len(row) - len(v)) for v, row in zip(value, rows, strict=True)]
            value = pad_rows(whole, 0, padding_side)
        features[name] = value
    return features


def as_batch(images: Any, text: Any, steps: Any) -> tuple[list[str], list[list[Any]], list[Any]]:
    """Return ``(questions, images per question, steps per question)`` of one problem (`text` is a str) or a batch.

    One problem with a list of solutions is a batch that repeats it.
    """
    if text is None:
        raise ValueError("Found no question (text=None). A PRM needs the question's text.")
    if isinstance(text, str):
        solutions = list(steps) if is_list_of_solutions(steps) else [steps]
        return [text] * len(solutions), [_as_list(images)] * len(solutions), solutions
    questions = list(text)
    if not questions:
        raise ValueError("Found no questions (text=[]). A batch needs one problem or more.")
    # One figure that is not in a list belongs to every question, as in transformers' processors.
    image_rows = [images] * len(questions) if images is None or is_figure(images) else list(images)
    step_rows = [None] * len(questions) if steps is None else list(steps)
    if not len(questions) == len(image_rows) == len(step_rows):
        raise ValueError(
            f"Found {len(questions)} questions, {len(image_rows)} image entries and {len(step_rows)} lists of "
            "steps. A batch needs one of each per problem."
        )
    return questions, [_as_list(row) for row in image_rows], step_rows


def is_list_of_solutions(steps: Any) -> bool:
    """Return whether it is a list of solutions, each a list of steps, and not one solution."""
    return isinstance(steps, (list, tuple)) and any(isinstance(entry, (list, tuple)) for entry in steps)


def _as_list(images: Any) -> list[Any]:
    if images is None:
        return []
    return [images] if is_figure(images) or not hasattr(images, "__iter__") else list(images)


def fit_steps(pieces: list[list[int]], max_length: int | None, drop_last_steps: bool, index: int) -> list[list[int]]:
    """Return ``[prompt ids, step ids, ...]`` of row `index`, refused (ValueError) or shortened beyond `max_length`."""
    if max_length is None:
        return pieces
    num_kept = len(pieces)
    while drop_last_steps and num_kept > 2 and sum(map(len, pieces[:num_kept])) > max_length:
        num_kept -= 1
    num_tokens = sum(map(len, pieces[:num_kept]))
    if num_tokens > max_length:
        raise ValueError(
            f"Row {index} has {num_tokens} tokens, more than max_length {max_length}. Rows are never cut inside a "
            "step: raise max_length, shrink the image, or leave out whole steps (drop_last_steps=True leaves out the "
            "last ones; the prompt and one step must fit)."
        )
    if num_kept < len(pieces):
        num_dropped, num_steps = len(pieces) - num_kept, len(pieces) - 1
        message = "Row %d: the last %d of %d steps do not fit into max_length %d and are left out."
        logger.warning(message, index, num_dropped, num_steps, max_length)
    return pieces[:num_kept]
