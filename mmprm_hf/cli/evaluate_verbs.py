"""Verbs that evaluate: answers of a benchmark, its steps, candidates on disk, or the nano world."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from .options import (
    AggregationOption,
    CandidatesOption,
    ColumnsOption,
    ConfigOption,
    EngineOption,
    InstructOption,
    JsonOption,
    KeyOption,
    ListOption,
    PolicyOption,
    PRMOption,
    RootsOption,
    SavedPRMOption,
    SeedOption,
    ServedPolicyOption,
    StepFormatOption,
    TemplateOption,
    TimeoutOption,
    UrlsOption,
    checked_data,
    column_names,
    figure_rules,
    note_replaced_results,
    nothing_left,
    policy_form,
    quiet,
    show,
    without_none,
)

DataOption = Annotated[
    str, typer.Option(callback=checked_data, help="The benchmark's .jsonl file, dataset folder or hub id.")
]
ResultsOption = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", help="Results file. Default: out/evaluate/NAME/results.json, NAME for what is done."
    ),
]
CurvesOption = Annotated[bool, typer.Option("--curves", help="Add every smaller N, and the PRM against majority vote.")]
DiagnoseOption = Annotated[
    bool, typer.Option("--diagnose", help="Add why the PRM does or does not beat the majority vote.")
]
AnswerBenchmark = Literal["own", "mm_k12", "olympiadbench", "mathvista", "mathverse", "mathvision"]
StepBenchmark = Literal["visualprocessbench", "processbench", "prmbench"]
_GENERATION = (
    "policy",
    "engine",
    "step_format",
    "instruct",
    "template_options",
    "num_candidates",
    "temperature",
    "top_p",
    "max_new_tokens",
    "seed",
    "timeout",
)


class EvaluateGroup(TyperGroup):
    """Answers the spellings of the one verb that this group replaces with the new command."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:
        flags = {argument.partition("=")[0] for argument in args}
        if args and (args[0].startswith("-") and not flags & set(ctx.help_option_names)):
            new = "nano"
            if "--steps" in flags:
                new = "steps --benchmark NAME"
            elif flags & {"--benchmark", "--config"}:
                new = "answers"
            elif "--candidates" in flags:
                new = "candidates FILE"
            ctx.fail(f"this command is `mmprm evaluate {new}` now; see `mmprm evaluate --help`.")
        return super().parse_args(ctx, args)


def answers(
    ctx: typer.Context,
    benchmark: Annotated[AnswerBenchmark, typer.Option(help="Form and wording of rows; own: your problems.")],
    data: DataOption,
    output: ResultsOption = None,
    candidates: Annotated[
        Path | None, typer.Option(help="candidates.jsonl of another run: score and judge it; generate nothing.")
    ] = None,
    split: Annotated[str, typer.Option(help="Split of a dataset.")] = "test",
    subset: Annotated[str | None, typer.Option(help="Configuration of a dataset.")] = None,
    num_problems: Annotated[int | None, typer.Option(min=1, help="Number of problems. Default: all.")] = None,
    num_candidates: CandidatesOption = 16,
    aggregation: AggregationOption = "min",
    temperature: Annotated[float | None, typer.Option(help="Temperature of sampling. Default: 1.0.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Nucleus of sampling. Default: 1.0.")] = None,
    max_new_tokens: Annotated[
        int | None, typer.Option(help="Most tokens of a solution. Default: the policy's own limit, else 1024.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Problems that are solved together.")] = 8,
    policy: ServedPolicyOption = None,
    prm: SavedPRMOption = None,
    engine: EngineOption = None,
    step_format: StepFormatOption = None,
    instruct: InstructOption = "auto",
    template_options: TemplateOption = None,
    api_key: KeyOption = None,
    timeout: TimeoutOption = 600.0,
    seed: SeedOption = 0,
    columns: ColumnsOption = None,
    figures_root: RootsOption = None,
    allow_urls: UrlsOption = None,
    config: ConfigOption = None,
    list_options: ListOption = False,
    as_json: JsonOption = False,
) -> None:
    """Best-of-N on a benchmark: table, curves, diagnosis.

    Solves the benchmark's problems with a policy and a PRM, and resumes where it was cut off. With --candidates,
    candidates of the same problems are scored by another PRM instead.
    """
    nothing_left(config)
    from .. import stages

    output = output or _default_output(benchmark)
    rules = figure_rules(figures_root, allow_urls)
    which = stages.BenchmarkData(benchmark, data, split, subset, num_problems, rules, column_names(columns))
    options = {"prm": prm, "aggregation": aggregation, "batch_size": batch_size}
    if candidates is not None:
        _refuse_generation(ctx)
        with quiet(as_json):
            results = stages.rescore_benchmark(which, candidates, output, **options)
    else:
        sampling = without_none(temperature=temperature, top_p=top_p, max_new_tokens=max_new_tokens)
        call = {"num_candidates": num_candidates, "seed": seed, **sampling}
        servers = stages.Servers(engine, api_key=api_key, timeout_seconds=timeout)
        options |= {"policy": policy, "servers": servers, "form": policy_form(step_format, instruct, template_options)}
        with quiet(as_json):
            results = stages.evaluate_benchmark(which, output, options=call, **options)
    _show(results, as_json, output)


def steps(
    benchmark: Annotated[StepBenchmark, typer.Option(help="The step-level benchmark.")],
    data: DataOption,
    output: ResultsOption = None,
    threshold: Annotated[float | None, typer.Option(help="A step with a lower score is called wrong.")] = None,
    tuned_on: Annotated[
        str | None, typer.Option(help='Name of the data on which --threshold was chosen; "none" if fixed beforehand.')
    ] = None,
    train_data: Annotated[
        str | None, typer.Option(help="Instead of --threshold: rows of other problems to choose it on.")
    ] = None,
    num_samples: Annotated[int | None, typer.Option(min=1, help="Number of samples. Default: all.")] = None,
    prm: PRMOption = None,
    columns: ColumnsOption = None,
    figures_root: RootsOption = None,
    allow_urls: UrlsOption = None,
    config: ConfigOption = None,
    list_options: ListOption = False,
    as_json: JsonOption = False,
) -> None:
    """Step scores of a PRM on a step-level benchmark."""
    nothing_left(config)
    from .. import stages

    output = output or _default_output(benchmark)
    note_replaced_results(output)
    options = {"threshold": threshold, "tuned_on": tuned_on, "train_data": train_data, "num_samples": num_samples}
    options |= {"rules": figure_rules(figures_root, allow_urls), "columns": column_names(columns)}
    with quiet(as_json):
        results = stages.evaluate_step_benchmark(benchmark, data, output, prm=prm, **options)
    _show(results, as_json, output)


def candidates(
    file: Annotated[Path, typer.Argument(help="candidates.jsonl, as `mmprm rerank` and `mmprm demo` write it.")],
    output: ResultsOption = None,
    curves: CurvesOption = False,
    diagnose: DiagnoseOption = False,
    aggregation: AggregationOption = "min",
    config: ConfigOption = None,
    list_options: ListOption = False,
    as_json: JsonOption = False,
) -> None:
    """Best-of-N of candidates on disk, without any model."""
    nothing_left(config)
    from .. import stages

    name = file.parent.name if file.name == "candidates.jsonl" else file.stem
    output = output or _default_output(name if aggregation == "min" else f"{name}-{aggregation}")
    note_replaced_results(output)
    sections = {"with_diagnosis": diagnose, "with_curves": curves}
    results = stages.evaluate_candidates(file, output, aggregation=aggregation, **sections)
    _show(results, as_json, output)


def nano(
    output: ResultsOption = None,
    curves: CurvesOption = False,
    diagnose: DiagnoseOption = False,
    num_problems: Annotated[int, typer.Option(help="Held-out problems, 1 to 500.")] = 500,
    num_train_problems: Annotated[int, typer.Option(help="Train problems on which thresholds are chosen.")] = 200,
    num_candidates: CandidatesOption = 16,
    policy: PolicyOption = None,
    prm: PRMOption = None,
    seed: SeedOption = 0,
    config: ConfigOption = None,
    list_options: ListOption = False,
    as_json: JsonOption = False,
) -> None:
    """Best-of-N and step scores in the nano world.

    The problems are held out; an exact checker decides which steps are right.
    """
    nothing_left(config)
    from .. import stages
    from ..nano import POLICY_PATH, PRM_PATH

    output = output or _default_output("nano")
    note_replaced_results(output)
    sizes = {"num_problems": num_problems, "num_train_problems": num_train_problems, "num_candidates": num_candidates}
    sections = {"with_diagnosis": diagnose, "with_curves": curves}
    models = stages.load_models(policy or POLICY_PATH, prm or PRM_PATH)
    with quiet(as_json):
        results = stages.evaluate_nano(output, models=models, seed=seed, **sizes, **sections)
    _show(results, as_json, output)


def _default_output(name: str) -> Path:
    """Where results go that were given no place: it is named after what is evaluated."""
    return Path("out/evaluate") / (name or "candidates") / "results.json"


def _refuse_generation(ctx: typer.Context) -> None:
    """Refuse flags that would be ignored because nothing is generated; a configuration may hold them.

    Raises:
        typer.BadParameter: naming them.
    """
    ignored = [name for name in _GENERATION if ctx.get_parameter_source(name).name == "COMMANDLINE"]
    if ignored:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in ignored)
        raise typer.BadParameter(f"{flags} would be ignored with --candidates: nothing is generated.")


def _show(results: dict[str, Any], as_json: bool, output: Path) -> None:
    from ..publish import format_results

    show(results, as_json, lambda document: f"\n{format_results(document)}\n\nnumbers in {output}")


_HELP = """Best-of-N tables, curves, step benchmarks, and why.

Every result is one JSON form; `mmprm report` makes a page, plots or a Markdown table of it.
"""
evaluate = typer.Typer(name="evaluate", cls=EvaluateGroup, help=_HELP, no_args_is_help=True, rich_markup_mode=None)
for _verb in (answers, steps, candidates, nano):
    evaluate.command()(_verb)
