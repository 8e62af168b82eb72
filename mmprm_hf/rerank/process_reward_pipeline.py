"""``pipeline("process-reward")``: a PRM scores the steps of solutions that are already written."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import transformers
from transformers import Pipeline

from ..data import Candidate, Problem
from ..errors import COUNT_RULE, MAX_COUNT, UnknownNameError, is_count
from ..models import MMPRMModel, MMPRMProcessor, is_list_of_solutions
from ..scoring import PRMScorer
from ..selection import AGGREGATIONS
from .candidates import scored_candidates
from .inputs import OTHER_SPELLINGS, checkpoint_of, read_problem, read_rows

SCORING_TASK = "process-reward"
_ARGUMENTS = ("images", "text", "steps", "aggregation", "batch_size", "allow_urls")
_OTHER_SPELLINGS = {
    **OTHER_SPELLINGS,
    **dict.fromkeys(("solution", "solutions", "completion", "completions", "candidates", "responses"), "steps"),
}
_ROW_HINT = 'Give steps=[...] beside images and text, or rows {"images": ..., "text": ..., "steps": [...]}.'


@dataclasses.dataclass(frozen=True)
class _Batch:
    """Rows with their steps that are scored together."""

    rows: tuple[tuple[Any, Any], ...]
    allow_urls: bool | Sequence[str]


class ProcessRewardPipeline(Pipeline):
    """Gives every step of a solution its score.

    Args:
        model: The PRM: path, hub id, "nano" for the shipped one, or a loaded `MMPRMModel`.
        processor: The PRM's processor; None loads it from the checkpoint that the model came from.
        **kwargs: What transformers' `Pipeline` takes (``dtype``, ``device``, ...).

    Raises:
        ValueError: if the model is not a PRM, or was built in memory and comes without its processor.

    Example:
        >>> from transformers import pipeline  # doctest: +SKIP
        >>> score = pipeline("process-reward", model="path/to/prm")  # doctest: +SKIP
        >>> score(images="figure.png", text="What is A?", steps=["B=61", "A=22"])  # doctest: +SKIP
        {'step_scores': [0.97, 0.12], 'score': 0.12}
    """

    _load_processor = None  # optional: `__init__` loads it for a PRM that comes as an object
    _load_image_processor = False
    _load_feature_extractor = False
    _load_tokenizer = False

    def __init__(self, model: Any, **kwargs: Any) -> None:
        if not isinstance(model, MMPRMModel):
            raise ValueError(
                f"Found a {type(model).__name__} as the model of {SCORING_TASK}. It needs a PRM: a path, a hub id or "
                "an MMPRMModel (MMPRMModel.from_policy makes an untrained one of a policy)."
            )
        super().__init__(model, **kwargs)
        if self.processor is None:
            self.processor = MMPRMProcessor.from_pretrained(checkpoint_of(self.model, "processor"))
        self.scorer = PRMScorer(self.model, self.processor)

    @classmethod
    def from_pretrained(cls, path: str | os.PathLike, **kwargs: Any) -> ProcessRewardPipeline:
        """Return the pipeline of the PRM at a path or hub id; `kwargs` are those of ``transformers.pipeline``."""
        return transformers.pipeline(SCORING_TASK, model=path, pipeline_class=cls, **kwargs)

    def __call__(
        self,
        images: Any = None,
        text: Any = None,
        steps: Any = None,
        *,
        batch_size: int = 8,
        aggregation: str = "min",
        allow_urls: bool | Sequence[str] = True,
        **others: Any,
    ) -> Any:
        """Score the steps of one solution, of many solutions of a problem, or of many problems.

        Args:
            images, text: As in `GenerateAndRerankPipeline`. Rows (one, or a list, generator or dataset) have "steps".
            steps: The steps of one solution, or a list of solutions; of several texts, one such entry each. None where
                the rows have them.
            batch_size: Problems that are scored together.
            aggregation: How step scores become one number (`mmprm_hf.selection.AGGREGATIONS`).
            allow_urls: Which addresses of figures are fetched, as in `GenerateAndRerankPipeline`.
            **others: Refused with a sentence that has our name of it.

        Returns:
            ``{"step_scores": [...], "score": ...}``, numbers in [0, 1] for most aggregations, both None for a solution
            without steps or with a blank one, of which a warning is logged; a list of these where there are several
            solutions; and a list for several problems, a generator for a generator or dataset.

        Raises:
            ValueError: for an empty question, an unreadable image, steps that are none, or a bad option.
        """
        self._sanitize_parameters(aggregation=aggregation, **others)
        if not is_count(batch_size, MAX_COUNT):
            raise ValueError(f"Found batch_size={batch_size!r}. It must be {COUNT_RULE}.")
        rows, is_single = read_rows(images, text)
        if is_single:
            return super().__call__(_Batch((_with_steps(rows, steps),), allow_urls), aggregation=aggregation)[0]
        if steps is None:
            pairs: Iterable[tuple[Any, Any]] = (_with_steps(row, None) for row in rows)
        else:
            rows, solutions = list(rows), list(steps)
            if len(rows) != len(solutions):
                raise ValueError(f"Found {len(solutions)} entries in steps for {len(rows)} problems. Give one each.")
            pairs = zip(rows, solutions, strict=True)
        outputs = self._score_rows(pairs, batch_size, allow_urls, aggregation)
        return list(outputs) if isinstance(rows, (list, tuple)) else outputs

    def _score_rows(
        self,
        pairs: Iterable[tuple[Any, Any]],
        batch_size: int,
        allow_urls: bool | Sequence[str],
        aggregation: str,
    ) -> Iterator[Any]:
        remaining = iter(pairs)
        while chunk := tuple(islice(remaining, batch_size)):
            yield from super().__call__(_Batch(chunk, allow_urls), aggregation=aggregation)

    def _sanitize_parameters(self, aggregation: str = "min", **options: Any) -> tuple[dict, dict, dict]:
        for name in options:
            if name in _OTHER_SPELLINGS:
                raise ValueError(f"{SCORING_TASK} has no argument {name!r}. Give {_OTHER_SPELLINGS[name]}.")
            raise UnknownNameError("option", name, _ARGUMENTS, f" of {SCORING_TASK}")
        if aggregation not in AGGREGATIONS:
            raise UnknownNameError("aggregation", aggregation, AGGREGATIONS)
        return {}, {}, {"aggregation": aggregation}

    def preprocess(self, batch: _Batch) -> dict[str, Any]:
        """Return problems and candidates; a row's list of solutions stays apart from a single one."""
        problems: list[Problem] = []
        candidates: list[list[Candidate]] = []
        for row, steps in batch.rows:
            solutions = steps if is_list_of_solutions(steps) else [steps]
            problems.append(read_problem(row, batch.allow_urls)[0])
            candidates.append([Candidate(steps=solution) for solution in solutions])
        return {"problems": problems, "candidates": candidates, "steps": [steps for _, steps in batch.rows]}

    def _ensure_tensor_on_device(self, inputs: Any, device: Any) -> Any:
        return inputs  # the scorer moves its own

    def _forward(self, model_inputs: dict[str, Any]) -> dict[str, Any]:
        scored = self.scorer.score_many(model_inputs["problems"], model_inputs["candidates"])
        return {"scored": scored, "steps": model_inputs["steps"]}

    def postprocess(self, outputs: dict[str, Any], aggregation: str = "min") -> list[Any]:
        """Return scores as plain numbers, per row one dict or a list of them."""
        results: list[Any] = []
        for candidates, steps in zip(outputs["scored"], outputs["steps"], strict=True):
            rows = [candidate.to_dict() for candidate in scored_candidates(candidates, aggregation)]
            scores = [{"step_scores": row["step_scores"], "score": row["score"]} for row in rows]
            results.append(scores if is_list_of_solutions(steps) else scores[0])
        return results


def _with_steps(row: Any, steps: Any) -> tuple[Any, Any]:
    """A row and its steps, which the row itself may have."""
    if steps is None:
        steps = row.get("steps") if isinstance(row, Mapping) else None
    if not isinstance(steps, (list, tuple)):
        raise ValueError(f"Found steps={steps!r:.80}. {_ROW_HINT}")
    return row, steps
