"""Label a dataset on many workers: the same pipeline on this machine, Slurm, Ray or Hugging Face Jobs.

    python recipes/label_at_scale/label.py --executor local --tasks 2 --model my-policy \\
        --endpoint http://127.0.0.1:8000 --data out/nano/data --num-problems 1000 --output out/at_scale

Then `python recipes/label_at_scale/merge.py out/at_scale`. Started again, finished ranks are skipped, finished problems
are not searched again, and of unfinished ones no answered request is sent again. See README.md beside this file.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import Any

from datatrove.io import get_datafolder
from trove_steps import LabelProblems, ProblemReader, Run, Server

from mmprm_hf.engines import SamplingConfig
from mmprm_hf.labelling import SEARCHES
from mmprm_hf.labelling.label_selection import LabelRowsConfig
from mmprm_hf.stages import read_config

RUN_FILE = "at_scale.json"
RECIPE = Path(__file__).resolve().parent
EXECUTORS = ("local", "ray", "slurm", "jobs")


def build_executor(
    name: str, pipeline: list[Any], output: str, tasks: int, workers: int, options: dict[str, Any]
) -> Any:
    """Return the datatrove executor.

    Args:
        name: One of `EXECUTORS`.
        pipeline: Reader and labelling step.
        output: Folder or URL of the run; logs, statistics and completion marks lie in ``OUTPUT/logs``.
        tasks: Shards.
        workers: Shards at a time; -1 for all.
        options: Go to the executor as they are: Slurm needs `partition` and `time`, Jobs take `flavor`, ...

    Raises:
        ValueError: if Slurm lacks its options, or Jobs get a folder of this machine.
    """
    common = {"pipeline": pipeline, "tasks": tasks, "workers": workers, "logging_dir": f"{output}/logs"}
    if name == "local":
        from datatrove.executor import LocalPipelineExecutor

        return LocalPipelineExecutor(**common, **options)
    if name == "ray":
        from datatrove.executor import RayPipelineExecutor

        return RayPipelineExecutor(**common, **options)
    if name == "slurm":
        from datatrove.executor import SlurmPipelineExecutor

        missing = [option for option in ("partition", "time") if option not in options]
        if missing:
            raise ValueError(f"Slurm needs --option {'=... and --option '.join(missing)}=...; add what is missing.")
        # The job finds this interpreter's commands and this folder's modules.
        paths = f'export PATH="{Path(sys.executable).parent}:$PATH" PYTHONPATH="{RECIPE}:$PYTHONPATH"'
        named = {"job_name": "label_at_scale", "env_command": paths} | options
        return SlurmPipelineExecutor(**common, **named)
    from datatrove.executor import JobsPipelineExecutor

    return JobsPipelineExecutor(**common, **{"job_name": "label_at_scale", **options})


def launch(name: str, executor: Any) -> None:
    """Run the executor; with Slurm it returns once the job is queued.

    Raises:
        SystemExit: if ranks are unfinished at its end (Ray and Jobs only warn of it).
    """
    if name == "ray":
        import ray

        # Ships this folder to all nodes; the address, if any, is Ray's own RAY_ADDRESS.
        ray.init(runtime_env={"working_dir": str(RECIPE)}, include_dashboard=False)
    executor.run()
    if name != "slurm" and (ranks := executor.get_incomplete_ranks()):
        raise SystemExit(
            f"{len(ranks)} of {executor.world_size} tasks are unfinished ({', '.join(map(str, ranks[:10]))}); reasons "
            "are in logs/logs. Start the same command again: what is paid for is kept."
        )


def parse_options(pairs: list[str]) -> dict[str, Any]:
    """``name=value`` pairs. A value is JSON (8, true, ["a", "b"]) or else text (10:00:00, which YAML makes 36000)."""
    options: dict[str, Any] = {}
    for pair in pairs:
        name, separator, value = pair.partition("=")
        if not separator:
            raise SystemExit(f"Found option {pair!r}; write it as name=value.")
        try:
            options[name] = json.loads(value)
        except ValueError:
            options[name] = value
    return options


def claim(output: str, run: Run) -> None:
    """Note what makes this run; refuse a folder (or URL) that another one made."""
    found = json.loads(json.dumps(dataclasses.asdict(run)))
    folder = get_datafolder(output)
    if not folder.exists(RUN_FILE):
        with folder.open(RUN_FILE, "w") as file:
            json.dump(found, file, indent=2)
        return
    with folder.open(RUN_FILE) as file:
        there = json.load(file)
    differing = sorted(name for name in found if there.get(name) != found[name])
    if differing:
        details = "; ".join(f"{name}: {there.get(name)!r} there, {found[name]!r} now" for name in differing)
        raise SystemExit(
            f"{output} holds another run ({details}). Runs are not mixed: choose another --output, or go back to the "
            f"settings in its {RUN_FILE}."
        )


def read_options(config: Path | None, search: str) -> list[dict[str, Any]]:
    """Options of the search, of `SamplingConfig` and of `LabelRowsConfig` (which `merge.py` uses) in a YAML file."""
    options = read_config(config, SEARCHES[search][1], SamplingConfig, LabelRowsConfig)
    LabelRowsConfig(**options[2])  # a bad option ends the run before it has cost anything
    return options


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--executor", choices=EXECUTORS, default="local")
    parser.add_argument("--tasks", type=int, default=2, help="Shards; each is restarted alone. Fixed for a run.")
    parser.add_argument("--workers", type=int, default=-1, help="Shards at a time; -1: all.")
    parser.add_argument("--model", required=True, help="Policy: its name at the endpoint, or what the server loads.")
    parser.add_argument("--endpoint", action="append", default=[], help="Running server; several: one per rank in turn")
    parser.add_argument("--server", choices=["vllm", "sglang", "custom"], default="vllm", help="Started without one.")
    parser.add_argument("--max-context", type=int, default=8192, help="Tokens, of a started server.")
    parser.add_argument("--data", help="Dataset in MM-K12's schema, a folder or Hub id. Default: the nano world.")
    parser.add_argument("--num-problems", type=int, default=10_000)
    parser.add_argument("--output", default="out/at_scale", help="The run's folder or URL.")
    parser.add_argument("--work", help="Folder for unfinished ranks where OUTPUT is a URL or has no file locks.")
    parser.add_argument("--search", choices=sorted(SEARCHES), default="omegaprm")
    parser.add_argument("--config", type=Path, help="YAML with options, as `mmprm label` takes it.")
    parser.add_argument("--prefill", choices=["continue", "user"], default="continue")
    parser.add_argument("--extra-body", type=json.loads, default={}, help="More fields of every request, as JSON.")
    parser.add_argument("--max-in-flight", type=int, default=64, help="Problems at a time per task.")
    parser.add_argument("--max-concurrency", type=int, default=256, help="Requests in flight per task.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help="For the executor.")
    parser.add_argument("--model-option", action="append", default=[], metavar="NAME=VALUE", help="For the server.")
    return parser.parse_args()


def absolute(path: str | None) -> str | None:
    """A folder of this machine by its whole path, since workers start elsewhere; URLs and Hub ids as they are."""
    return os.path.abspath(path) if path is not None and "://" not in path and os.path.exists(path) else path


def main() -> None:
    args = parse_arguments()
    search_options, sampling_options, _ = read_options(args.config, args.search)
    run = Run(
        data=absolute(args.data),
        num_problems=args.num_problems,
        num_tasks=args.tasks,
        model=args.model,
        search=args.search,
        search_options=search_options,
        sampling_options=sampling_options,
        prefill=args.prefill,
        extra_body=args.extra_body,
        seed=args.seed,
    )
    output = args.output.rstrip("/") if "://" in args.output else os.path.abspath(args.output)
    run.engine("http://127.0.0.1", 1), run.search_config  # bad options end the run before a server is started
    server = Server(tuple(args.endpoint), args.server, parse_options(args.model_option), args.max_context)
    step = LabelProblems(
        run,
        server,
        output,
        work=args.work and os.path.abspath(args.work),
        max_in_flight=args.max_in_flight,
        max_concurrency=args.max_concurrency,
    )
    options = parse_options(args.option)
    executor = build_executor(args.executor, [ProblemReader(run), step], output, args.tasks, args.workers, options)
    claim(output, run)
    launch(args.executor, executor)


if __name__ == "__main__":
    main()
