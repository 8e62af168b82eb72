"""The verb that evaluates: a benchmark, candidates on disk, step scores, or the nano world."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from .options import (
    AggregationOption,
    CandidatesOption,
    ConfigOption,
    EngineOption,
    JsonOption,
    KeyOption,
    PRMOption,
    SeedOption,
    ServedPolicyOption,
    nothing_left,
    quiet,
    show,
)


def evaluate(
    ctx: typer.Context,
    output: Annotated[Path, typer.Option("--output", "-o", help="Results file to write.")] = Path(
        "out/evaluate/results.json"
    ),
    benchmark: Annotated[
        Literal["mm_k12", "olympiadbench", "mathvista", "mathverse", "mathvision"] | None,
        typer.Option(help="A best-of-N benchmark, whose rows --data names, in the published evaluation's wording."),
    ] = None,
    steps: Annotated[
        Literal["visualprocessbench", "processbench", "prmbench"] | None,
        typer.Option(help="A step-level benchmark, whose rows --data names."),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="With --benchmark or --steps: its .jsonl file, dataset folder or hub id."),
    ] = None,
    split: Annotated[str, typer.Option(help="With --benchmark: of a dataset.")] = "test",
    subset: Annotated[str | None, typer.Option(help="With --benchmark: a dataset's configuration.")] = None,
    candidates: Annotated[
        Path | None,
        typer.Option(
            help="candidates.jsonl of another run: its table, without any model; with --benchmark: scored by --prm."
        ),
    ] = None,
    diagnose: Annotated[
        bool, typer.Option("--diagnose", help="Say why the PRM does or does not beat the majority vote.")
    ] = False,
    curves: Annotated[
        bool,
        typer.Option("--curves", help="Every smaller N, and the PRM against the majority vote."),
    ] = False,
    aggregation: AggregationOption = "min",
    threshold: Annotated[
        float | None, typer.Option(help="With --steps: a step with a lower score is called wrong.")
    ] = None,
    tuned_on: Annotated[
        str | None,
        typer.Option(help='With --threshold: where it was chosen, in words; "none" if fixed beforehand.'),
    ] = None,
    train_data: Annotated[
        str | None, typer.Option(help="With --steps: rows of other problems, on which the threshold is chosen.")
    ] = None,
    num_problems: Annotated[
        int | None, typer.Option(min=1, help="The first so many. Default: all; of the nano world 500.")
    ] = None,
    num_train_problems: Annotated[
        int, typer.Option(help="Nano world: train problems on which thresholds are chosen.")
    ] = 200,
    num_candidates: CandidatesOption = 16,
    temperature: Annotated[float | None, typer.Option(help="With --benchmark. Default: 1.0.")] = None,
    top_p: Annotated[float | None, typer.Option(help="With --benchmark. Default: 1.0.")] = None,
    max_new_tokens: Annotated[
        int | None, typer.Option(help="With --benchmark. Default: the policy's own limit, else 1024.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="With --benchmark: problems solved together.")] = 8,
    policy: ServedPolicyOption = None,
    prm: PRMOption = None,
    engine: EngineOption = None,
    api_key: KeyOption = None,
    seed: SeedOption = 0,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Best-of-N tables, curves, step benchmarks, and why.

    --benchmark solves a benchmark's problems, goes on where it was cut off, and shows the table, every smaller N and
    the diagnosis. --candidates shows those of candidates on disk. --steps scores a step-level benchmark. Without them
    the nano world's held-out problems are evaluated, whose checker knows which steps are right. Every result is one
    JSON form; `mmprm report` makes a page, plots or a Markdown table of it.
    """
    nothing_left(config)
    if benchmark is not None:
        kind = "--benchmark" if candidates is None else "--benchmark with --candidates"
    else:
        kind = "--steps" if steps is not None else "--candidates" if candidates is not None else "the nano world"
    _check_flags(ctx, benchmark, steps, data, kind)
    from .. import stages

    sampling = {"temperature": temperature, "top_p": top_p, "max_new_tokens": max_new_tokens}
    sampling = {name: value for name, value in sampling.items() if value is not None}
    with quiet(as_json):
        if benchmark is not None:
            found = stages.evaluate_benchmark(
                benchmark,
                data,
                output,
                policy=None if candidates is not None else policy,
                prm=prm,
                servers=stages.Servers(None if candidates is not None else engine, api_key=api_key),
                candidates=candidates,
                split=split,
                subset=subset,
                num_problems=num_problems,
                options={} if candidates is not None else {"num_candidates": num_candidates, "seed": seed, **sampling},
                aggregation=aggregation,
                batch_size=batch_size,
            )
            text = stages.format_evaluation
        elif steps is not None:
            chosen = {"threshold": threshold, "tuned_on": tuned_on, "train_data": train_data}
            found = stages.evaluate_step_benchmark(steps, data, output, prm=prm, num_samples=num_problems, **chosen)
            text = stages.format_steps
        elif candidates is not None:
            parts = {"aggregation": aggregation, "with_diagnosis": diagnose, "with_curves": curves}
            found = stages.evaluate_candidates(candidates, output, **parts)
            text = stages.format_evaluation
        else:
            sizes = {"num_problems": num_problems or 500, "num_train_problems": num_train_problems}
            parts = {"with_diagnosis": diagnose, "with_curves": curves}
            found = _nano(output, policy, prm, **sizes, num_candidates=num_candidates, seed=seed, **parts)
            text = _nano_text
    show(found, as_json, lambda results: f"{text(results)}\n\nnumbers in {output}")


_FLAGS: dict[str, set[str]] = {
    "--benchmark": {
        *("benchmark", "data", "split", "subset", "num_problems", "num_candidates", "temperature", "top_p"),
        *("max_new_tokens", "batch_size", "policy", "prm", "engine", "seed", "aggregation", "curves", "diagnose"),
    },
    "--benchmark with --candidates": {
        *("benchmark", "data", "split", "subset", "num_problems", "candidates", "batch_size", "prm", "aggregation"),
        *("curves", "diagnose"),
    },
    "--steps": {"steps", "data", "threshold", "tuned_on", "train_data", "num_problems", "prm"},
    "--candidates": {"candidates", "aggregation", "curves", "diagnose"},
    "the nano world": {
        *("num_problems", "num_train_problems", "num_candidates", "policy", "prm", "seed", "curves", "diagnose"),
    },
}
"""What each evaluation takes, besides what all take."""
_COMMON = {"output", "api_key", "config", "as_json"}


def _check_flags(ctx: typer.Context, benchmark: str | None, steps: str | None, data: str | None, kind: str) -> None:
    """Flags that belong together; one that an evaluation would ignore is refused. Configurations may hold more.

    Raises:
        typer.BadParameter: with the rule.
    """
    if benchmark is not None and steps is not None:
        raise typer.BadParameter("give --benchmark or --steps; each is an evaluation of its own.")
    if (benchmark is not None or steps is not None) != (data is not None):
        raise typer.BadParameter("--benchmark or --steps and --data, its rows, belong together.")
    given = {name for name in ctx.params if ctx.get_parameter_source(name).name == "COMMANDLINE"}
    if unused := sorted(given - _FLAGS[kind] - _COMMON):
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in unused)
        takers = [name for name, flags_of in _FLAGS.items() if set(unused) <= flags_of]
        hint = f"; {'it belongs' if len(unused) == 1 else 'they belong'} to {' or '.join(takers)}" if takers else ""
        raise typer.BadParameter(f"{flags} would be ignored by {kind}{hint}.")


def _nano(output: Path, policy: str | None, prm: str | None, **options: Any) -> dict[str, Any]:
    from ..nano import POLICY_PATH, PRM_PATH
    from ..stages import evaluate_nano, load_models

    models = load_models(policy or POLICY_PATH, prm or PRM_PATH)
    return evaluate_nano(output, models=models, **options)


def _nano_text(results: dict[str, Any]) -> str:
    from .. import stages
    from ..stages import format_step_level

    return f"\n{stages.format_evaluation(results)}\n\n{format_step_level(results)}"
