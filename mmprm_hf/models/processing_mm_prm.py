"""Processor of the process reward model: (images, question, steps) to model inputs, with a marker after each step.

`solutions_mm_prm` writes the token ids; here they are batched, and all settings saved to `processor_config.json`.
Part of the portable island, which is copied into checkpoints: imports siblings only.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from transformers import AutoConfig, BatchFeature
from transformers.dynamic_module_utils import custom_object_save
from transformers.processing_utils import ProcessorMixin

from .configuration_mm_prm import MMPRMConfig
from .encoding_mm_prm import as_batch, fit_steps, pad_batch

# Loading remote code copies a file's direct siblings only, so the siblings' own ones are named here too (noqa).
from .fetching_mm_prm import fetch  # noqa: F401
from .figure_sources_mm_prm import figure_source  # noqa: F401
from .images_mm_prm import load_image
from .places_mm_prm import split_question  # noqa: F401
from .prompts_mm_prm import PLAIN_PROMPT, PromptFormat, find_prompt_format
from .solutions_mm_prm import ControlTokens, SolutionEncoder
from .stock_mm_prm import (
    image_backend_of,
    load_base_processor,
    load_policy_processor,
    single_token_id,
    tokenizer_of,
)

logger = logging.getLogger(__name__)

_SETTINGS_KEY = "mm_prm"
_TILED_PROCESSOR = "MMPRMTiledProcessor"  # the island's own base processor, of converted InternVL checkpoints
# Token type of what follows the prompt: PaliGemma reads 0 as "prefix, attends both ways", 1 as "causal".
_STEP_TYPE_IDS = {"PaliGemmaProcessor": 1}


class MMPRMProcessor(SolutionEncoder, ProcessorMixin):
    """Wraps a stock processor (or a bare tokenizer) and writes ``prompt step1 <marker> step2 <marker> ...``.

    The prompt is the policy's own chat template: a user turn with the images and then the question, and the opening of
    the assistant turn. With a `prompt_template` ("{images}{question}\\n"), that is used instead.

    Args:
        base_processor: A processor of transformers, or a tokenizer for a text-only model.
        marker_token: Step marker; must be one added token of the tokenizer (`from_policy` adds it).
        positive_token: Token that stands for a right step; one token id.
        negative_token: Token that stands for a wrong step; one token id.
        step_separator, prompt_template, image_separator, question_image_token, join_before_tokenizing: As in
            `PromptFormat`.
        prompt_format: Name of a prompt format of published MM-PRM, "train" or "reference_eval" (see `PROMPT_FORMATS`);
            it replaces these five settings. None keeps them.
        marker_added: Whether the marker is missing in the policy's own vocabulary.

    Raises:
        ValueError: if a token is not one id, there is neither chat template nor prompt template, or the prompt format
            is unknown.

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
        prompt_format: str | None = None,
        marker_added: bool = False,
    ):
        settings = (prompt_template, step_separator, image_separator, question_image_token, join_before_tokenizing)
        prompt = PromptFormat(*settings) if prompt_format is None else find_prompt_format(prompt_format)
        super().__init__(base_processor, prompt, marker_token)
        self.prompt_format = prompt_format
        self.positive_token = positive_token
        self.negative_token = negative_token
        self.positive_token_id = single_token_id(self.tokenizer, positive_token)
        self.negative_token_id = single_token_id(self.tokenizer, negative_token)
        self.marker_added = marker_added

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
        """Return the processor for the PRM of a policy; the marker is added to the tokenizer if it is missing.

        Args:
            policy: Path or hub id of the policy, or its processor or tokenizer (which is changed if the marker is new).
            marker_token, positive_token, negative_token, step_separator, prompt_template: As in the class. Without a
                chat template the prompt is "{images}{question}\\n".
            **kwargs: For `AutoProcessor.from_pretrained` (revision, token, min_pixels, ...), if `policy` is a path.

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
        """Return what `processor_config.json` contains: the stock processor's settings, and ours under "mm_prm"."""
        is_processor = isinstance(self.base_processor, ProcessorMixin)
        settings = {
            "base_processor_class": type(self.base_processor).__name__ if is_processor else None,
            "marker_token": self.marker_token,
            "positive_token": self.positive_token,
            "negative_token": self.negative_token,
            "image_backend": image_backend_of(self.base_processor),
            **dataclasses.asdict(self.prompt),
            "prompt_format": self.prompt_format,
            "marker_added": self.marker_added,
        }
        base = self.base_processor.to_dict() if is_processor else {}
        return {**base, "processor_class": type(self).__name__, _SETTINGS_KEY: settings}

    def save_pretrained(self, save_directory: str | os.PathLike, push_to_hub: bool = False, **kwargs) -> list[str]:
        """Write tokenizer, image processor, prompt and code into a folder; `kwargs` are for `push_to_hub`."""
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        self.base_processor.save_pretrained(save_directory)
        path = folder / "processor_config.json"
        settings = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        settings |= {name: self.to_dict()[name] for name in ("processor_class", _SETTINGS_KEY)}
        custom_object_save(self, save_directory, config=settings)
        path.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        if push_to_hub:
            self.push_to_hub(kwargs.pop("repo_id", folder.name), **kwargs)
        return [str(path)]

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike, prompt_format: str | None = None, **kwargs
    ) -> MMPRMProcessor:
        """Load what `save_pretrained` wrote.

        Args:
            pretrained_model_name_or_path: Folder or hub id.
            prompt_format: Show solutions in this format of published MM-PRM ("train", "reference_eval"); None keeps
                the saved one.
            **kwargs: Those of any `from_pretrained`.

        Raises:
            ValueError: if the folder is not a PRM.
        """
        path = pretrained_model_name_or_path
        kwargs.pop("_from_auto", None)
        processor_dict, _ = cls.get_processor_dict(path, **kwargs)
        if _SETTINGS_KEY not in processor_dict:
            raise ValueError(
                f"{str(path)!r} is not a PRM: its processor_config.json has no {_SETTINGS_KEY!r} entry. For a policy "
                "use MMPRMProcessor.from_policy."
            )
        settings = dict(processor_dict[_SETTINGS_KEY])
        base_class, backend = settings.pop("base_processor_class"), settings.pop("image_backend", None)
        saved_formats = (settings.pop("prompt_format", None), settings.pop("dialect", None))  # "dialect": its old name
        prompt_format = next(filter(None, (prompt_format, *saved_formats)), None)
        if prompt_format is not None:
            replaced = {field.name for field in dataclasses.fields(PromptFormat)}
            settings = {name: value for name, value in settings.items() if name not in replaced}
        if not kwargs.get("trust_remote_code"):
            # AutoTokenizer reads config.json too and would ask to run its code, which is already imported here.
            AutoConfig.register(MMPRMConfig.model_type, MMPRMConfig, exist_ok=True)
        if base_class == _TILED_PROCESSOR:
            from .tiled_processing_mm_prm import MMPRMTiledProcessor  # late: the model's remote code has no copy of it

            base = MMPRMTiledProcessor.from_pretrained(path, **kwargs)
        else:
            base = load_base_processor(base_class, path, backend, **kwargs)
        return cls(base, **settings, prompt_format=prompt_format)

    # What other code expects of a processor

    @property
    def chat_template(self) -> str | None:
        """The policy's chat template."""
        return getattr(self.base_processor, "chat_template", None)

    @property
    def model_input_names(self) -> list[str]:
        """Names of the tensors that `__call__` returns."""
        return list(self.base_processor.model_input_names)

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

    # Batches

    def __call__(
        self,
        images: Any = None,
        text: str | Sequence[str] | None = None,
        steps: Sequence[str] | Sequence[Sequence[str]] | None = None,
        padding_side: Literal["right", "left"] = "right",
        max_length: int | None = None,
        drop_last_steps: bool = False,
        control_tokens: ControlTokens = "refuse",
        padding: bool | str = True,
        truncation: bool | str | None = False,
        return_tensors: str = "pt",
        allow_urls: bool | Sequence[str] = False,
    ) -> BatchFeature:
        """Return model inputs for one problem or a batch.

        Args:
            images: For one problem: an image, a list of images, or None. For a batch: a list with one such entry each,
                or one image that is shown with every question. Images have any form that `load_image` takes.
            text: The question, or a list of questions, which makes a batch.
            steps: The steps, or a list of steps per question; None gives the prompt alone. With one question, a list of
                solutions (lists of steps) gives a row for each.
            padding_side: The side on which short rows are padded.
            max_length: Most tokens per row, None for no limit; a longer row is an error.
            drop_last_steps: Leave out whole steps at the end of a row until it fits into `max_length`. This is logged,
                and such a row has fewer markers than steps. Nothing is ever cut inside a step.
            control_tokens: As in `encode_steps`.
            padding: True or "longest"; rows are always padded to the longest.
            truncation: False; nothing is cut, see `drop_last_steps`.
            return_tensors: "pt"; there are no other tensors.
            allow_urls: As in `load_image`.

        Returns:
            `input_ids`, `attention_mask` (batch, seq) and the stock processor's vision tensors.

        Raises:
            ValueError: for bad text or images, sizes that do not fit, or a row longer than `max_length`.
        """
        if padding not in (True, "longest") or return_tensors != "pt":
            raise ValueError(
                f"Found padding={padding!r}, return_tensors={return_tensors!r}. Rows are padded to the longest and "
                'returned as torch tensors: leave both out, or give padding=True, return_tensors="pt".'
            )
        if truncation not in (False, None, "do_not_truncate"):
            raise ValueError(
                f"Found truncation={truncation!r}. Rows are never cut inside a step, which would get a score all the "
                "same: give max_length=... and drop_last_steps=True, which leaves out whole steps."
            )
        questions, image_rows, step_rows = as_batch(images, text, steps)
        if allow_urls is not False:
            image_rows = [[load_image(image, allow_urls=allow_urls) for image in row] for row in image_rows]
        solutions = [[[] if row is None else row] for row in step_rows]
        for index, row in enumerate(step_rows):
            if isinstance(row, (list, tuple)) and not row:
                logger.warning("Row %d has no steps: it is the prompt alone and gets no score. Leave it out.", index)
        rows, extra = self.encode_solutions(questions, image_rows, solutions, control_tokens)
        fitted = [fit_steps(row, max_length, drop_last_steps, index) for index, (row,) in enumerate(rows)]
        return self.pad([[i for piece in pieces for i in piece] for pieces in fitted], extra, padding_side)

    def pad(
        self, rows: Sequence[Sequence[int]], extra: dict, padding_side: Literal["right", "left"] = "right"
    ) -> BatchFeature:
        """Return id rows as padded (batch, seq) tensors, and the `extra` of `encode_prompts` with them."""
        return BatchFeature(pad_batch(rows, extra, self.pad_token_id, self.step_type_id, padding_side))
