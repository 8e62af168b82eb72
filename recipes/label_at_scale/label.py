"""Label a dataset on many workers: the same pipeline on this machine, Slurm, Ray or Hugging Face Jobs.

    python recipes/label_at_scale/label.py --executor local --tasks 2 --model my-policy \\
        --endpoint http://127.0.0.1:8000 --data out/nano/data --num-problems 1000 --output out/at_scale

Then `python recipes/label_at_scale/merge.py out/at_scale`. A second start skips finished ranks, does
not search finished problems again, and sends no answered request of an unfinished one again. README.md has the rest.
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
from mmprm_hf.errors import SettingsDifferError
from mmprm_hf.files import check_same_settings
from mmprm_hf.labelling import SEARCHES, LabelRowsConfig
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
        tasks: Number of shards.
        workers: Shards at a time; -1 for all.
        options: Passed to the executor as they are: Slurm needs `partition` and `time`, Jobs take `flavor`, ...

    Raises:
        ValueError: if options of Slurm are missing, or Jobs get a folder of this machine.
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
        SystemExit: if ranks are unfinished at its end (Ray and Jobs themselves only warn).
    """
    if name == "ray":
        import ray

        # Copies this folder to all nodes; the address, if any, is Ray's own RAY_ADDRESS.
        ray.init(runtime_env={"working_dir": str(RECIPE)}, include_dashboard=False)
    executor.run()
    if name != "slurm" and (ranks := executor.get_incomplete_ranks()):
        raise SystemExit(
            f"{len(ranks)} of {executor.world_size} tasks are unfinished ({', '.join(map(str, ranks[:10]))}); see "
            "logs/logs for the reasons. Start the same command again: what is paid for is kept."
        )


def parse_options(pairs: list[str]) -> dict[str, Any]:
    """Return ``name=value`` pairs as a dict. A value is JSON (8, true) or text (10:00:00, which YAML makes 36000)."""
    options: dict[str, Any] = {}
    for pair in pairs:
        name, separator, value = pair.partition("=")
        if not separator:
            raise SystemExit(f"Found the option {pair!r}; write it as name=value.")
        try:
            options[name] = json.loads(value)
        except ValueError:
            options[name] = value
    return options


def claim(output: str, run: Run) -> None:
    """Record the settings of this run in its folder (or URL).

    Raises:
        SystemExit: if the folder was made with other settings.
    """
    settings, folder = dataclasses.asdict(run), get_datafolder(output)
    if not folder.exists(RUN_FILE):
        with folder.open(RUN_FILE, "w") as file:
            json.dump(settings, file, indent=2)
        return
    with folder.open(RUN_FILE) as file:
        before = json.load(file)
    try:
        check_same_settings(Path(output) / RUN_FILE, before, settings)
    except SettingsDifferError as error:
        raise SystemExit(str(error)) from error


def read_options(config: Path | None, search: str) -> list[dict[str, Any]]:
    """Return the options of search, `SamplingConfig` and `LabelRowsConfig` (for `merge.py`) in a YAML file."""
    options = read_config(config, SEARCHES[search][1], SamplingConfig, LabelRowsConfig)
    LabelRowsConfig(**options[2])  # a wrong option ends the run before it has cost anything
    return options


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--executor", choices=EXECUTORS, default="local", help="Where the ranks run.")
    add("--tasks", type=int, default=2, help="Number of shards; each restarts alone. It is fixed for a run.")
    add("--workers", type=int, default=-1, help="Shards at a time; -1 for all.")
    add("--model", required=True, help="The policy's name at the endpoint, or what a started server loads.")
    add("--endpoint", action="append", default=[], help="URL of a running server; repeat it for several.")
    add("--server", choices=["vllm", "sglang", "custom"], default="vllm", help="What to start without --endpoint.")
    add("--max-context", type=int, default=8192, help="Context length of a started server, in tokens.")
    add("--data", help="Problems in MM-K12's schema: a folder, a file or a Hub id. Default: the nano world.")
    add("--num-problems", type=int, default=10_000, help="The most train problems.")
    add("--output", default="out/at_scale", help="Folder or URL of the run.")
    add("--work", help="Folder for unfinished ranks if OUTPUT is a URL or has no file locks.")
    add("--search", choices=sorted(SEARCHES), default="omegaprm", help="How step labels are searched.")
    add("--config", type=Path, help="YAML file with options, as for `mmprm label`.")
    add("--prefill", choices=["continue", "user"], default="continue", help="How a server is shown a prefix.")
    formats = ["tagged", "paragraphs", "lines", "numbered"]
    add("--step-format", choices=formats, default="tagged", help="How the policy writes steps.")
    add("--extra-body", type=json.loads, default={}, help="Further fields of every request, as JSON.")
    add("--max-in-flight", type=int, default=64, help="Problems per task that are searched at a time.")
    add("--max-concurrency", type=int, default=256, help="The most requests per task in flight.")
    add("--seed", type=int, default=0, help="Seed of the run.")
    add("--option", action="append", default=[], metavar="NAME=VALUE", help="Option of the executor.")
    add("--model-option", action="append", default=[], metavar="NAME=VALUE", help="Option of a started server.")
    return parser.parse_args()


def absolute(path: str | None) -> str | None:
    """Return a local folder as its absolute path, since workers start elsewhere; URLs and Hub ids as they are."""
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
        step_format=args.step_format,
        extra_body=args.extra_body,
        seed=args.seed,
    )
    output = args.output.rstrip("/") if "://" in args.output else os.path.abspath(args.output)
    run.engine("http://127.0.0.1", 1), run.search_config  # a wrong option ends the run before a server is started
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
