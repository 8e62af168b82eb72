"""The package's searches as datatrove steps: one document per problem, datatrove's InferenceRunner as the server.

datatrove starts (or reaches) the server, shards the problems, caches every request and starts again after a kill; the
search, the parsing and the verdicts are the package's own, so that a tree is the same as `mmprm label` would write.

Every sample has a seed of its own, derived from problem, prefix, request and sample index. It must: datatrove's request
cache answers equal payloads with one answer, so that after a restart a search without seeds would see one rollout many
times over.
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from datatrove.data import Document, DocumentsPipeline
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.inference.run_inference import InferenceConfig, InferenceRunner
from datatrove.pipeline.inference.types import InferenceError, InferenceResult
from datatrove.pipeline.writers import JsonlWriter

from mmprm_hf.answers import RuleVerifier
from mmprm_hf.data import Problem, content_hash
from mmprm_hf.engines import EndpointEngine, EngineUnavailableError, ProblemInputError, SamplingConfig
from mmprm_hf.engines.chat import ChatChoice, ChatReply
from mmprm_hf.engines.chat_client import RequestRefusedError
from mmprm_hf.labelling.tree_draft import NothingJudgedError
from mmprm_hf.problem_keys import problem_key
from mmprm_hf.stages import SEARCHES, load_problems

Generate = Callable[[dict[str, Any]], Awaitable[InferenceResult]]
METADATA_KEY = "labels"


@dataclasses.dataclass(frozen=True)
class Run:
    """What makes a run; equal on every rank.

    Args:
        data: Dataset folder in MM-K12's schema; None for the nano world.
        num_problems: The first so many train problems.
        model: The policy's name at the server.
        search: Key of `mmprm_hf.stages.SEARCHES`.
        search_options, sampling_options: What differs from the defaults of the search's and the sampling's dataclass.
        prefill: How a prefix is shown, see `EndpointEngine`.
        seed: Of the run.
    """

    data: Path | None
    num_problems: int
    model: str
    search: str = "omegaprm"
    search_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    sampling_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    prefill: str = "continue"
    seed: int = 0

    @property
    def sampling(self) -> SamplingConfig:
        """How tokens are drawn."""
        return SamplingConfig(**self.sampling_options)


class ProblemReader(PipelineStep):
    """First step: one document per problem of this rank. It holds the problem's place; figures stay in the dataset."""

    name = "Problems"
    type = "Reader"

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.problems_of = run

    def run(self, data: DocumentsPipeline = None, rank: int = 0, world_size: int = 1) -> DocumentsPipeline:
        """Yield every `world_size`-th problem, from `rank` on."""
        problems = load_problems(self.problems_of.data, self.problems_of.num_problems)
        for index in range(rank, len(problems), world_size):
            yield Document(text=problems[index].question, id=problems[index].id, metadata={"index": index})


class DatatroveChat:
    """datatrove's `generate` callback as a `ChatModel`: one call per sample, since it returns the first choice only."""

    def __init__(self, generate: Generate, model: str) -> None:
        self.generate, self.identity = generate, {"model": model}
        self.usage: Counter[str] = Counter()

    async def complete(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        seeds: Sequence[int] = (0,),
        temperature: float = 0.0,
        top_p: float = 1.0,
        top_k: int = 0,
        max_new_tokens: int = 512,
        stop_strings: Sequence[str] = (),
        continue_final_message: bool = False,
    ) -> ChatReply:
        """Return one choice per seed.

        Raises:
            RequestRefusedError: if the server will not have the request.
            EngineUnavailableError: if it fails otherwise; the rank stops and goes on from its cache later.
        """
        payload: dict[str, Any] = {
            "messages": list(messages),
            "temperature": temperature,
            "top_p": top_p,
            "max_tokens": max_new_tokens,
            **({"top_k": top_k} if top_k else {}),
            **({"stop": list(stop_strings)} if stop_strings else {}),
            **({"continue_final_message": True, "add_generation_prompt": False} if continue_final_message else {}),
        }
        results = await asyncio.gather(*(self._one({**payload, "seed": seed}) for seed in seeds))
        num_prompt_tokens = max(result.usage.get("prompt_tokens") or 0 for result in results)
        choices = [
            ChatChoice(
                result.text,
                "stop" if result.finish_reason == "stop" else "length",
                result.usage.get("completion_tokens") or 0,
            )
            for result in results
        ]
        self.usage.update(requests=len(results), prompt_tokens=num_prompt_tokens)
        self.usage["completion_tokens"] += sum(choice.num_tokens for choice in choices)
        return ChatReply(tuple(choices), num_prompt_tokens)

    async def _one(self, payload: dict[str, Any]) -> InferenceResult:
        try:
            result = await self.generate(payload)
        except InferenceError as error:
            # datatrove 0.10.1 tells a refusal (HTTP 400) by this name in the text alone.
            if "BadRequestError" in str(error.error):
                raise RequestRefusedError(400, str(error.error)[:300]) from error
            raise EngineUnavailableError(f"The server failed: {str(error.error)[:300]}") from error
        return result


def engine_for(run: Run, generate: Generate | None = None) -> EndpointEngine:
    """The engine of a run; without `generate` only its identity is of use."""
    chat = DatatroveChat(generate or _no_server, run.model)
    return EndpointEngine(chat, sampling=run.sampling, prefill=run.prefill)


async def _no_server(payload: dict[str, Any]) -> InferenceResult:
    raise EngineUnavailableError("No server belongs to this engine.")


@dataclasses.dataclass(frozen=True)
class Context:
    """Made once per rank: the problems and what judges them."""

    run: Run

    def __call__(self) -> dict[str, Any]:
        return {
            "run": self.run,
            "problems": load_problems(self.run.data, self.run.num_problems),
            "verifier": RuleVerifier(),
        }


async def label_document(
    document: Document, generate: Generate, *, run: Run, problems: Sequence[Problem], verifier: RuleVerifier
) -> dict[str, Any]:
    """Search one problem; its result is a tree, or a failure with its reason."""
    problem = problems[document.metadata["index"]]
    engine = engine_for(run, generate)
    search, config_class = SEARCHES[run.search]
    row: dict[str, Any] = {"problem_id": problem.id, "index": document.metadata["index"]}
    try:
        key = problem_key(problem)
        rng = random.Random(content_hash(run.seed, key))
        tree = await search(problem, engine, verifier, config_class(**run.search_options), rng)
        row["tree"] = dataclasses.replace(tree, problem_key=key).to_dict()
    except (NothingJudgedError, ProblemInputError, ValueError) as error:
        row["failure"] = {"problem_id": problem.id, "error": type(error).__name__, "reason": str(error)}
    return {**row, "usage": dict(engine.usage)}


def result_rows(writer: Any, document: Document) -> dict[str, Any]:
    """What the writer writes of a document: the result, without the document around it."""
    return document.metadata[METADATA_KEY][0]


def build_pipeline(
    run: Run,
    output: str,
    checkpoints: str,
    *,
    server: str = "endpoint",
    endpoint_url: str | None = None,
    max_concurrent_generations: int = 256,
    documents_per_chunk: int = 200,
    model_options: Mapping[str, Any] | None = None,
) -> list[PipelineStep]:
    """Return reader and runner.

    Args:
        run: What to label and how.
        output: Folder (or fsspec URL) of the shards, ``shard_<rank>_<chunk>.jsonl.gz``.
        checkpoints: Folder on a disk that survives a restart of the rank, for cached requests and finished documents.
        server: "endpoint", "vllm" or "sglang"; the last two are started by datatrove, one per rank.
        endpoint_url: For "endpoint": without ``/v1`` for http on this machine, with it elsewhere (datatrove 0.10.1).
        max_concurrent_generations: Samples in flight per rank; problems in flight follow from it.
        documents_per_chunk: Problems per file.
        model_options: Arguments for a server that datatrove starts.
    """
    config = InferenceConfig(
        server_type=server,  # type: ignore[arg-type]
        model_name_or_path=run.model,
        endpoint_url=endpoint_url,
        max_concurrent_generations=max_concurrent_generations,
        max_concurrent_documents=max(2, max_concurrent_generations // 4),
        model_kwargs=dict(model_options or {}) or None,
        metric_interval=600,
    )
    writer = JsonlWriter(output, output_filename="shard_${rank}_${chunk_index}.jsonl.gz", adapter=result_rows)
    runner = InferenceRunner(
        rollout_fn=label_document,
        config=config,
        output_writer=writer,
        shared_context=Context(run),
        checkpoints_local_dir=checkpoints,
        records_per_chunk=documents_per_chunk,
        metadata_key=METADATA_KEY,
    )
    return [ProblemReader(run), runner]


def shards(output: Path) -> Iterable[Path]:
    """Files that the ranks have written."""
    return sorted(output.glob("shard_*.jsonl*"))
