"""``pipeline("generate-and-rerank")``: a policy writes candidates, a PRM scores their steps, the best one wins."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from transformers import AutoProcessor, Pipeline

from ..data import Problem
from ..engines import SamplingConfig, TransformersEngine
from ..models import MMPRMModel, MMPRMProcessor
from ..scoring import PRMScorer
from ..selection import aggregate
from .candidates import STRATEGIES, generate_candidates, select, with_scores

TASK = "generate-and-rerank"
_PREPROCESS = ("images", "text")
_FORWARD = ("num_candidates", "temperature", "top_p", "top_k", "max_new_tokens", "seed")
_POSTPROCESS = ("strategy", "aggregation")


def _path_of(model: Any, option: str) -> str:
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


class GenerateAndRerankPipeline(Pipeline):
    """Generates candidates with a vision-language policy and returns the one its process reward model ranks first.

    Args:
        model: The policy, as for any pipeline.
        prm: The PRM: a path or hub id, or a loaded `MMPRMModel`.
        prm_processor: Processor of the PRM; None loads it from the checkpoint that `prm` is or came from.
        **kwargs: What transformers' `Pipeline` takes, and defaults for the options of `__call__`.

    Raises:
        ValueError: if no PRM is given or the checkpoint is none.

    Example:
        >>> from transformers import pipeline  # doctest: +SKIP
        >>> rerank = pipeline("generate-and-rerank", model="path/to/policy", prm="path/to/prm")  # doctest: +SKIP
        >>> rerank(images="figure.png", text="What is angle C?", num_candidates=16)["answer"]  # doctest: +SKIP
        '75'
    """

    _load_processor = None  # optional: `__init__` loads it for a policy that comes as an object
    _load_image_processor = False
    _load_feature_extractor = False
    _load_tokenizer = False

    def __init__(
        self,
        model: Any,
        prm: str | os.PathLike | MMPRMModel | None = None,
        prm_processor: MMPRMProcessor | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(model, **kwargs)
        if self.processor is None:
            self.processor = AutoProcessor.from_pretrained(_path_of(self.model, "processor"))
        if prm is None:
            raise ValueError(
                f'pipeline("{TASK}") needs prm=..., a path or a loaded MMPRMModel. For generation alone use '
                '"image-text-to-text".'
            )
        if isinstance(prm, MMPRMModel):
            if prm_processor is None:
                prm_processor = MMPRMProcessor.from_pretrained(_path_of(prm, "prm_processor"))
        else:
            prm_processor = prm_processor or MMPRMProcessor.from_pretrained(prm)
            prm = MMPRMModel.from_pretrained(prm)
        self.prm = prm.to(self.model.device)
        self.scorer = PRMScorer(self.prm, prm_processor)

    def _sanitize_parameters(self, **options: Any) -> tuple[dict, dict, dict]:
        known = (*_PREPROCESS, *_FORWARD, *_POSTPROCESS)
        unknown = sorted(set(options) - set(known))
        if unknown:
            raise ValueError(f"Unknown option {unknown[0]!r} of {TASK}; it takes {', '.join(known)}.")
        if options.get("strategy", "best_of_n") not in STRATEGIES:
            raise ValueError(f"Unknown strategy {options['strategy']!r}; choose one of {', '.join(STRATEGIES)}.")
        aggregate((), options.get("aggregation", "min"))  # raises on an unknown one, before any work is done
        num_candidates = options.get("num_candidates", 1)
        if not isinstance(num_candidates, int) or isinstance(num_candidates, bool) or num_candidates < 1:
            raise ValueError(f"Found num_candidates={num_candidates!r}. It must be a whole number, at least 1.")

        def given(names: Sequence[str]) -> dict[str, Any]:
            return {name: options[name] for name in names if name in options}

        return given(_PREPROCESS), given(_FORWARD), given(_POSTPROCESS)

    def __call__(self, inputs: Any = None, *, images: Any = None, text: str | None = None, **options: Any) -> Any:
        """Solve one problem, or a list of them.

        Args:
            inputs: ``{"images": ..., "text": ...}`` or a list, generator or dataset of such rows. Leave it out to give
                `images` and `text` directly.
            images: A figure or a list of figures: path or PIL image. None for a text-only problem.
            text: The question.
            **options: ``num_candidates`` (16), ``temperature`` (1.0; 0: greedy), ``top_p`` (1.0), ``top_k`` (0: off),
                ``max_new_tokens`` (128), ``seed`` (0), ``strategy`` ("best_of_n", "majority_vote", "weighted_vote"),
                ``aggregation`` ("min", see `mmprm_hf.selection.AGGREGATIONS`).

        Returns:
            ``{"text", "answer", "steps", "step_scores", "score", "chosen", "candidates", "seconds"}`` per problem:
            the winner's parts, its index and all candidates as dicts. If no candidate is complete, the winner's
            parts and `chosen` are None.

        Raises:
            ValueError: on an empty question, an unreadable image, a marker inside the text, or bad options.
        """
        if inputs is None:
            if text is None:
                raise ValueError("Found neither inputs nor text. Call with images=..., text=... or with rows.")
            inputs = {"images": images, "text": text}
        elif images is not None or text is not None:
            raise ValueError("Found inputs beside images or text. Give rows as inputs, or images and text; not both.")
        return super().__call__(inputs, **options)

    def preprocess(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The `Problem` of one row.

        Raises:
            ValueError: if the row is no mapping with a "text".
        """
        if not isinstance(row, Mapping) or "text" not in row:
            raise ValueError(
                f'Found the input {row!r:.80}. A row is a mapping: {{"images": figure, "text": question}}.'
            )
        images = row.get("images")
        if images is None:
            images = ()
        elif not isinstance(images, (list, tuple)):
            images = (images,)
        return {"problem": Problem(id="input", question=row["text"], images=tuple(images))}

    def _ensure_tensor_on_device(self, inputs: Any, device: Any) -> Any:
        return inputs  # a Problem holds no tensors; the engine moves its own

    def _forward(
        self,
        inputs: Mapping[str, Any],
        num_candidates: int = 16,
        temperature: float = 1.0,
        top_p: float = 1.0,
        top_k: int = 0,
        max_new_tokens: int = 128,
        seed: int = 0,
    ) -> dict[str, Any]:
        problem = inputs["problem"]
        # Checked first: a marker in the question must fail before time goes into generation.
        self.scorer.processor.render_prompt(problem.question, len(problem.images))
        sampling = SamplingConfig(temperature=temperature, top_p=top_p, top_k=top_k, max_new_tokens=max_new_tokens)
        engine = TransformersEngine(self.model, self.processor, sampling=sampling)
        start = time.perf_counter()
        (candidates,) = generate_candidates(engine, [problem], num_candidates, seed=seed)
        generated = time.perf_counter()
        candidates = self.scorer.score(problem, candidates)
        seconds = {"generate": generated - start, "score": time.perf_counter() - generated}
        return {"candidates": candidates, "seconds": seconds}

    def postprocess(
        self, outputs: Mapping[str, Any], strategy: str = "best_of_n", aggregation: str = "min"
    ) -> dict[str, Any]:
        """The winner and all candidates as plain dicts."""
        candidates = with_scores(outputs["candidates"], aggregation)
        chosen = select(candidates, strategy, aggregation)
        rows = [candidate.to_dict() for candidate in candidates]
        winner = rows[chosen] if chosen is not None else {}
        parts = {name: winner.get(name) for name in ("text", "answer", "steps", "step_scores", "score")}
        return {**parts, "chosen": chosen, "candidates": rows, "seconds": outputs["seconds"]}
