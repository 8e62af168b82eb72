"""``pipeline("generate-and-rerank")``: a policy writes candidates, a PRM scores their steps, the best one wins."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import transformers
from transformers import AutoProcessor, Pipeline, PreTrainedModel

from ..data import Problem
from ..engines import RolloutEngine, SamplingConfig
from ..errors import COUNT_RULE, MAX_COUNT, UnknownNameError, each_or_error, is_count
from ..models import MMPRMModel, MMPRMProcessor
from ..nano import checkpoint_or_nano
from ..scoring import PRMScorer
from ..steps import StepFormat
from .candidates import answer_votes
from .inputs import OTHER_SPELLINGS, checkpoint_of, read_problem, read_rows
from .policy_engines import FORMAT_OPTIONS, PolicyEngines
from .saving import PRM_FOLDER, custom_pipelines, saved_options, saved_prm, write_beside_policy
from .served_policy import ServedPolicy, policy_or_served
from .shared_base import SharedBase, adapter_config, share_base
from .solving import RerankConfig, SolvedProblem, solve

TASK = "generate-and-rerank"
DEFAULT_MAX_NEW_TOKENS = 1024
"""For a policy whose generation config names no `max_new_tokens`."""

_SOLVING = tuple(field.name for field in dataclasses.fields(RerankConfig))
_SAMPLING = ("temperature", "top_p", "top_k", "max_new_tokens")
_OTHER_SPELLINGS = {  # what other pipelines call it
    **OTHER_SPELLINGS,
    "num_return_sequences": "num_candidates",
    "n": "num_candidates",
    "do_sample": "temperature (0 is greedy)",
    "generate_kwargs": "temperature, top_p, top_k and max_new_tokens themselves",
    "max_length": "max_new_tokens",
}
OPTIONS = (*_SOLVING, *_SAMPLING, "return_candidates", "on_error")


@dataclasses.dataclass(frozen=True)
class _Batch:
    """Rows that are solved together; one input for `Pipeline`, which cannot collate ours."""

    rows: tuple[Any, ...]
    allow_urls: bool | Sequence[str]


class GenerateAndRerankPipeline(Pipeline):
    """Solves problems with a policy, which reads figures or text alone, and a PRM that chooses among its solutions.

    Args:
        model: The policy, as for any pipeline; or the address of an OpenAI-compatible server that runs it
            (``"http://..."``), or a `ServedPolicy`. A folder written by `save_pretrained` brings its PRM along, and so
            does "nano", the shipped policy.
        prm: A path or hub id, "nano" for the shipped PRM, a loaded `MMPRMModel`, or any scorer with `PRMScorer`'s
            methods (`score_many` is enough except for guided searches). An adapter whose base is the policy shares the
            policy's weights (see `shared_base`). None takes the PRM saved with the policy.
        prm_processor: Processor of a loaded `MMPRMModel`; None loads it from the checkpoint that the model came from.
        served_model, api_key: For a policy given by address: its name there (None: the only one), and a bearer token.
        step_format: How the policy writes steps: a `StepFormat` or its name ("tagged", "paragraphs", "lines",
            "numbered"). None takes what is saved with it; where nothing is, and for "auto", a few responses to the
            first problems decide, and the pipeline keeps to that.
        instruct: Whether the policy is asked to write in that format: "auto" (only where it was found by "auto" and
            more responses can then be read), "never", "always", or "example" with a worked example.
        template_options: More variables of the policy's chat template, such as ``{"enable_thinking": False}``; a server
            gets them as `chat_template_kwargs`. None takes what is saved with the policy.
        **kwargs: What transformers' `Pipeline` takes, and defaults for the options of `__call__`. ``device`` and
            ``dtype`` concern the policy and a PRM that is given by path.

    Raises:
        ValueError: if no PRM is given, or the checkpoint is not a PRM.

    Import this package before ``from transformers import pipeline``: the function as it was before knows the task, but
    takes a server's address for a hub id, and asks saved folders for ``trust_remote_code=True``.

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
        prm: str | os.PathLike | MMPRMModel | PRMScorer | None = None,
        prm_processor: MMPRMProcessor | None = None,
        *,
        served_model: str | None = None,
        api_key: str | None = None,
        step_format: StepFormat | str | None = None,
        instruct: str = "auto",
        template_options: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        model = policy_or_served(model, served_model, api_key)
        if isinstance(model, ServedPolicy) and template_options:
            model = model.with_template_options(template_options)
        if isinstance(model, MMPRMModel):
            raise ValueError(
                f"Found a {type(model).__name__} as the policy of {TASK}. Give it as prm=..., and a policy."
            )
        saved = {} if isinstance(model, ServedPolicy) else saved_options(model)
        form = {name: saved.pop(name, None) for name in FORMAT_OPTIONS}
        saved_template_options = saved.pop("template_options", None)
        self.template_options = dict(saved_template_options or {} if template_options is None else template_options)
        if step_format is not None:
            form = {"step_format": step_format}
        super().__init__(model, **{**saved, **kwargs})
        self.options = {name: value for name, value in {**saved, **kwargs}.items() if name in OPTIONS}
        if self.processor is None and not isinstance(model, ServedPolicy):
            self.processor = AutoProcessor.from_pretrained(checkpoint_of(self.model, "processor"))
        prm = prm or saved_prm(self.model)
        if prm is None:
            raise ValueError(
                f'pipeline("{TASK}") needs prm=..., a path or a loaded MMPRMModel. For generation alone use '
                '"image-text-to-text".'
            )
        self.shared: SharedBase | None = None
        self.scorer = prm if hasattr(prm, "score_many") else self._load_scorer(prm, prm_processor, kwargs.get("dtype"))
        form |= {"instruct": instruct, "template_options": self.template_options}
        self._policy_engines = PolicyEngines(self.model, self.processor, **form)

    @classmethod
    def from_pretrained(cls, path: str | os.PathLike, **kwargs: Any) -> GenerateAndRerankPipeline:
        """Return the pipeline of a policy (path or hub id); `kwargs` as for ``transformers.pipeline``, and ours."""
        return transformers.pipeline(TASK, model=path, pipeline_class=cls, **kwargs)

    def _load_scorer(self, prm: Any, processor: MMPRMProcessor | None, dtype: Any) -> PRMScorer:
        """The PRM on the pipeline's device, or on the policy's weights where it is an adapter of the policy."""
        if isinstance(prm, MMPRMModel):
            processor = processor or MMPRMProcessor.from_pretrained(checkpoint_of(prm, "prm_processor"))
            is_placed = getattr(prm, "hf_device_map", None) is not None
            return PRMScorer(prm if is_placed else prm.to(self.device), processor)
        if not isinstance(prm, (str, os.PathLike)):
            raise ValueError(
                f"Found a {type(prm).__name__} as the PRM of {TASK}. Give prm=..., a path, a hub id, a loaded "
                "MMPRMModel or a scorer; a policy goes into model=..."
            )
        prm = checkpoint_or_nano(prm, "PRM")
        if processor is not None:
            raise ValueError(
                "Found prm_processor beside the path of a PRM, which has its own. Leave prm_processor out."
            )
        if isinstance(self.model, PreTrainedModel) and adapter_config(prm) is not None:
            processor = MMPRMProcessor.from_pretrained(prm)
            self.shared = share_base(self.model, prm, processor)
            if self.shared is not None:
                return PRMScorer(self.shared.prm, processor)
        scorer = PRMScorer.from_pretrained(prm, dtype=dtype)
        scorer.model.to(self.device)
        return scorer

    @property
    def prm(self) -> MMPRMModel:
        """The PRM."""
        return self.scorer.model

    def _sanitize_parameters(self, **options: Any) -> tuple[dict, dict, dict]:
        for name in options:
            if name in _OTHER_SPELLINGS:
                raise ValueError(f"{TASK} has no option {name!r}. Give {_OTHER_SPELLINGS[name]}.")
            if name not in OPTIONS:
                raise UnknownNameError("option", name, OPTIONS, f" of {TASK}")
        # Made once here, so that a wrong value fails before any work is done.
        defaults = getattr(self, "options", {})
        RerankConfig(**_chosen({**defaults, **options}, _SOLVING))
        self.sampling({**defaults, **options})
        if options.get("on_error", "raise") not in ("raise", "return"):
            raise ValueError(f"Found on_error={options['on_error']!r}; it is 'raise' or 'return'.")
        forward = _chosen(options, (*_SOLVING, *_SAMPLING, "on_error"))
        return {}, forward, _chosen(options, ("return_candidates",))

    def __call__(
        self,
        images: Any = None,
        text: Any = None,
        *,
        batch_size: int = 8,
        allow_urls: bool | Sequence[str] = True,
        **options: Any,
    ) -> Any:
        """Solve one problem, or many. Inputs are those of transformers' image-text-to-text pipeline.

        Args:
            images: A figure or a list of figures (path, URL, data URI, Base64, PIL image), None for a text-only
                problem; with a list of texts, one entry for each. Or, without `text`: a row ``{"images": ..., "text":
                ...}``, a chat of one user turn, or a list, generator or dataset of rows or chats.
            text: The question, a list of them, a chat or a list of chats.
            batch_size: Problems that are solved together.
            allow_urls: Which addresses of figures are fetched: True takes those of public hosts, a list those of its
                hosts alone, False none.
            **options: ``num_candidates`` (16), ``strategy`` ("best_of_n", "majority_vote", "weighted_vote",
                "beam_search", "dvts", "beam_annealing"), ``aggregation`` ("min", see
                `mmprm_hf.selection.AGGREGATIONS`), ``beam_width``, ``max_steps``, ``seed`` (0), ``temperature`` (1.0;
                0: greedy), ``top_p`` (1.0), ``top_k`` (0: off), ``max_new_tokens`` (that of the policy's generation
                config, or else 1024), ``return_candidates`` (False), ``on_error`` ("raise"; "return" gives a problem
                that cannot be shown to the models an ``{"error": reason}`` of its own).

        Returns:
            ``{"text", "answer", "steps", "step_scores", "score"}`` of the winner; all None if no candidate is complete.
            With ``return_candidates`` also ``chosen`` (the winner's index), ``candidates`` (dicts with ``text``,
            ``steps``, ``answer``, ``complete``, ``step_scores``, ``score``, ``votes``: how many have its answer, and
            ``num_tokens``), ``num_tokens`` (generated in all) and ``seconds`` (this problem's share of "generate" and
            "score"). A list for a list; a generator for a generator or dataset.

        Raises:
            ValueError: on an empty question, an unreadable image, a marker inside the text, or bad options.
        """
        self._sanitize_parameters(**options)  # a generator would report a wrong option only when it is read
        rows, is_single = read_rows(images, text)
        if not is_count(batch_size, MAX_COUNT):
            raise ValueError(f"Found batch_size={batch_size!r}. It must be {COUNT_RULE}.")
        if is_single:
            return super().__call__(_Batch((rows,), allow_urls), **options)[0]
        outputs = self._solve_rows(rows, batch_size, allow_urls, options)
        return list(outputs) if isinstance(rows, (list, tuple)) else outputs

    def _solve_rows(
        self, rows: Iterable[Any], batch_size: int, allow_urls: bool | Sequence[str], options: dict[str, Any]
    ) -> Iterator[dict[str, Any]]:
        remaining = iter(rows)
        while chunk := tuple(islice(remaining, batch_size)):
            yield from super().__call__(_Batch(chunk, allow_urls), **options)

    def preprocess(self, batch: _Batch) -> dict[str, Any]:
        """Return the problem of each row with its system prompt, or the error that says why there is none."""
        inputs: list[Any] = []
        for row in batch.rows:
            try:
                problem, system_prompt = read_problem(row, batch.allow_urls)
                # A marker in the question must fail before time goes into generation.
                if hasattr(self.scorer, "processor"):
                    self.scorer.processor.render_prompt(problem.question, len(problem.images))
                inputs.append((problem, system_prompt))
            except ValueError as error:
                inputs.append(error)
        return {"inputs": inputs}

    def _ensure_tensor_on_device(self, inputs: Any, device: Any) -> Any:
        return inputs  # a Problem holds no tensors; the engine moves its own

    def sampling(self, options: Mapping[str, Any]) -> SamplingConfig:
        """Return how tokens are drawn with these options of a call, defaults filled in."""
        generation_config = getattr(self.model, "generation_config", None)
        max_new_tokens = getattr(generation_config, "max_new_tokens", None) or DEFAULT_MAX_NEW_TOKENS
        settings = {"max_new_tokens": max_new_tokens, **_chosen(options, _SAMPLING)}
        try:
            return SamplingConfig(**settings)
        except TypeError as error:
            raise ValueError(f"Found {settings} as options of sampling ({error}). They are numbers.") from error

    def engine(self, options: Mapping[str, Any], system_prompt: str | None = None) -> RolloutEngine:
        """Return the policy's engine with these options of a call, made once.

        A server that holds less than the usual `max_new_tokens` gets as many as it holds, unless an option names them.
        """
        is_named = "max_new_tokens" in options
        return self._policy_engines.engine(self.sampling(options), system_prompt, fits_to_server=not is_named)

    @property
    def step_format(self) -> StepFormat | None:
        """How the policy writes steps; None until it is found."""
        return self._policy_engines.step_format

    def settle(
        self,
        problems: Sequence[Problem],
        format_facts: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Find the policy's step format, where it is not known yet, from a few responses to the first problems.

        A call does it with its own problems. A run that will be resumed does it first, and keeps what it is given.

        Args:
            problems: Problems; without any nothing is found.
            format_facts: What an earlier call returned, to take its format; None or {} for none.
            options: Options of the calls that follow, besides those of the pipeline; None for none.

        Returns:
            ``{"step_format", "instruction"}``; the latter only where the policy is given one. {} for a format that the
            policy itself declares.
        """
        return self._policy_engines.settle(self.engine({**self.options, **(options or {})}), problems, format_facts)

    def _forward(
        self, model_inputs: Mapping[str, Any], on_error: str = "raise", **options: Any
    ) -> dict[str, list[SolvedProblem | ValueError]]:
        outcomes: list[Any] = list(model_inputs["inputs"])
        errors = [outcome for outcome in outcomes if isinstance(outcome, ValueError)]
        if errors and on_error == "raise":
            raise errors[0]
        indices_by_prompt: dict[str | None, list[int]] = {}
        for index, outcome in enumerate(outcomes):
            if not isinstance(outcome, ValueError):
                indices_by_prompt.setdefault(outcome[1], []).append(index)
        for system_prompt, indices in indices_by_prompt.items():
            problems = [outcomes[index][0] for index in indices]
            solved = self._solve(problems, system_prompt, on_error, options)
            self._policy_engines.keep_format()
            for index, outcome in zip(indices, solved, strict=True):
                outcomes[index] = outcome
        return {"outcomes": outcomes}

    def _solve(
        self, problems: list[Problem], system_prompt: str | None, on_error: str, options: Mapping[str, Any]
    ) -> list[SolvedProblem | ValueError]:
        """All problems together; where errors are returned, a problem that cannot be shown costs only itself."""
        config, sampling = RerankConfig(**_chosen(options, _SOLVING)), self.sampling(options)

        def solve_together(batch: Sequence[Problem]) -> list[SolvedProblem]:
            return solve(
                batch,
                lambda _: self.engine(options, system_prompt),
                self.scorer,
                config,
                sampling,
                problems_per_call=len(batch),
            )

        return solve_together(problems) if on_error == "raise" else each_or_error(solve_together, problems)

    def postprocess(
        self, outputs: Mapping[str, list[SolvedProblem | ValueError]], return_candidates: bool = False
    ) -> list[dict[str, Any]]:
        """Return one dict per problem."""
        return [
            {"error": str(outcome)} if isinstance(outcome, ValueError) else _output(outcome, return_candidates)
            for outcome in outputs["outcomes"]
        ]

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs: Any) -> None:
        """Save policy, processor, PRM and options as one folder, which ``pipeline(TASK, model=folder)`` loads again.

        Args:
            save_directory: The folder, made if absent.
            **kwargs: For the policy's `save_pretrained`.

        Raises:
            ValueError: if the policy runs behind a server, or the PRM is not a model of this package.
        """
        if isinstance(self.model, ServedPolicy):
            raise ValueError("The policy runs behind a server and is not here to be saved. Save the PRM alone.")
        if not isinstance(self.scorer, PRMScorer):
            raise ValueError(f"A {type(self.scorer).__name__} has no checkpoint to be saved. Save the policy alone.")
        folder = Path(save_directory)
        self.model.config.custom_pipelines = custom_pipelines(TASK, self.model.config)
        prm_folder = folder / PRM_FOLDER
        # What an earlier pipeline left there must not be read in place of this PRM.
        for pattern in ("model*.safetensors*", "config.json") if self.shared is not None else ("adapter_*",):
            for path in prm_folder.glob(pattern):
                path.unlink()
        if self.shared is not None:
            self.shared.save_policy(folder)
            self.shared.save_adapter(prm_folder)
        else:
            self.model.save_pretrained(folder, **kwargs)
            self.prm.save_pretrained(prm_folder)
        self.processor.save_pretrained(folder)
        self.scorer.processor.save_pretrained(prm_folder)
        template = {"template_options": self.template_options} if self.template_options else {}
        write_beside_policy(folder, {**self.options, **self._policy_engines.saved_format(), **template})


def _chosen(options: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Those of the options that have one of these names."""
    return {name: options[name] for name in names if name in options}


def _output(solved: SolvedProblem, return_candidates: bool) -> dict[str, Any]:
    """The winner's parts, and on request all candidates and costs."""
    winner = {} if solved.chosen is None else solved.candidates[solved.chosen].to_dict()
    output = {name: winner.get(name) for name in ("text", "answer", "steps", "step_scores", "score")}
    if not return_candidates:
        return output
    votes = answer_votes(solved.candidates)
    rows = [{**candidate.to_dict(), "votes": count} for candidate, count in zip(solved.candidates, votes, strict=True)]
    costs = {"num_tokens": solved.num_tokens, "seconds": solved.seconds}
    return {**output, "chosen": solved.chosen, "candidates": rows, **costs}
