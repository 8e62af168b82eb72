"""Label a dataset on many workers: the same pipeline on this machine, Slurm, Ray or Hugging Face Jobs.

    python recipes/label_at_scale/label.py --executor local --tasks 2 --model my-policy \\
        --endpoint http://127.0.0.1:8000 --data out/nano/data --num-problems 1000 --output out/at_scale

Then `python recipes/label_at_scale/merge.py out/at_scale`. Started again, finished ranks are skipped, finished problems
are not searched again, and of unfinished ones no request is sent twice. See README.md beside this file.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

from datatrove.io import get_datafolder
from trove_steps import Run, build_pipeline

from mmprm_hf.engines import SamplingConfig
from mmprm_hf.stages import SEARCHES, read_config

RUN_FILE = "at_scale.json"


def make_executor(name: str, pipeline: list, tasks: int, workers: int, logs: str, options: dict[str, Any]) -> Any:
    """The datatrove executor; `options` go to it as they are (partition, time, gpus_per_task, flavor, ...)."""
    if name == "local":
        from datatrove.executor import LocalPipelineExecutor as Executor
    elif name == "ray":
        from datatrove.executor import RayPipelineExecutor as Executor
    elif name == "slurm":
        from datatrove.executor import SlurmPipelineExecutor as Executor
    else:
        from datatrove.executor import JobsPipelineExecutor as Executor
    return Executor(pipeline=pipeline, tasks=tasks, workers=workers, logging_dir=logs, **options)


def parse_options(pairs: list[str]) -> dict[str, Any]:
    """``name=value`` pairs; values are read as YAML, so that 8 is a number and [a, b] a list."""
    import yaml

    options = {}
    for pair in pairs:
        name, separator, value = pair.partition("=")
        if not separator:
            raise SystemExit(f"Found option {pair!r}; write it as name=value.")
        options[name] = yaml.safe_load(value)
    return options


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--executor", choices=["local", "ray", "slurm", "jobs"], default="local")
    parser.add_argument("--tasks", type=int, default=2, help="Shards; each is restarted alone.")
    parser.add_argument("--workers", type=int, default=-1, help="Shards at a time; -1: all.")
    parser.add_argument("--model", required=True, help="Policy: its name at the endpoint, or what the server loads.")
    parser.add_argument("--endpoint", help="URL of a running server; without it --server is started on every worker.")
    parser.add_argument("--server", choices=["vllm", "sglang"], default="vllm")
    parser.add_argument("--data", type=Path, help="Dataset folder in MM-K12's schema. Default: the nano world.")
    parser.add_argument("--num-problems", type=int, default=10_000)
    parser.add_argument("--output", default="out/at_scale", help="Shards, logs and the run's settings.")
    parser.add_argument("--checkpoints", help="Default: OUTPUT/checkpoints. A local disk that outlives a restart.")
    parser.add_argument("--search", choices=sorted(SEARCHES), default="omegaprm")
    parser.add_argument("--config", type=Path, help="YAML with options of the search and of SamplingConfig.")
    parser.add_argument("--prefill", choices=["continue", "user"], default="continue")
    parser.add_argument("--max-concurrent", type=int, default=256, help="Samples in flight per task.")
    parser.add_argument("--chunk", type=int, default=200, help="Problems per output file.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help="For the executor.")
    parser.add_argument("--model-option", action="append", default=[], metavar="NAME=VALUE", help="For the server.")
    args = parser.parse_args()

    search_options, sampling_options = read_config(args.config, SEARCHES[args.search][1], SamplingConfig)
    run = Run(
        data=args.data,
        num_problems=args.num_problems,
        model=args.model,
        search=args.search,
        search_options=search_options,
        sampling_options=sampling_options,
        prefill=args.prefill,
        seed=args.seed,
    )
    claim(args.output, run)
    pipeline = build_pipeline(
        run,
        f"{args.output}/shards",
        args.checkpoints or f"{args.output}/checkpoints",
        server="endpoint" if args.endpoint else args.server,
        endpoint_url=args.endpoint,
        max_concurrent_generations=args.max_concurrent,
        documents_per_chunk=args.chunk,
        model_options=parse_options(args.model_option),
    )
    executor = make_executor(
        args.executor, pipeline, args.tasks, args.workers, f"{args.output}/logs", parse_options(args.option)
    )
    executor.run()


def claim(output: str, run: Run) -> None:
    """Note what makes this run; refuse a folder (or URL) that another one made."""
    found = json.loads(json.dumps({**dataclasses.asdict(run), "data": None if run.data is None else str(run.data)}))
    folder = get_datafolder(output)
    if folder.exists(RUN_FILE):
        with folder.open(RUN_FILE) as file:
            there = json.load(file)
        differing = sorted(name for name in found if there.get(name) != found[name])
        if differing:
            raise SystemExit(
                f"{output} holds shards of another run, with other {', '.join(differing)}. Runs are not mixed: choose "
                f"another --output, or go back to the settings in its {RUN_FILE}."
            )
        return
    with folder.open(RUN_FILE, "w") as file:
        json.dump(found, file, indent=2)


if __name__ == "__main__":
    main()
