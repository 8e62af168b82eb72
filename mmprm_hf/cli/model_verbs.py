"""Verbs that make models: train, convert."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import (
    ColumnsOption,
    ConfigOption,
    JsonOption,
    ListOption,
    OutputOption,
    RootsOption,
    SeedOption,
    StartOption,
    UrlsOption,
    column_names,
    figure_rules,
    nothing_left,
    plain_lines,
    quiet,
    show,
    without_none,
)


def train(
    model: StartOption,
    data: Annotated[str, typer.Option(help="Label rows: folder such as labels/paths, file, or hub id.")],
    output: OutputOption,
    learning_rate: Annotated[float | None, typer.Option(help="Learning rate. Default: 5e-5.")] = None,
    epochs: Annotated[float | None, typer.Option(help="Passes over the data. Default: 3.")] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(min=1, help="Rows (packed: problems) of a batch, of each process. Default: 8."),
    ] = None,
    eval_share: Annotated[
        float,
        typer.Option(min=0, max=1, help="Share of the problems, chosen by hash, that is held out for evaluation."),
    ] = 0.02,
    lora_r: Annotated[int | None, typer.Option(min=0, help="Rank of a LoRA adapter. Default: none.")] = None,
    license: Annotated[str | None, typer.Option(help="License for the card, such as apache-2.0.")] = None,  # noqa: A002
    base_model: Annotated[str | None, typer.Option(help="For the card: hub id of a --model on disk.")] = None,
    datasets: Annotated[str | None, typer.Option(help="For the card: hub id of --data on disk.")] = None,
    candidates: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Candidates (.jsonl) from which every evaluation selects.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count rows, tokens, memory and hours; train nothing.")
    ] = False,
    seed: SeedOption = 0,
    columns: ColumnsOption = None,
    figures_root: RootsOption = None,
    allow_urls: UrlsOption = None,
    config: ConfigOption = None,
    list_options: ListOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train a PRM on step labels.

    An unfinished run is resumed from its newest whole checkpoint; a finished one is not trained again, and a folder of
    another training is refused. --license, --base-model and --datasets are added to the card, also of a finished one.
    The configuration also takes options of PRMConfig and of LoRA; --options lists them.
    """
    from .. import stages

    flags = {"learning_rate": learning_rate, "num_train_epochs": epochs, "lora_r": lora_r}
    flags |= {"license": license, "base_model": base_model, "datasets": datasets}
    config = config | without_none(**flags, per_device_train_batch_size=batch_size)
    options = {"seed": seed, "eval_share": eval_share, "candidates": candidates, "dry_run": dry_run}
    options |= {"rules": figure_rules(figures_root, allow_urls), "columns": column_names(columns)}
    stages.check_training_paths(model, data, candidates)
    with quiet(as_json):
        report = stages.train(model, data, output, config=config, **options)
    if dry_run:
        from ..training import format_dry_run

        show(report, as_json, lambda _: f"{format_dry_run(report)}\nnumbers in {output / 'dry_run.json'}")
    else:
        summary = stages.training_summary(output, report)
        show(summary, as_json, lambda _: f"{plain_lines(report) or 'no evaluation rows'}\nmodel in {output}")


def convert(
    source: Annotated[Path, typer.Argument(help="Folder of an original MM-PRM-8B, or of a LoRA adapter to be merged.")],
    output: OutputOption,
    prompt_format: Annotated[str, typer.Option(help="Prompt of published MM-PRM: train or reference_eval.")] = "train",
    config: ConfigOption = None,
    list_options: ListOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make a PRM of an MM-PRM checkpoint or a LoRA adapter.

    transformers loads the result; no remote code is run. An adapter is merged into the model that it was trained on.
    """
    nothing_left(config)
    from ..stages import check_output_folder

    check_output_folder(output, "empty")
    is_adapter = (source / "adapter_config.json").exists()
    with quiet(as_json):
        if is_adapter:
            from ..training import merge_adapter

            facts = merge_adapter(source, output)
        else:
            from ..families import convert_internvl

            facts = convert_internvl(source, output, prompt_format=prompt_format)
    show({**facts, "output": str(output)}, as_json, lambda _: f"{plain_lines(facts)}\nwrote {output}")
