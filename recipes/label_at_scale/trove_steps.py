"""The package's searches as datatrove steps: one document per problem, one run folder per rank.

datatrove shards the problems, starts the ranks (local processes, Slurm, Ray, Hugging Face Jobs), marks finished ones,
and can start a server for each. A rank is a run of the package's own driver, with its journal, retries, ledger and
seeds, so that its trees are those that `mmprm label` writes, byte for byte. README.md explains why datatrove's
InferenceRunner is not used.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from datatrove.data import Document, DocumentsPipeline
from datatrove.io import get_datafolder
from datatrove.pipeline.base import PipelineStep
from datatrove.utils.logging import logger

from mmprm_hf.answers import RuleVerifier
from mmprm_hf.data import Problem
from mmprm_hf.engines import ChatClient, EndpointEngine, SamplingConfig
from mmprm_hf.files import iter_jsonl, read_json
from mmprm_hf.labelling import (
    SEARCHES,
    LabelRun,
    LabelSummary,
    NothingLabelledError,
    RequestFailedError,
    label_problems_async,
)
from mmprm_hf.labelling.run_health import MAX_FAILURES_BEFORE_TREE
from mmprm_hf.stages import open_problems

API_KEY_VARIABLE = "MMPRM_API_KEY"
TREES = "trees.jsonl"
_BLOCK_BYTES = 1 << 20
# A rank's results, without the journals of unfinished problems, in the order in which they are copied. The driver can
# resume from a copy that was interrupted anywhere: the ledger row of a tree is there before the tree (a row without a
# tree is written again, a tree without its row never gets one), and run.json, which marks a filled folder, is last.
RANK_FILES = ("ledger.jsonl", TREES, "failures.jsonl", "summary.json", "run.json")


@dataclasses.dataclass(frozen=True)
class Run:
    """The settings of a run, equal on every rank.

    Args:
        data: Problems in MM-K12's schema (folder, file or Hub id); None for the nano world.
        num_problems: The most train problems, from the first on.
        num_tasks: Number of shards; problem i belongs to rank ``i % num_tasks``.
        model: The policy's name at the server.
        search: A name of `mmprm_hf.labelling.SEARCHES`.
        search_options, sampling_options: Options that differ from the defaults of the search's and the sampling's
            dataclass.
        prefill: How a prefix is shown to the policy, see `EndpointEngine`. Not "auto": ranks on different servers must
            agree.
        step_format: How the policy writes steps. Not "auto", for the same reason.
        extra_body: Further fields of every request, see `ChatClient`.
        seed: Seed of the run.
    """

    data: str | None
    num_problems: int
    num_tasks: int
    model: str
    search: str = "omegaprm"
    search_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    sampling_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    prefill: str = "continue"
    step_format: str = "tagged"
    extra_body: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    seed: int = 0

    def engine(self, url: str, max_concurrency: int) -> EndpointEngine:
        """Return the engine on a server. A key comes from the worker's environment and is written nowhere."""
        chat = ChatClient(
            url,
            self.model,
            api_key=os.environ.get(API_KEY_VARIABLE),
            max_concurrency=max_concurrency,
            extra_body=self.extra_body,
        )
        # Every rank has other problems and must read its policy alike, so that the format is named and not found.
        sampling = SamplingConfig(**self.sampling_options)
        return EndpointEngine(chat, sampling=sampling, prefill=self.prefill, step_format=self.step_format)

    @property
    def problems(self) -> Sequence[Problem]:
        """The problems with their ``ids``, each read when it is needed: a rank holds only the figures in flight."""
        return open_problems(self.data, self.num_problems)

    @property
    def search_config(self) -> Any:
        """The search's options."""
        return SEARCHES[self.search][1](**self.search_options)


@dataclasses.dataclass(frozen=True)
class Server:
    """Where a rank's requests go.

    Args:
        endpoints: Running OpenAI-compatible servers, with or without ``/v1``; rank r uses number ``r % len``. If empty,
            datatrove starts a server for the rank.
        kind: Server to start: "vllm", "sglang" or "custom" (a script, in the option `server_script`).
        options: Arguments of the started server, such as ``{"tensor-parallel-size": 2}``.
        max_context: Context length of the started server, in tokens.
    """

    endpoints: tuple[str, ...] = ()
    kind: str = "vllm"
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    max_context: int = 8192

    @contextlib.asynccontextmanager
    async def url(self, model: str, rank: int) -> AsyncIterator[str | None]:
        """Yield the URL for requests; None on a node that only lends its devices to the rank's server."""
        if self.endpoints:
            yield self.endpoints[rank % len(self.endpoints)]
            return
        from datatrove.pipeline.inference.run_inference import InferenceConfig
        from datatrove.pipeline.inference.servers import CustomServer, SGLangServer, VLLMServer

        server_class = {"vllm": VLLMServer, "sglang": SGLangServer, "custom": CustomServer}[self.kind]
        # By default vLLM fills in what a request leaves out (top_k) from the model's own generation config.
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
            # One token through datatrove: it answers once the server is up, and raises if the server does not start.
            question = [{"role": "user", "content": "1 + 1 = ?"}]
            await server.make_request({"model": model, "messages": question, "max_tokens": 1, "seed": 0})
            yield server.get_base_url()


class ProblemReader(PipelineStep):
    """First step: one document per problem of the rank, with the problem's index; figures stay in the dataset."""

    name = "Problems"
    type = "Reader"

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.settings = run

    def run(self, data: DocumentsPipeline = None, rank: int = 0, world_size: int = 1) -> DocumentsPipeline:
        """Yield every `world_size`-th problem, from `rank` on.

        Raises:
            ValueError: if the executor and the run differ in their number of tasks.
        """
        if world_size != self.settings.num_tasks:
            raise ValueError(
                f"The executor has {world_size} tasks and the run {self.settings.num_tasks}. This number assigns "
                "problems to ranks; give both the same."
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
        work: Folder for run folders while they grow, on a disk of this machine or a shared one with file locks. None
            uses `output`, which must then be such a folder. Otherwise results are copied from `work` to `output` every
            ten minutes and at the end, and back when a rank starts on an empty disk.
        max_in_flight: Problems that are searched at a time.
        max_concurrency: The most requests in flight.
        copy_seconds: Time between copies.

    Raises:
        ValueError: if `output` is not a folder of this machine and there is no `work`.
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
            raise ValueError(f"Found output={output!r}, which is not a folder of this machine. Name one as `work` too.")
        self.settings, self.server, self.output, self.work = run, server, output, work
        self.max_in_flight, self.max_concurrency, self.copy_seconds = max_in_flight, max_concurrency, copy_seconds

    def run(self, data: DocumentsPipeline, rank: int = 0, world_size: int = 1) -> None:
        """Label the problems of the documents; nothing is passed on."""
        name = f"ranks/{rank:05d}"
        folder = Path(self.work or self.output) / name
        with self.track_time(unit="rank"):
            if self.work is None:
                summary = asyncio.run(self._label(data, folder, rank))
            else:
                target = get_datafolder(f"{self.output.rstrip('/')}/{name}")
                source = get_datafolder(str(folder))
                if not source.exists("run.json") or num_tree_bytes(target) > num_tree_bytes(source):
                    copy_files(target, source)  # the rank ran elsewhere since this disk had it, if it ever did
                summary = asyncio.run(self._label_and_copy(data, folder, target, rank))
        if summary is not None:
            for name in ("num_trees", "num_failed", "num_mixed", "num_rollouts", "tokens_in", "tokens_out"):
                self.stat_update(name, value=getattr(summary, name), unit="rank")
            logger.info(json.dumps({**dataclasses.asdict(summary), "sessions": len(summary.sessions)}))

    async def _label_and_copy(
        self, data: DocumentsPipeline, folder: Path, target: Any, rank: int
    ) -> LabelSummary | None:
        """Label, and copy results from time to time and at the end, also if the rank stops. Copies never overlap."""
        source, ended = get_datafolder(str(folder)), asyncio.Event()

        async def copy_repeatedly() -> None:
            while True:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(ended.wait(), self.copy_seconds)
                    return
                try:
                    await asyncio.to_thread(copy_files, source, target)
                except Exception as error:  # noqa: BLE001 (any storage's fault; there is a next copy, and a last one)
                    logger.warning(
                        f"Results of rank {rank} could not be copied to {self.output} ({type(error).__name__}: "
                        f"{error}). They are complete in {folder}, and are copied again in {self.copy_seconds:g} s."
                    )

        copying = asyncio.create_task(copy_repeatedly())

        async def copy_at_the_end() -> None:
            # A thread cannot be cancelled: a copy in progress must end first, or it would overwrite this one.
            ended.set()
            await copying
            await asyncio.to_thread(copy_files, source, target)

        try:
            summary = await self._label(data, folder, rank)
        except BaseException:
            try:
                await copy_at_the_end()
            except Exception as error:  # noqa: BLE001 (it must not hide why the rank stopped)
                logger.error(
                    f"Results of rank {rank} could not be copied to {self.output} ({type(error).__name__}: {error}). "
                    f"They are complete in {folder}; start the rank again on this machine, or copy them by hand."
                )
            raise
        await copy_at_the_end()
        return summary

    async def _label(self, data: DocumentsPipeline, folder: Path, rank: int) -> LabelSummary | None:
        settings, problems = self.settings, self.settings.problems
        ids: set[str] = set()

        def read() -> Iterator[Problem]:
            for document in data:
                ids.add(document.id)
                yield problems[document.metadata["index"]]

        async with self.server.url(settings.model, rank) as url:
            if url is None:
                return None
            run = LabelRun(
                engine=settings.engine(url, self.max_concurrency),
                verifier=RuleVerifier(),
                search=SEARCHES[settings.search][0],
                config=settings.search_config,
                output_dir=folder,
                seed=settings.seed,
                max_in_flight=self.max_in_flight,
                progress=False,
            )
            try:
                return await label_problems_async(read(), run)
            except NothingLabelledError as error:
                if (summary := finished_without_trees(folder, ids)) is None:
                    raise
                logger.warning(f"Rank {rank} is finished without a tree, because of its problems. {error}")
                return summary


def finished_without_trees(folder: Path, ids: Set[str]) -> LabelSummary | None:
    """Return the summary of a rank without a tree if its problems are the reason; None if the rank must fail.

    A small shard may contain nothing but problems at fault. The rank must fail if the engine failed at one of them,
    because it may answer the next time. It must also fail if there are as many as stop the driver: they share a fault.

    Args:
        folder: The run folder of a run that ended with `NothingLabelledError`.
        ids: Ids of the rank's problems.
    """
    summary = read_json(folder / "summary.json")
    if summary["num_failed"] >= MAX_FAILURES_BEFORE_TREE:
        return None
    # With fewer failures the driver has tried all problems, so that the last row of each is from this session.
    errors = {row["problem_id"]: row["error"] for row in iter_jsonl(folder / "failures.jsonl")}
    if any(errors.get(problem_id) == RequestFailedError.__name__ for problem_id in ids):
        return None
    return LabelSummary(**{**summary, "sessions": tuple(summary["sessions"])})


def num_tree_bytes(folder: Any) -> int:
    """Return the size of a rank's trees in a datatrove folder; they only grow."""
    return folder.size(TREES) if folder.exists(TREES) else 0


def copy_files(source: Any, target: Any) -> None:
    """Copy the result files of a rank that exist from one datatrove folder to another, in the order of `RANK_FILES`.

    The rank may be running. Only trees that were there when the copy began are copied, so that the ledger rows, which
    are read later and copied before, cover all of them. The last line may be torn if it was just being appended:
    `merge.py` and the driver skip it.
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
    """Write an open file's first `size` bytes (None: all) as a file of a datatrove folder, as a whole or not at all."""
    # An object store shows an object once it is complete; on a disk a kill would leave half of the new file.
    draft = f"{name}.part" if target.is_local() else name
    with target.open(draft, "wb") as written:
        left = size
        while block := read.read(_BLOCK_BYTES if left is None else min(left, _BLOCK_BYTES)):
            written.write(block)
            left = None if left is None else left - len(block)
    if draft != name:
        os.replace(target.resolve_paths(draft), target.resolve_paths(name))
