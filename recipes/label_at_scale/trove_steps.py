"""The package's searches as datatrove steps: one document per problem, one run folder per rank.

datatrove shards the problems, starts the ranks (local processes, Slurm, Ray, Hugging Face Jobs), marks those that are
finished, and can start a server for each. A rank itself is a run of `mmprm_hf.labelling.driver`: its journal, retries,
ledger and seeds, so that a tree is the one that `mmprm label` writes, byte for byte.

Not datatrove's own InferenceRunner (0.10.1): it reaches no server on another machine (its probe asks for /v1/v1/models,
or its requests go to /chat/completions), one HTTP 429, 500 or 503 ends a rank, requests have no timeout, and a result
that could not be saved is dropped with a warning. README.md says how that was tried.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
from collections.abc import AsyncIterator, Iterator, Mapping, Set
from pathlib import Path
from typing import Any

from datatrove.data import Document, DocumentsPipeline
from datatrove.io import get_datafolder
from datatrove.pipeline.base import PipelineStep
from datatrove.utils.logging import logger

from mmprm_hf.answers.verifier import RuleVerifier
from mmprm_hf.data import Problem
from mmprm_hf.engines import ChatClient, EndpointEngine, SamplingConfig
from mmprm_hf.files import read_lines
from mmprm_hf.labelling import SEARCHES
from mmprm_hf.labelling.driver import LabelSummary, NothingLabelledError, RequestFailedError, label_problems_async
from mmprm_hf.labelling.run_health import MAX_FAILURES_BEFORE_TREE
from mmprm_hf.rows.problem_source import ProblemSource

API_KEY_VARIABLE = "MMPRM_API_KEY"
TREES = "trees.jsonl"
_BLOCK_BYTES = 1 << 20
# A rank's results, without the journal of unfinished problems, in the order in which they are copied. Wherever a copy
# is interrupted, the driver can go on from it: a tree's row of costs is there before the tree (a row without a tree is
# written again, a tree without its row never gets one), and run.json, which says that a folder has its files, is last.
RANK_FILES = ("ledger.jsonl", TREES, "failures.jsonl", "summary.json", "run.json")


@dataclasses.dataclass(frozen=True)
class Run:
    """What makes a run; equal on every rank.

    Args:
        data: Dataset in MM-K12's schema (folder or Hub id); None for the nano world.
        num_problems: The first so many train problems.
        num_tasks: Shards; problem i belongs to rank ``i % num_tasks``.
        model: The policy's name at the server.
        search: Key of `mmprm_hf.stages.SEARCHES`.
        search_options, sampling_options: What differs from the defaults of the search's and the sampling's dataclass.
        prefill: How a prefix is shown, see `EndpointEngine`; not "auto", for ranks on different servers must agree.
        extra_body: More fields for every request, see `ChatClient`.
        seed: Of the run.
    """

    data: str | None
    num_problems: int
    num_tasks: int
    model: str
    search: str = "omegaprm"
    search_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    sampling_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    prefill: str = "continue"
    extra_body: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    seed: int = 0

    def engine(self, url: str, max_concurrency: int) -> EndpointEngine:
        """The engine on a server. The key, if any, comes from the worker's environment and is written nowhere."""
        chat = ChatClient(
            url,
            self.model,
            api_key=os.environ.get(API_KEY_VARIABLE),
            max_concurrency=max_concurrency,
            extra_body=self.extra_body,
        )
        return EndpointEngine(chat, sampling=SamplingConfig(**self.sampling_options), prefill=self.prefill)

    @property
    def problems(self) -> ProblemSource:
        """The problems, each read when it is asked for: a rank holds only the figures in flight."""
        return ProblemSource(self.data, self.num_problems)

    @property
    def search_config(self) -> Any:
        """The search's dataclass."""
        return SEARCHES[self.search][1](**self.search_options)


@dataclasses.dataclass(frozen=True)
class Server:
    """Where a rank's requests go.

    Args:
        endpoints: Running OpenAI-compatible servers, with or without ``/v1``; rank r takes number ``r % len``. Empty:
            datatrove starts a server for the rank.
        kind: What to start: "vllm", "sglang" or "custom" (a script, as option `server_script`).
        options: Arguments of the started server, such as ``{"tensor-parallel-size": 2}``.
        max_context: The started server's context length in tokens.
    """

    endpoints: tuple[str, ...] = ()
    kind: str = "vllm"
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    max_context: int = 8192

    @contextlib.asynccontextmanager
    async def url(self, model: str, rank: int) -> AsyncIterator[str | None]:
        """The URL to send requests to; None on a node that only lends its devices to the rank's server."""
        if self.endpoints:
            yield self.endpoints[rank % len(self.endpoints)]
            return
        from datatrove.pipeline.inference.run_inference import InferenceConfig
        from datatrove.pipeline.inference.servers import CustomServer, SGLangServer, VLLMServer

        server_class = {"vllm": VLLMServer, "sglang": SGLangServer, "custom": CustomServer}[self.kind]
        # vLLM fills in what a request leaves out (top_k) from the model's own generation config, unless told not to.
        own = {"generation-config": "vllm"} if self.kind == "vllm" else {}
        config = InferenceConfig(
            server_type=self.kind,  # type: ignore[arg-type]
            model_name_or_path=model,
            model_max_context=self.max_context,
            model_kwargs={**own, **self.options},
            server_ready_delay_sec=2.0,
        )
        async with server_class(config, rank) as server:
            if server is None:
                yield None
                return
            # One token asked through datatrove: it answers once the server is up, and raises if it does not start.
            question = [{"role": "user", "content": "1 + 1 = ?"}]
            await server.make_request({"model": model, "messages": question, "max_tokens": 1, "seed": 0})
            yield server.get_base_url()


class ProblemReader(PipelineStep):
    """First step: one document per problem of the rank. It holds the problem's place; figures stay in the dataset."""

    name = "Problems"
    type = "Reader"

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.settings = run

    def run(self, data: DocumentsPipeline = None, rank: int = 0, world_size: int = 1) -> DocumentsPipeline:
        """Yield every `world_size`-th problem, from `rank` on.

        Raises:
            ValueError: if the executor has another number of tasks than the run.
        """
        if world_size != self.settings.num_tasks:
            raise ValueError(
                f"The executor has {world_size} tasks and the run {self.settings.num_tasks}. Problems are dealt out by "
                "this number; give both the same."
            )
        ids = self.settings.problems.ids
        for index in range(rank, len(ids), world_size):
            yield Document(text=ids[index], id=ids[index], metadata={"index": index})


class LabelProblems(PipelineStep):
    """Last step: search the rank's problems into the run folder ``OUTPUT/ranks/<rank>``.

    Args:
        run: What to label and how.
        server: Where requests go.
        output: Folder or fsspec URL of the whole run.
        work: Folder for run folders while they grow, on a disk of this machine or a shared one that has file locks.
            None takes `output`, which must then be such a folder. Otherwise results are copied from here to `output`
            every ten minutes and at the end, and back when a rank starts on an empty disk.
        max_in_flight: Problems searched at a time.
        max_concurrency: The most requests in flight.
        copy_seconds: Time between copies.
    """

    name = "Labels"
    type = "Search"

    def __init__(
        self,
        run: Run,
        server: Server,
        output: str,
        *,
        work: str | None = None,
        max_in_flight: int = 64,
        max_concurrency: int = 256,
        copy_seconds: float = 600.0,
    ) -> None:
        super().__init__()
        if work is None and not get_datafolder(output).is_local():
            raise ValueError(f"Found output={output!r}, which is no folder of this machine. Name one as `work` too.")
        self.settings, self.server, self.output, self.work = run, server, output, work
        self.max_in_flight, self.max_concurrency, self.copy_seconds = max_in_flight, max_concurrency, copy_seconds

    def run(self, data: DocumentsPipeline, rank: int = 0, world_size: int = 1) -> None:
        """Label what the documents name; nothing is passed on."""
        place = f"ranks/{rank:05d}"
        folder = Path(self.work or self.output) / place
        with self.track_time(unit="rank"):
            if self.work is None:
                summary = asyncio.run(self._label(data, folder, rank))
            else:
                target = get_datafolder(f"{self.output.rstrip('/')}/{place}")
                here = get_datafolder(str(folder))
                if not here.exists("run.json") or num_tree_bytes(target) > num_tree_bytes(here):
                    copy_files(target, here)  # the rank went on elsewhere since this disk saw it, if it ever did
                summary = asyncio.run(self._label_and_copy(data, folder, target, rank))
        if summary is not None:
            for name in ("num_trees", "num_failed", "num_mixed", "num_rollouts", "tokens_in", "tokens_out"):
                self.stat_update(name, value=getattr(summary, name), unit="rank")
            logger.info(json.dumps({**dataclasses.asdict(summary), "sessions": len(summary.sessions)}))

    async def _label_and_copy(
        self, data: DocumentsPipeline, folder: Path, target: Any, rank: int
    ) -> LabelSummary | None:
        """Label, with a copy now and then and one at the end, also of a rank that stopped; copies never overlap."""
        source, ended = get_datafolder(str(folder)), asyncio.Event()

        async def copy_now_and_then() -> None:
            while True:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(ended.wait(), self.copy_seconds)
                    return
                try:
                    await asyncio.to_thread(copy_files, source, target)
                except Exception as error:  # noqa: BLE001 (any storage's fault; there is a next time, and a last one)
                    logger.warning(
                        f"Results of rank {rank} could not be copied to {self.output} ({type(error).__name__}: "
                        f"{error}). They are whole in {folder}, and are copied again in {self.copy_seconds:g} s."
                    )

        copying = asyncio.create_task(copy_now_and_then())

        async def copy_at_the_end() -> None:
            # A thread cannot be cancelled: the copy that is under way must end, or it would write over this one.
            ended.set()
            await copying
            await asyncio.to_thread(copy_files, source, target)

        try:
            summary = await self._label(data, folder, rank)
        except BaseException:
            try:
                await copy_at_the_end()
            except Exception as error:  # noqa: BLE001 (the reason why the rank stopped must not be lost behind it)
                logger.error(
                    f"Results of rank {rank} could not be copied to {self.output} ({type(error).__name__}: {error}). "
                    f"They are whole in {folder}; start the rank again on this machine, or copy them by hand."
                )
            raise
        await copy_at_the_end()
        return summary

    async def _label(self, data: DocumentsPipeline, folder: Path, rank: int) -> LabelSummary | None:
        run, problems = self.settings, self.settings.problems
        asked: set[str] = set()

        def named() -> Iterator[Problem]:
            for document in data:
                asked.add(document.id)
                yield problems[document.metadata["index"]]

        async with self.server.url(run.model, rank) as url:
            if url is None:
                return None
            try:
                return await label_problems_async(
                    named(),
                    run.engine(url, self.max_concurrency),
                    RuleVerifier(),
                    SEARCHES[run.search][0],
                    run.search_config,
                    folder,
                    seed=run.seed,
                    max_in_flight=self.max_in_flight,
                    progress=False,
                )
            except NothingLabelledError as error:
                if (summary := summary_of_failures(folder, asked)) is None:
                    raise
                logger.warning(f"Rank {rank} is finished without one tree, by the fault of its problems. {error}")
                return summary


def summary_of_failures(folder: Path, asked: Set[str]) -> LabelSummary | None:
    """The summary of a rank without a tree if that is its problems' doing; None if it must fail.

    A small shard may consist of problems at fault. It must fail if the engine failed at one of them, since it may
    answer the next time, and if there are as many as the driver stops at: then something is wrong in all of them.

    Args:
        folder: The run folder of a run that ended with `NothingLabelledError`.
        asked: Ids of the rank's problems.
    """
    found = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    if found["num_failed"] >= MAX_FAILURES_BEFORE_TREE:
        return None
    # With fewer failures the driver has tried all problems, so that the last row of each is of this session.
    errors = {row["problem_id"]: row["error"] for _, _, row in read_lines(folder / "failures.jsonl")}
    if any(errors.get(problem_id) == RequestFailedError.__name__ for problem_id in asked):
        return None
    return LabelSummary(**{**found, "sessions": tuple(found["sessions"])})


def num_tree_bytes(folder: Any) -> int:
    """Size of a rank's trees in a datatrove folder; they only grow."""
    return folder.size(TREES) if folder.exists(TREES) else 0


def copy_files(source: Any, target: Any) -> None:
    """Copy a rank's result files from one datatrove folder to another, those that are there, in `RANK_FILES`' order.

    The rank may go on meanwhile. Of trees, only those that were there when the copy began are copied, so that the rows
    of costs, which are read later and copied before, are those of all of them. The last line may be torn where it was
    just being appended: `merge.py` and the driver leave it out.
    """
    with contextlib.ExitStack() as stack:
        trees, size = None, 0
        if source.exists(TREES):
            trees = stack.enter_context(source.open(TREES, "rb"))
            trees.seek(0, os.SEEK_END)
            size = trees.tell()
            trees.seek(0)
        for name in RANK_FILES:
            if name == TREES:
                if trees is not None:
                    _write(trees, target, name, size)
            elif source.exists(name):
                with source.open(name, "rb") as read:
                    _write(read, target, name)


def _write(read: Any, target: Any, name: str, size: int | None = None) -> None:
    """Write an open file's first `size` bytes (None: all) as a file of a datatrove folder, whole or not at all."""
    # An object store shows an object once it is whole; on a disk a kill would leave half of the new file.
    draft = f"{name}.part" if target.is_local() else name
    with target.open(draft, "wb") as written:
        left = size
        while block := read.read(_BLOCK_BYTES if left is None else min(left, _BLOCK_BYTES)):
            written.write(block)
            left = None if left is None else left - len(block)
    if draft != name:
        os.replace(target.resolve_paths(draft), target.resolve_paths(name))
