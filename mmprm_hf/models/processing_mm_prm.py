"""Processor of the process reward model: (images, question, steps) to token ids with a marker after each step.

The only place that writes the PRM's token ids (`prompts_mm_prm` holds the prompt's text). A marker never merges with
its neighbours, and a prefix of steps is always a prefix of ids. All settings are saved in `processor_config.json`.

This file is part of the portable island: sibling imports only, so that a saved checkpoint carries it.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from transformers import AutoConfig, BatchFeature, PreTrainedTokenizerBase
from transformers.dynamic_module_utils import custom_object_save
from transformers.processing_utils import ProcessorMixin

from .configuration_mm_prm import MMPRMConfig
from .encoding_mm_prm import as_batch, check_step_ids, encode_as_text, encode_texts, fit_steps, is_word, pad_batch

# Loading remote code copies a file's direct siblings only, so that their own ones are named here too.
from .images_mm_prm import load_image  # noqa: F401
from .prompts_mm_prm import PLAIN_PROMPT, PromptShape, check_text, find_dialect, split_tail
from .stock_mm_prm import (
    control_tokens_of,
    image_backend_of,
    load_base_processor,
    load_policy_processor,
    single_token_id,
    tokenizer_of,
)

SETTINGS_KEY = "mm_prm"
TILED_PROCESSOR = "MMPRMTiledProcessor"  # the island's own base processor, of converted InternVL checkpoints
_SHAPE_FIELDS = tuple(field.name for field in dataclasses.fields(PromptShape))
# Token type of what follows the prompt: PaliGemma reads 0 as "prefix, attends both ways", 1 as "causal".
_STEP_TYPE_IDS = {"PaliGemmaProcessor": 1}

ControlTokens = Literal["refuse", "as_text"]


class MMPRMProcessor(ProcessorMixin):
    """Wraps a stock processor (or a bare tokenizer) and writes ``prompt step1 <marker> step2 <marker> ...``.

    The prompt is the policy's own chat template: a user turn with the images, then the question, then the opening of
    the assistant turn. With a `prompt_template` ("{images}{question}\\n") that is used instead.

    Args:
        base_processor: A processor of transformers, or a tokenizer for a text-only model.
        marker_token: Step marker; must be one added token of the tokenizer (`from_policy` adds it).
        positive_token: Token that stands for a right step; one token id.
        negative_token: Token that stands for a wrong step; one token id.
        step_separator: Text between a marker and the next step.
        prompt_template: Text with "{images}" (optional) and "{question}", or None for the chat template.
        image_separator, question_image_token, join_before_tokenizing: As in `PromptShape`.
        dialect: Name of a prompt shape of published MM-PRM, "train" or "reference_eval"; replaces the five settings
            above. See `DIALECTS`.
        marker_added: True if the policy's own vocabulary did not hold the marker.

    Raises:
        ValueError: if a token is not one id, there is neither chat template nor prompt template, or the dialect is
            unknown.

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
        image_separator: str = "",
        question_image_token: str | None = None,
        join_before_tokenizing: bool = False,
        dialect: str | None = None,
        marker_added: bool = False,
    ):
        self.base_processor = base_processor
        self.marker_token = marker_token
        self.positive_token = positive_token
        self.negative_token = negative_token
        self.dialect = dialect
        self.shape = (
            PromptShape(prompt_template, step_separator, image_separator, question_image_token, join_before_tokenizing)
            if dialect is None
            else find_dialect(dialect)
        )
        self.marker_added = marker_added
        if self.shape.prompt_template is None and not getattr(base_processor, "chat_template", None):
            raise ValueError(
                f"{type(base_processor).__name__} has no chat template and prompt_template is None. "
                f"Give a prompt_template, for example {PLAIN_PROMPT!r}."
            )
        self.marker_token_id = single_token_id(self.tokenizer, marker_token)
        self.positive_token_id = single_token_id(self.tokenizer, positive_token)
        self.negative_token_id = single_token_id(self.tokenizer, negative_token)
        self._control_tokens = control_tokens_of(base_processor, self.tokenizer, marker_token)

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
        **kwargs: Any,
    ) -> MMPRMProcessor:
        """Processor for the PRM of a policy; adds the marker to the tokenizer where it is missing.

        Args:
            policy: Path or hub id of the policy, or its processor or tokenizer (which is changed if the marker is new).
            marker_token, positive_token, negative_token, step_separator, prompt_template: As in the class. Without a
                chat template the prompt is "{images}{question}\\n".
            **kwargs: For `AutoProcessor.from_pretrained` (revision, token, min_pixels, ...), where `policy` is a path.

        Raises:
            ImportError: if the policy's own processor needs torchvision and that is missing.
        """
        base = load_policy_processor(policy, **kwargs) if isinstance(policy, (str, os.PathLike)) else policy
        if isinstance(base, MMPRMProcessor):
            raise ValueError("This is a PRM's processor already, not a policy's. Use it as it is.")
        tokenizer = tokenizer_of(base)
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
            "image_backend": image_backend_of(self.base_processor),
            **dataclasses.asdict(self.shape),
            "dialect": self.dialect,
            "marker_added": self.marker_added,
        }
        base = self.base_processor.to_dict() if is_processor else {}
        return {**base, "processor_class": type(self).__name__, SETTINGS_KEY: settings}

    def save_pretrained(self, save_directory: str | os.PathLike, push_to_hub: bool = False, **kwargs) -> list[str]:
        """Writes tokenizer, image processor, prompt and code into a folder (`kwargs` go to `push_to_hub`)."""
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        self.base_processor.save_pretrained(save_directory)
        path = folder / "processor_config.json"
        settings = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        own = self.to_dict()
        settings.update({"processor_class": own["processor_class"], SETTINGS_KEY: own[SETTINGS_KEY]})
        custom_object_save(self, save_directory, config=settings)
        path.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        if push_to_hub:
            self.push_to_hub(kwargs.pop("repo_id", folder.name), **kwargs)
        return [str(path)]

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike, dialect: str | None = None, **kwargs
    ) -> MMPRMProcessor:
        """Loads what `save_pretrained` wrote.

        Args:
            pretrained_model_name_or_path: Folder or hub id.
            dialect: Read the prompt in this dialect ("train", "reference_eval") and not in the saved one.
            **kwargs: Those of any `from_pretrained`.

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
        backend = settings.pop("image_backend", None)
        saved_dialect = settings.pop("dialect", None)
        if dialect is not None or saved_dialect is not None:
            settings = {name: value for name, value in settings.items() if name not in _SHAPE_FIELDS}
            settings["dialect"] = dialect or saved_dialect
        if not kwargs.get("trust_remote_code"):
            # AutoTokenizer reads config.json too and would ask to run its code, which is already imported here.
            AutoConfig.register(MMPRMConfig.model_type, MMPRMConfig, exist_ok=True)
        if base_class == TILED_PROCESSOR:
            from .tiled_processing_mm_prm import MMPRMTiledProcessor  # late: the model's remote code has no copy of it

            return cls(MMPRMTiledProcessor.from_pretrained(pretrained_model_name_or_path, **kwargs), **settings)
        base = load_base_processor(base_class, pretrained_model_name_or_path, backend, **kwargs)
        return cls(base, **settings)

    # What other code expects of a processor

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer, marker included."""
        return tokenizer_of(self.base_processor)

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
    def step_separator(self) -> str:
        """Text between a marker and the next step."""
        return self.shape.step_separator

    @property
    def prompt_template(self) -> str | None:
        """The prompt's text with places for images and question; None for the policy's chat template."""
        return self.shape.prompt_template

    @property
    def marker_is_word(self) -> bool:
        """Whether plain text can write the marker's id: it is an ordinary word of the vocabulary."""
        return is_word(self.tokenizer, self.marker_token)

    @property
    def step_type_id(self) -> int:
        """Token type id of steps, for backbones that read token types."""
        return _STEP_TYPE_IDS.get(type(self.base_processor).__name__, 0)

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
        marked = self.shape.question_image_token
        check_text(question.replace(marked, "") if marked else question, "question", self._control_tokens)
        if num_images and self.image_processor is None:
            raise ValueError(
                f"Found {num_images} images, but this PRM is text-only ({type(self.base_processor).__name__}). "
                "Leave the images out or use a vision-language PRM."
            )
        if self.shape.prompt_template is not None:
            return self.shape.render(question, getattr(self.base_processor, "image_token", ""), num_images)
        content: Any = question
        if self.image_processor is not None:
            content = [{"type": "image"}] * num_images + [{"type": "text", "text": question}]
        messages = [{"role": "user", "content": content}]
        return self.base_processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)

    def split_prompt(self, question: str, num_images: int = 0) -> tuple[str, str]:
        """``(head, tail)`` of `render_prompt`: the tail is tokenised together with the first step.

        The tail is empty unless the prompt's shape joins before tokenizing.
        """
        prompt = self.render_prompt(question, num_images)
        return split_tail(prompt, self._control_tokens) if self.shape.join_before_tokenizing else (prompt, "")

    def check_step(self, step: str, step_index: int, control_tokens: ControlTokens = "refuse") -> None:
        """Refuses an empty step and (under "refuse") one with a control token.

        Raises:
            ValueError: naming `step_index`.
        """
        if not isinstance(step, str) or not step.strip():
            raise ValueError(f"Found an empty step ({step!r}) at step_index {step_index}. Leave out empty steps.")
        if control_tokens == "refuse":
            check_text(step, f"step with step_index {step_index}", self._control_tokens)

    def encode_steps(
        self, steps: Sequence[str], control_tokens: ControlTokens = "refuse", tail: str = ""
    ) -> list[list[int]]:
        """Token ids of every step, each ending in the marker (the separator opens every step but the first).

        Args:
            steps: Step texts, in order.
            control_tokens: "refuse" raises on a marker or special token inside a step; "as_text" tokenises such a
                step as plain text, so that it can never write a marker (for text that a policy sampled).
            tail: The prompt's tail (of `split_prompt`), which opens the first step.

        Returns:
            One list of ids per step; the last id of each is the marker's.

        Raises:
            ValueError: on an empty step, (under "refuse") a control token, or a step whose plain text is tokenised to
                the marker (`marker_is_word`).
        """
        if isinstance(steps, str):
            raise ValueError(f"Found a str as steps ({steps[:80]!r}). Steps are a list of strings, one per step.")
        for index, step in enumerate(steps):
            self.check_step(step, index, control_tokens)
        if not steps:
            return []
        separator = self.step_separator
        if self.shape.join_before_tokenizing:
            pieces = [(separator if index else tail) + step for index, step in enumerate(steps)]
            opening: list[int] = []
        else:
            pieces = list(steps)
            opening = self.tokenizer.encode(separator, add_special_tokens=False) if separator else []
        ids = self.tokenizer(pieces, add_special_tokens=False)["input_ids"]
        refused = [self.marker_token, *filter(None, [getattr(self.base_processor, "image_token", None)])]
        encoded = []
        for index, (piece, piece_ids) in enumerate(zip(pieces, ids, strict=True)):
            if control_tokens == "as_text" and any(token in steps[index] for token in self._control_tokens):
                piece_ids = encode_as_text(self.tokenizer, piece, self._control_tokens)
            check_step_ids(self.tokenizer, piece_ids, refused, step=steps[index], step_index=index)
            encoded.append((opening if index else []) + list(piece_ids) + [self.marker_token_id])
        return encoded

    def encode_solutions(
        self,
        questions: Sequence[str],
        images: Sequence[Sequence[Any]],
        solutions: Sequence[Sequence[Sequence[str]]],
        control_tokens: ControlTokens = "refuse",
    ) -> tuple[list[list[list[list[int]]]], dict]:
        """Unpadded ids of several solutions per problem, cut at the markers, and the problems' vision inputs.

        Args:
            questions: One question per problem.
            images: Images per problem, maybe none: PIL images, paths, or {"bytes", "path"} dicts.
            solutions: Per problem a list of solutions, each a list of steps (empty: the prompt alone).
            control_tokens: As in `encode_steps`.

        Returns:
            ``(rows, extra)``: ``rows[p][k]`` is the list ``[prompt ids, step ids, ...]`` of solution k of problem p,
            each step ending in its marker; joined, they are the model's row. The first element is the same for all
            solutions of a problem that have steps. `extra` as in `encode_prompts`, of the problems.

        Raises:
            ValueError: on bad text or an image that cannot be read.
        """
        parts = [self.split_prompt(question, len(row)) for question, row in zip(questions, images, strict=True)]
        prompts, extra = self._encode_prompt_texts([head for head, _ in parts], images)
        rows = []
        for (_, tail), prompt, problem_solutions in zip(parts, prompts, solutions, strict=True):
            problem_rows = []
            for steps in problem_solutions:
                whole = prompt if steps or not tail else prompt + self.tokenizer.encode(tail, add_special_tokens=False)
                problem_rows.append([whole, *self.encode_steps(steps, control_tokens, tail)])
            rows.append(problem_rows)
        return rows, extra

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
        return self._encode_prompt_texts(texts, images)

    def _encode_prompt_texts(self, texts: list[str], images: Sequence[Sequence[Any]]) -> tuple[list[list[int]], dict]:
        bos, is_chat = self.tokenizer.bos_token, self.shape.prompt_template is None
        # A chat template may write the BOS itself; a bare tokenizer's always says all that is wanted.
        is_complete = is_chat and (self.image_processor is None or (bos is not None and texts[0].startswith(bos)))
        return encode_texts(self.base_processor, texts, images, add_special_tokens=not is_complete)

    def __call__(
        self,
        images: Any = None,
        text: str | Sequence[str] | None = None,
        steps: Sequence[str] | Sequence[Sequence[str]] | None = None,
        padding_side: Literal["right", "left"] = "right",
        max_length: int | None = None,
        drop_last_steps: bool = False,
        control_tokens: ControlTokens = "refuse",
    ) -> BatchFeature:
        """Model inputs for one problem or a batch.

        Args:
            images: For one problem: an image, a list of images, or None. For a batch: a list with such an entry each.
            text: The question, or a list of questions (then everything is a batch).
            steps: The steps, or a list of steps per question; None gives the prompt alone.
            padding_side: Where short rows are padded.
            max_length: Most tokens per row; None for no limit. A longer row is an error, unless:
            drop_last_steps: Leave out whole steps at a row's end until it fits (logged; such a row has fewer markers
                than steps). Nothing is ever cut inside a step.
            control_tokens: As in `encode_steps`.

        Returns:
            `input_ids`, `attention_mask` (batch, seq) and the stock processor's vision tensors.

        Raises:
            ValueError: on bad text or images, sizes that do not fit, or a row longer than `max_length`.
        """
        questions, image_rows, step_rows = as_batch(images, text, steps)
        solutions = [[row or []] for row in step_rows]
        rows, extra = self.encode_solutions(questions, image_rows, solutions, control_tokens)
        fitted = [fit_steps(row, max_length, drop_last_steps, index) for index, (row,) in enumerate(rows)]
        id_rows = [[i for piece in pieces for i in piece] for pieces in fitted]
        return self.pad(id_rows, extra, padding_side)

    def pad(self, rows: list[list[int]], extra: dict, padding_side: Literal["right", "left"] = "right") -> BatchFeature:
        """Pads id rows to (batch, seq) tensors and adds the `extra` of `encode_prompts`."""
        return BatchFeature(pad_batch(rows, extra, self.pad_token_id, self.step_type_id, padding_side))


__all__ = ["MMPRMProcessor"]
