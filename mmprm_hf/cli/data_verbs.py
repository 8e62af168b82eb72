"""Verbs that make data: data, curate, restructure, label."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from .options import (
    ColumnsOption,
    ConfigOption,
    EngineOption,
    InstructOption,
    JsonOption,
    KeyOption,
    ListOption,
    OutputOption,
    RootsOption,
    SeedOption,
    ServedPolicyOption,
    StepFormatOption,
    StepJudgeOption,
    TemplateOption,
    TimeoutOption,
    UrlsOption,
    checked_data,
    column_names,
    figure_rules,
    named_step_format,
    nothing_left,
    policy_form,
    quiet,
    show,
    without_none,
)


def data(
    output: OutputOption = Path("out/nano/data"),
    num_train: Annotated[int, typer.Option(help="Number of train problems.")] = 10_000,
    num_test: Annotated[int, typer.Option(help="Number of test problems.")] = 500,
    config: ConfigOption = None,
    list_options: ListOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write the nano dataset, parquet files with figures.

    Its schema is MM-K12's; load_dataset(folder) reads it.
    """
    nothing_left(config)
    from ..stages import build_nano_data

    with quiet(as_json):
        counts = build_nano_data(output, num_train, num_test)
    show({**counts, "output": str(output)}, as_json, lambda _: f"wrote {counts} to {output}")


def curate(
    output: OutputOption = Path("out/curated"),
    source: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH", help="Raw problems: file, dataset folder, or hub:owner/name[@revision]."),
    ] = None,
    adapter: Annotated[str, typer.Option(help="Form of rows: schema, mathvision, gaokao_mm, mm_k12, auto.")] = "auto",
    split: Annotated[str, typer.Option(help="Split of a --source that is a dataset.")] = "train",
    benchmark: Annotated[
        list[str] | None, typer.Option(metavar="PATH", help="Benchmark: problems that resemble its own are dropped.")
    ] = None,
    num_train: Annotated[int | None, typer.Option(help="Most train problems. Default: all.")] = None,
    num_test: Annotated[int | None, typer.Option(help="Test problems, drawn by hash. Default: none.")] = None,
    engine: Annotated[
        str | None, typer.Option(metavar="URL", help="Model server; what it solves without the figure is dropped.")
    ] = None,
    api_key: KeyOption = None,
    columns: ColumnsOption = None,
    figures_root: RootsOption = None,
    allow_urls: UrlsOption = None,
    timeout: TimeoutOption = 600.0,
    config: ConfigOption = None,
    list_options: ListOption = False,
    as_json: JsonOption = False,
) -> None:
    """Turn raw problems into a clean dataset with a card.

    Every row that is left out is counted under a named reason, in rejects.jsonl, curation.json and the card. The
    configuration also takes every limit of CurationConfig, and sources and benchmarks as lists of mappings (path,
    adapter, name, split, license, into, columns, ...).
    """
    from .. import stages

    benchmarks = [*config.get("benchmarks", ()), *benchmark] if benchmark else None
    names = column_names(columns)
    with quiet(as_json):
        report = stages.curate_dataset(
            output,
            config=config,
            sources=[{"path": path, "adapter": adapter, "split": split, "columns": names} for path in source or ()],
            options=without_none(num_train=num_train, num_test=num_test, benchmarks=benchmarks),
            servers=stages.Servers(engine, api_key=api_key, timeout_seconds=timeout),
            rules=figure_rules(figures_root, allow_urls),
        )
    show(report, as_json, lambda _: f"{stages.format_curation(report)}\n\nwrote {output}; look at its README.md")


def restructure(
    data: Annotated[str, typer.Option(callback=checked_data, help="Data with question, solution, answer.")],
    engine: Annotated[str, typer.Option(metavar="URL", help="OpenAI-compatible server of the model.")],
    output: OutputOption = Path("out/restructured"),
    model: Annotated[str | None, typer.Option(help="The model's name at --engine. Default: its only one.")] = None,
    show_figure: Annotated[str, typer.Option(help="Show the model the figures: no, yes, or compare both.")] = "no",
    step_format: Annotated[
        str | None, typer.Option(metavar="NAME", help="How steps are written: tagged, paragraphs, lines, numbered.")
    ] = None,
    max_problems: Annotated[int | None, typer.Option(help="Most problems to read. Default: all.")] = None,
    api_key: KeyOption = None,
    columns: ColumnsOption = None,
    figures_root: RootsOption = None,
    allow_urls: UrlsOption = None,
    timeout: TimeoutOption = 600.0,
    config: ConfigOption = None,
    list_options: ListOption = False,
    as_json: JsonOption = False,
) -> None:
    """Turn free-form solutions into checked steps.

    The result is a corpus for fine-tuning a policy, in tags unless --step-format names another form. An unfinished
    folder is resumed. The configuration also takes options of RestructureConfig and CheckConfig.
    """
    from .. import stages
    from ..restructuring import format_report

    options = {"model": model, "show_figure": show_figure, "num_rows": max_problems}
    options["config"] = {**(config or {}), **without_none(step_format=named_step_format(step_format))}
    options |= {"rules": figure_rules(figures_root, allow_urls), "columns": column_names(columns)}
    with quiet(as_json):
        report = stages.restructure(
            data, output, servers=stages.Servers(engine, api_key=api_key, timeout_seconds=timeout), **options
        )
    show(report, as_json, lambda _: f"{format_report(report)}\n\nwrote {output}")


ProblemsOption = Annotated[
    str | None, typer.Option(callback=checked_data, help="Problems: file, dataset folder or hub id. Default: nano.")
]


def label(
    policy: ServedPolicyOption = None,
    output: OutputOption = Path("out/nano/labels"),
    data: ProblemsOption = None,
    num_problems: Annotated[int, typer.Option(help="Number of train problems to label.")] = 1000,
    search: Annotated[str, typer.Option(help="omegaprm, omegaprm_reference or flat_mc.")] = "omegaprm",
    seed: SeedOption = 0,
    engine: EngineOption = None,
    step_format: StepFormatOption = None,
    instruct: InstructOption = "auto",
    template_options: TemplateOption = None,
    judge: Annotated[
        str | None, typer.Option(metavar="URL", help="Server that judges answers that rules cannot.")
    ] = None,
    step_judge: StepJudgeOption = None,
    prefill: Annotated[str, typer.Option(help="Prefixes for --engine: continue (vLLM, SGLang), user, auto.")] = "auto",
    api_key: KeyOption = None,
    timeout: TimeoutOption = 600.0,
    max_in_flight: Annotated[int, typer.Option(help="Problems searched at a time.")] = 64,
    max_undecided: Annotated[float, typer.Option(help="Share of undecided rollouts that stops the run.")] = 0.2,
    step_judge_max_tokens: Annotated[int, typer.Option(help="Most tokens of a step judge's reply.")] = 1024,
    estimate: Annotated[
        int | None, typer.Option(help="Label this many, 30 or more, and predict the whole run.")
    ] = None,
    price_in: Annotated[float | None, typer.Option(help="Price per million prompt tokens, for --estimate.")] = None,
    price_out: Annotated[float | None, typer.Option(help="Price per million generated tokens.")] = None,
    gpu_hour_price: Annotated[float | None, typer.Option(help="Price of an hour of the engine's machine.")] = None,
    columns: ColumnsOption = None,
    figures_root: RootsOption = None,
    allow_urls: UrlsOption = None,
    config: ConfigOption = None,
    list_options: ListOption = False,
    as_json: JsonOption = False,
) -> None:
    """Label steps by tree search, and report the cost.

    Writes search trees and label rows. An unfinished folder is resumed. The configuration also takes options of the
    search, of SamplingConfig and of LabelRowsConfig.
    """
    from .. import stages
    from ..labelling import Prices, format_estimate
    from ..nano import POLICY_PATH

    stages.check_label_folder(output, search, config, seed, step_judge is not None)
    what = {"output": output, "data": data, "num_problems": num_problems, "search": search, "seed": seed}
    what |= {"config": config, "max_in_flight": max_in_flight, "max_undecided": max_undecided}
    options = stages.LabelOptions(
        policy=policy or (str(POLICY_PATH) if engine is None else None),
        **what,
        servers=stages.Servers(engine, judge, step_judge, prefill, api_key, step_judge_max_tokens, timeout),
        form=policy_form(step_format, instruct, template_options),
        rules=figure_rules(figures_root, allow_urls),
        columns=column_names(columns),
    )
    with quiet(as_json):
        prices = Prices(price_in, price_out, gpu_hour_price)
        report = stages.label(options) if estimate is None else stages.estimate(options, estimate, prices)
    model = "POLICY" if engine else policy or "nano"
    show(report, as_json, (lambda _: _format_labelling(report, output, model)) if estimate is None else format_estimate)


def _format_labelling(report: dict[str, Any], output: Path, model: str) -> str:
    """What was labelled, what it cost, where it is and what comes next; every other counter is in files.

    Args:
        report: As `stages.label` returns it.
        output: The run folder.
        model: What a PRM on these labels may start from, as `mmprm train` takes it.
    """
    from ..steps import fault_words

    search, rows = report["ledger"], report["labels"]
    uniform = search["num_trees"] - search["num_mixed"]
    lines = [
        f"{search['num_trees']:,} of {search['num_problems']:,} problems are searched; {uniform:,} of them came out "
        "always right or always wrong and give no labels",
        f"{search['num_rollouts']:,} rollouts ({search['num_incomplete']:,} incomplete, {search['num_undecided']:,} "
        f"undecided), {search['tokens_out']:,} tokens written, {datetime.timedelta(seconds=round(search['seconds']))}",
        f"{rows['num_rows']:,} solutions with {rows['num_labelled_steps']:,} step labels, "
        f"{rows['positive_share'] or 0:.0%} of them above zero",
    ]
    if search["faults"]:
        lines.insert(2, f"incomplete rollouts: {fault_words(search['faults'])}")
    if search["num_resumed"]:
        lines.insert(1, f"{search['num_resumed']:,} were there already and were not searched again")
    if search["num_failed"]:
        failures = output / "failures.jsonl"
        lines.append(f"{search['num_failed']:,} problems failed, see {failures}; the same command tries them again")
    if "data" in report:
        lines.append(f"{report['data']['num_unreadable_rows']:,} rows of the data are not problems and were left out")
    lines.append(f'wrote {output}: load_dataset("{output}"); all counters are in its summary.json and statistics.json')
    if rows["num_rows"]:
        lines.append(f"next: mmprm train --model {model} --data {output / 'paths'} --output out/prm --dry-run")
    return "\n".join(lines)
