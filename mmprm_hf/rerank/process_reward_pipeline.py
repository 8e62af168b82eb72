"""``pipeline("process-reward")``: a PRM scores the steps of solutions that are already written."""

from __future__ import annotations

import dataclasses
import logging
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
from ..steps import solution_steps
from .candidates import scored_candidates
from .inputs import OTHER_SPELLINGS, checkpoint_of, read_problem, read_rows

SCORING_TASK = "process-reward"
_ARGUMENTS = ("images", "text", "steps", "solution", "thoughts", "aggregation", "batch_size", "allow_urls")
_OTHER_SPELLINGS = {
    **OTHER_SPELLINGS,
    **dict.fromkeys(
        ("solutions", "completion", "completions", "candidates", "responses"), "steps, or solution as text"
    ),
}
_ROW_HINT = (
    'Give steps=[...] or solution="..." beside images and text, or rows {"images": ..., "text": ..., "steps": [...]}.'
)

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class _Solutions:
    """Solutions of one problem: steps of each, whether there is one alone, and whether they were read from texts."""

    steps: tuple[Any, ...]
    is_single: bool
    is_text: bool


@dataclasses.dataclass(frozen=True)
class _Batch:
    """Rows with their solutions that are scored together."""

    rows: tuple[tuple[Any, _Solutions], ...]
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
        solution: Any = None,
        thoughts: bool = False,
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
            solution: In the place of `steps`, and of "steps" in rows: the text of a solution in any step format, or a
                list of such texts; of several problems, one such entry each.
            thoughts: Whether the paragraphs of a thought before a text's solution (``<think>...</think>``) are its
                first steps; they are not scored otherwise.
            batch_size: Problems that are scored together.
            aggregation: How step scores become one number (`mmprm_hf.selection.AGGREGATIONS`).
            allow_urls: Which addresses of figures are fetched, as in `GenerateAndRerankPipeline`.
            **others: Refused with a sentence that has our name of it.

        Returns:
            ``{"step_scores": [...], "score": ...}``, numbers in [0, 1] for most aggregations, both None for a solution
            without steps or with a blank one, of which a warning is logged; with "steps" besides, where they were read
            from a text; a list of these where there are several solutions; and a list for several problems, a generator
            for a generator or dataset.

        Raises:
            ValueError: for an empty question, an unreadable image, steps that are none, or a bad option.
        """
        self._sanitize_parameters(aggregation=aggregation, **others)
        if not is_count(batch_size, MAX_COUNT):
            raise ValueError(f"Found batch_size={batch_size!r}. It must be {COUNT_RULE}.")
        rows, is_single = read_rows(images, text)
        if is_single:
            pair = rows, _solutions(rows, steps, solution, thoughts)
            return super().__call__(_Batch((pair,), allow_urls), aggregation=aggregation)[0]
        given = {"steps": steps, "solution": solution}
        if steps is None and solution is None:
            pairs: Iterable[tuple[Any, _Solutions]] = (
                (row, _solutions(row, **given, thoughts=thoughts)) for row in rows
            )
        else:
            rows = list(rows)
            columns = {name: _one_each(name, value, len(rows)) for name, value in given.items()}
            pairs = [
                (row, _solutions(row, *entries, thoughts=thoughts))
                for row, *entries in zip(rows, *columns.values(), strict=True)
            ]
        outputs = self._score_rows(pairs, batch_size, allow_urls, aggregation)
        return list(outputs) if isinstance(rows, (list, tuple)) else outputs

    def _score_rows(
        self,
        pairs: Iterable[tuple[Any, _Solutions]],
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
        for row, solutions in batch.rows:
            problems.append(read_problem(row, batch.allow_urls)[0])
            candidates.append([Candidate(steps=steps) for steps in solutions.steps])
        return {"problems": problems, "candidates": candidates, "solutions": [rows[1] for rows in batch.rows]}

    def _ensure_tensor_on_device(self, inputs: Any, device: Any) -> Any:
        return inputs  # the scorer moves its own

    def _forward(self, model_inputs: dict[str, Any]) -> dict[str, Any]:
        scored = self.scorer.score_many(model_inputs["problems"], model_inputs["candidates"])
        return {"scored": scored, "solutions": model_inputs["solutions"]}

    def postprocess(self, outputs: dict[str, Any], aggregation: str = "min") -> list[Any]:
        """Return scores as plain numbers, per row one dict or a list of them."""
        results: list[Any] = []
        for candidates, solutions in zip(outputs["scored"], outputs["solutions"], strict=True):
            names = ("steps", "step_scores", "score") if solutions.is_text else ("step_scores", "score")
            rows = [candidate.to_dict() for candidate in scored_candidates(candidates, aggregation)]
            scores = [{name: row[name] for name in names} for row in rows]
            results.append(scores[0] if solutions.is_single else scores)
        return results


def _one_each(name: str, value: Any, num_problems: int) -> list[Any]:
    """The entries of an argument for several problems, None for each where it is not given."""
    entries = [None] * num_problems if value is None else [value] if isinstance(value, str) else list(value)
    if len(entries) != num_problems:
        raise ValueError(f"Found {len(entries)} entries in {name} for {num_problems} problems. Give one each.")
    return entries


def _solutions(row: Any, steps: Any, solution: Any, thoughts: bool) -> _Solutions:
    """The solutions of a problem, as steps or as texts, which its row itself may have."""
    if steps is None and solution is None and isinstance(row, Mapping):
        steps, solution = row.get("steps"), row.get("solution") if row.get("steps") is None else None
    if steps is not None and solution is not None:
        raise ValueError("Found steps and solution. Give a solution as a list of steps or as a text, not both.")
    if solution is not None:
        texts = [solution] if isinstance(solution, str) else solution
        if not isinstance(texts, (list, tuple)) or not all(isinstance(text, str) for text in texts):
            raise ValueError(f"Found solution={solution!r:.80}. It is the text of a solution, or a list of such texts.")
        return _Solutions(tuple(_steps_of(text, thoughts) for text in texts), isinstance(solution, str), True)
    if not isinstance(steps, (list, tuple)):
        raise ValueError(f"Found steps={steps!r:.80}. {_ROW_HINT}")
    is_single = not is_list_of_solutions(steps)
    return _Solutions((steps,) if is_single else tuple(steps), is_single, False)


def _steps_of(text: str, thoughts: bool) -> tuple[str, ...]:
    """The steps of a solution's text; none, and a warning, where it cannot be read."""
    try:
        return solution_steps(text.replace("\r\n", "\n"), thoughts=thoughts)
    except ValueError as error:
        logger.warning("The solution %r gets no score: %s", text[:80], error)
        return ()
