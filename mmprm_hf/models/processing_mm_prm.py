"""Processor of the process reward model: (images, question, steps) to token ids with a marker after each step.

The only place that spells the PRM's prompt. Steps are tokenised one by one, so a marker never merges with its
neighbours and a prefix of steps is always a prefix of ids. All settings are saved in `processor_config.json`.

This file is part of the portable island: sibling imports only, so that a saved checkpoint carries it.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
import transformers
from huggingface_hub import create_repo
from PIL import Image, UnidentifiedImageError
from transformers import AutoConfig, AutoProcessor, AutoTokenizer, BatchFeature, PreTrainedTokenizerBase
from transformers.dynamic_module_utils import custom_object_save
from transformers.processing_utils import ProcessorMixin

from .configuration_mm_prm import MMPRMConfig

SETTINGS_KEY = "mm_prm"
PLAIN_PROMPT = "{images}{question}\n"


class MMPRMProcessor(ProcessorMixin):
    """Wraps a stock processor (or a bare tokenizer) and writes ``prompt step1 <marker> step2 <marker> ...``.

    The prompt is the policy's own chat template: a user turn with the images, then the question, then the opening of
    the assistant turn. With a `prompt_template` ("{images}{question}\\n") that is used instead.

    Args:
        base_processor: A processor of transformers, or a tokenizer for a text-only model.
        marker_token: Step marker; must be one added token of the tokenizer (`from_policy` adds it).
        positive_token: Token that stands for a right step; one token id.
        negative_token: Token that stands for a wrong step; one token id.
        step_separator: Text between a marker and the next step; tokenised by itself.
        prompt_template: Text with "{images}" (optional) and "{question}", or None for the chat template.
        marker_added: True if the policy's own vocabulary did not hold the marker.

    Raises:
        ValueError: if a token is not one id, or there is neither chat template nor prompt template.

    Example:
        >>> processor = MMPRMProcessor.from_policy("path/to/policy")  # doctest: +SKIP
        >>> processor(images=figure, text="What is x?", steps=["x = 2 + 3", "x = 5"])["input_ids"]  # doctest: +SKIP
    """

    _auto_class = "AutoProcessor"

    def __init__(
        self,
        base_processor: Any,
        marker_token: str = "<prm>",
        positive_token: str = "Yes",
        negative_token: str = "No",
        step_separator: str = "",
        prompt_template: str | None = None,
        marker_added: bool = False,
    ):
        self.base_processor = base_processor
        self.marker_token = marker_token
        self.positive_token = positive_token
        self.negative_token = negative_token
        self.step_separator = step_separator
        self.prompt_template = prompt_template
        self.marker_added = marker_added
        if prompt_template is None and not getattr(base_processor, "chat_template", None):
            raise ValueError(
                f"{type(base_processor).__name__} has no chat template and prompt_template is None. "
                f"Give a prompt_template, for example {PLAIN_PROMPT!r}."
            )
        if prompt_template is not None and "{question}" not in prompt_template:
            raise ValueError(f'prompt_template {prompt_template!r} does not contain "{{question}}".')
        self.marker_token_id = _single_token_id(self.tokenizer, marker_token)
        self.positive_token_id = _single_token_id(self.tokenizer, positive_token)
        self.negative_token_id = _single_token_id(self.tokenizer, negative_token)
        self._control_tokens = _control_tokens(base_processor, self.tokenizer, marker_token)

    # Construction, saving, loading

    @classmethod
    def from_policy(
        cls,
        policy: str | os.PathLike | Any,
        marker_token: str = "<prm>",
        positive_token: str = "Yes",
        negative_token: str = "No",
        step_separator: str = "",
        prompt_template: str | None = None,
    ) -> MMPRMProcessor:
        """Processor for the PRM of a policy; adds the marker to the tokenizer where it is missing.

        Args:
            policy: Path or hub id of the policy, or its processor or tokenizer (which is changed if the marker is new).
            marker_token, positive_token, negative_token, step_separator, prompt_template: As in the class. Without a
                chat template the prompt is "{images}{question}\\n".
        """
        base = AutoProcessor.from_pretrained(policy) if isinstance(policy, (str, os.PathLike)) else policy
        if isinstance(base, MMPRMProcessor):
            raise ValueError("This is a PRM's processor already, not a policy's. Use it as it is.")
        tokenizer = _tokenizer_of(base)
        marker_added = marker_token not in tokenizer.get_vocab()
        tokenizer.add_special_tokens({"extra_special_tokens": [marker_token]}, replace_extra_special_tokens=False)
        if prompt_template is None and not getattr(base, "chat_template", None):
            prompt_template = PLAIN_PROMPT
        return cls(
            base,
            marker_token=marker_token,
            positive_token=positive_token,
            negative_token=negative_token,
            step_separator=step_separator,
            prompt_template=prompt_template,
            marker_added=marker_added,
        )

    def to_dict(self) -> dict[str, Any]:
        """What `processor_config.json` holds: the stock processor's settings and ours under "mm_prm"."""
        is_processor = isinstance(self.base_processor, ProcessorMixin)
        settings = {
            "base_processor_class": type(self.base_processor).__name__ if is_processor else None,
            "marker_token": self.marker_token,
            "positive_token": self.positive_token,
            "negative_token": self.negative_token,
            "step_separator": self.step_separator,
            "prompt_template": self.prompt_template,
            "marker_added": self.marker_added,
        }
        base = self.base_processor.to_dict() if is_processor else {}
        return {**base, "processor_class": type(self).__name__, SETTINGS_KEY: settings}

    def save_pretrained(self, save_directory: str | os.PathLike, push_to_hub: bool = False, **kwargs) -> list[str]:
        """Writes tokenizer, image processor, prompt and code into a folder (`kwargs` go to the upload)."""
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        files_timestamps = self._get_files_timestamps(save_directory) if push_to_hub else None
        self.base_processor.save_pretrained(save_directory)
        path = folder / "processor_config.json"
        settings = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        own = self.to_dict()
        settings.update({"processor_class": own["processor_class"], SETTINGS_KEY: own[SETTINGS_KEY]})
        custom_object_save(self, save_directory, config=settings)
        path.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        if push_to_hub:
            commit_message = kwargs.pop("commit_message", None)
            repo_id = kwargs.pop("repo_id", folder.name)
            repo_id = create_repo(repo_id, exist_ok=True, **kwargs).repo_id
            self._upload_modified_files(
                save_directory, repo_id, files_timestamps, commit_message=commit_message, token=kwargs.get("token")
            )
        return [str(path)]

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike, **kwargs) -> MMPRMProcessor:
        """Loads what `save_pretrained` wrote; `kwargs` are those of any `from_pretrained`.

        Raises:
            ValueError: if the folder holds no PRM processor.
        """
        kwargs.pop("_from_auto", None)
        processor_dict, _ = cls.get_processor_dict(pretrained_model_name_or_path, **kwargs)
        settings = processor_dict.get(SETTINGS_KEY)
        if settings is None:
            raise ValueError(
                f"{str(pretrained_model_name_or_path)!r} holds no PRM processor (no {SETTINGS_KEY!r} entry in "
                "processor_config.json). For a policy use MMPRMProcessor.from_policy."
            )
        settings = dict(settings)
        base_class = settings.pop("base_processor_class")
        if not kwargs.get("trust_remote_code"):
            # AutoTokenizer reads config.json too and would ask to run its code, which is already imported here.
            AutoConfig.register(MMPRMConfig.model_type, MMPRMConfig, exist_ok=True)
        loader = AutoTokenizer if base_class is None else getattr(transformers, base_class)
        return cls(loader.from_pretrained(pretrained_model_name_or_path, **kwargs), **settings)

    # What other code expects of a processor

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer, marker included."""
        return _tokenizer_of(self.base_processor)

    @property
    def image_processor(self) -> Any:
        """The stock image processor, None for a text-only model."""
        return getattr(self.base_processor, "image_processor", None)

    @property
    def chat_template(self) -> str | None:
        """The policy's chat template."""
        return getattr(self.base_processor, "chat_template", None)

    @property
    def model_input_names(self) -> list[str]:
        """Names of the tensors that `__call__` returns."""
        return list(self.base_processor.model_input_names)

    @property
    def pad_token_id(self) -> int:
        """Id used for padding; never the marker's."""
        tokenizer = self.tokenizer
        ids = [tokenizer.pad_token_id, tokenizer.eos_token_id, 0, 1]
        return next(i for i in ids if i is not None and i != self.marker_token_id)

    # Encoding

    def render_prompt(self, question: str, num_images: int = 0) -> str:
        """The prompt as text, with one placeholder per image.

        Raises:
            ValueError: if the question is empty, holds a control token, or images are given to a text-only model.
        """
        if not isinstance(question, str) or not question.strip():
            raise ValueError(f"Found an empty question ({question!r}). A PRM needs the question's text.")
        self.check_text(question, "question")
        if num_images and self.image_processor is None:
            raise ValueError(
                f"Found {num_images} images, but this PRM is text-only ({type(self.base_processor).__name__}). "
                "Leave the images out or use a vision-language PRM."
            )
        if self.prompt_template is not None:
            images = getattr(self.base_processor, "image_token", "") * num_images
            return self.prompt_template.replace("{images}", images).replace("{question}", question)
        content: Any = question
        if self.image_processor is not None:
            content = [{"type": "image"}] * num_images + [{"type": "text", "text": question}]
        messages = [{"role": "user", "content": content}]
        return self.base_processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)

    def check_text(self, text: str, what: str) -> None:
        """Refuses text that holds a control token (marker, image placeholder, any special token).

        Raises:
            ValueError: naming the token.
        """
        for token in self._control_tokens:
            if token in text:
                raise ValueError(
                    f"Found the control token {token!r} inside the {what}: {text[:80]!r}. Text may not write markers, "
                    "image placeholders or special tokens; remove or rewrite it."
                )

    def check_step(self, step: str, step_index: int, control_tokens: Literal["refuse", "as_text"] = "refuse") -> None:
        """Refuses an empty step and (under "refuse") one with a control token.

        Raises:
            ValueError: naming `step_index`.
        """
        if not isinstance(step, str) or not step.strip():
            raise ValueError(f"Found an empty step ({step!r}) at step_index {step_index}. Leave out empty steps.")
        if control_tokens == "refuse":
            self.check_text(step, f"step with step_index {step_index}")

    def encode_steps(
        self, steps: Sequence[str], control_tokens: Literal["refuse", "as_text"] = "refuse"
    ) -> list[list[int]]:
        """Token ids of every step, each ending in the marker (the separator opens every step but the first).

        Args:
            steps: Step texts, in order.
            control_tokens: "refuse" raises on a marker or special token inside a step; "as_text" tokenises such a
                step as plain text, so that it can never write a marker (for text that a policy sampled).

        Returns:
            One list of ids per step; the last id of each is the marker's.

        Raises:
            ValueError: on an empty step or (under "refuse") a control token.
        """
        if isinstance(steps, str):
            raise ValueError(f"Found a str as steps ({steps[:80]!r}). Steps are a list of strings, one per step.")
        for index, step in enumerate(steps):
            self.check_step(step, index, control_tokens)
        if not steps:
            return []
        ids = self.tokenizer(list(steps), add_special_tokens=False)["input_ids"]
        separator = self.tokenizer.encode(self.step_separator, add_special_tokens=False) if self.step_separator else []
        encoded = []
        for index, (step, step_ids) in enumerate(zip(steps, ids, strict=True)):
            if control_tokens == "as_text" and any(token in step for token in self._control_tokens):
                step_ids = self.tokenizer.encode(step, add_special_tokens=False, split_special_tokens=True)
            assert self.marker_token_id not in step_ids, "a step wrote a marker"
            encoded.append((separator if index else []) + list(step_ids) + [self.marker_token_id])
        return encoded

    def encode_prompts(self, questions: Sequence[str], images: Sequence[Sequence[Any]]) -> tuple[list[list[int]], dict]:
        """Unpadded prompt ids per problem, and the vision inputs of all of them together.

        Args:
            questions: One question per problem.
            images: Images per problem, maybe none: PIL images, paths, or {"bytes", "path"} dicts.

        Returns:
            ``(prompt ids, extra)``: `extra` holds the stock processor's other tensors; those shaped (batch, seq) are
            given as lists of per-row lists under their own name.

        Raises:
            ValueError: on an empty question, a control token in it, or an image that cannot be read.
        """
        texts = [self.render_prompt(question, len(row)) for question, row in zip(questions, images, strict=True)]
        loaded = [[load_image(image) for image in row] for row in images]
        text_kwargs: dict[str, Any] = {"padding": True, "padding_side": "right", "return_tensors": "pt"}
        bos = self.tokenizer.bos_token
        is_chat = self.prompt_template is None
        if is_chat and (self.image_processor is None or (bos is not None and texts[0].startswith(bos))):
            text_kwargs["add_special_tokens"] = False
        if self.tokenizer.pad_token_id is None and len(texts) > 1:
            raise ValueError("The tokenizer has no pad token; set tokenizer.pad_token before encoding a batch.")
        if self.tokenizer.pad_token_id is None:
            text_kwargs["padding"] = False
        if self.image_processor is None:
            features = self.base_processor(texts, **text_kwargs)
        else:
            nested = loaded if any(loaded) else None
            features = self.base_processor(images=nested, text=texts, **text_kwargs)
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

    def __call__(
        self,
        images: Any = None,
        text: str | Sequence[str] | None = None,
        steps: Sequence[str] | Sequence[Sequence[str]] | None = None,
        padding_side: Literal["right", "left"] = "right",
        max_length: int | None = None,
        control_tokens: Literal["refuse", "as_text"] = "refuse",
    ) -> BatchFeature:
        """Model inputs for one problem or a batch.

        Args:
            images: For one problem: an image, a list of images, or None. For a batch: a list with such an entry each.
            text: The question, or a list of questions (then everything is a batch).
            steps: The steps, or a list of steps per question; None gives the prompt alone.
            padding_side: Where short rows are padded.
            max_length: Most tokens per row; None for no limit. Rows are never cut.
            control_tokens: As in `encode_steps`.

        Returns:
            `input_ids`, `attention_mask` (batch, seq) and the stock processor's vision tensors.

        Raises:
            ValueError: on bad text or images, sizes that do not fit, or a row longer than `max_length`.
        """
        is_single = isinstance(text, str)
        if text is None:
            raise ValueError("Found no question (text=None). A PRM needs the question's text.")
        questions = [text] if is_single else list(text)
        image_rows = [images] if is_single else ([None] * len(questions) if images is None else list(images))
        step_rows = [steps] if is_single else ([None] * len(questions) if steps is None else list(steps))
        if not len(questions) == len(image_rows) == len(step_rows):
            raise ValueError(
                f"Found {len(questions)} questions, {len(image_rows)} image entries and {len(step_rows)} lists of "
                "steps. A batch needs one of each per problem."
            )
        image_rows = [_as_list(row) for row in image_rows]
        prompts, extra = self.encode_prompts(questions, image_rows)
        suffixes = [sum(self.encode_steps(row or [], control_tokens), []) for row in step_rows]
        rows = [prompt + suffix for prompt, suffix in zip(prompts, suffixes, strict=True)]
        for index, row in enumerate(rows):
            if max_length is not None and len(row) > max_length:
                raise ValueError(
                    f"Row {index} has {len(row)} tokens, more than max_length {max_length}. Rows are never cut: raise "
                    "max_length, shrink the image, or leave out whole steps."
                )
        return self.pad(rows, extra, padding_side)

    def pad(self, rows: list[list[int]], extra: dict, padding_side: Literal["right", "left"] = "right") -> BatchFeature:
        """Pads id rows to (batch, seq) tensors and adds the `extra` of `encode_prompts` (type ids of steps are 0)."""
        features = {
            "input_ids": pad_rows(rows, self.pad_token_id, padding_side),
            "attention_mask": pad_rows([[1] * len(row) for row in rows], 0, padding_side),
        }
        for name, value in extra.items():
            if isinstance(value, list) and name.endswith("type_ids"):
                value = pad_rows(
                    [v + [0] * (len(r) - len(v)) for v, r in zip(value, rows, strict=True)], 0, padding_side
                )
            features[name] = value
        return BatchFeature(features)


def pad_rows(rows: Sequence[Sequence[float]], value: float, padding_side: str = "right") -> torch.Tensor:
    """Stacks rows of unequal length into a (batch, seq) tensor padded with `value`; float if `value` or a row is."""
    width = max((len(row) for row in rows), default=0)
    if padding_side == "right":
        return torch.tensor([list(row) + [value] * (width - len(row)) for row in rows])
    return torch.tensor([[value] * (width - len(row)) + list(row) for row in rows])


def _tokenizer_of(base: Any) -> PreTrainedTokenizerBase:
    return base if isinstance(base, PreTrainedTokenizerBase) else base.tokenizer


def _as_list(images: Any) -> list[Any]:
    if images is None:
        return []
    return list(images) if isinstance(images, (list, tuple)) else [images]


def _single_token_id(tokenizer: PreTrainedTokenizerBase, token: str) -> int:
    """Id of a token that must be exactly one entry of the vocabulary."""
    vocab = tokenizer.get_vocab()
    if token in vocab:
        return vocab[token]
    ids = tokenizer.encode(token, add_special_tokens=False)
    if len(ids) != 1 or ids[0] == tokenizer.unk_token_id:
        raise ValueError(
            f"Token {token!r} is {len(ids)} ids of the tokenizer ({ids}), expected exactly one known id. "
            "Choose another token, or add it to the vocabulary."
        )
    return ids[0]


def _control_tokens(base: Any, tokenizer: PreTrainedTokenizerBase, marker_token: str) -> tuple[str, ...]:
    """Texts that questions and steps may not contain."""
    special = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    special |= {marker_token, getattr(base, "image_token", None) or marker_token}
    return tuple(sorted(token for token in special if token.strip()))


def load_image(image: Any, decode: bool = True) -> Image.Image:
    """An RGB image from a PIL image, a path, or the {"bytes", "path"} form of `datasets`.

    Args:
        image: The source.
        decode: False only opens it (enough for its size).

    Raises:
        ValueError: if it does not exist, is no image, or is cut.
    """
    if isinstance(image, dict):
        image = io.BytesIO(image["bytes"]) if image.get("bytes") is not None else image.get("path")
    if isinstance(image, (str, os.PathLike)) and not os.path.isfile(image):
        raise ValueError(f"Image {str(image)!r} does not exist. Give a readable image file or a PIL image.")
    if not isinstance(image, (str, os.PathLike, io.BytesIO, Image.Image)):
        raise ValueError(f"Found an image of type {type(image).__name__}. Give a PIL image or a path.")
    try:
        opened = image if isinstance(image, Image.Image) else Image.open(image)
        return opened.convert("RGB") if decode else opened
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        name = str(image) if isinstance(image, (str, os.PathLike)) else "given as bytes"
        raise ValueError(f"Image {name!r} cannot be read ({error}). Give a whole image file or a PIL image.") from error


__all__ = ["MMPRMProcessor", "load_image", "pad_rows"]
