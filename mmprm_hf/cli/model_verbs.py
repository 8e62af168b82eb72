"""Verbs that make models: train, convert."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import (
    ConfigOption,
    JsonOption,
    OutputOption,
    RootsOption,
    SeedOption,
    StartOption,
    UrlsOption,
    figure_rules,
    nothing_left,
    plain_lines,
    quiet,
    show,
)


def train(
    model: StartOption,
    data: Annotated[Path, typer.Option(help="Label rows: folder such as labels/paths, file, or hub id.")],
    output: OutputOption,
    candidates: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Candidates (.jsonl) from which every evaluation selects.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count rows, tokens, memory and hours; train nothing.")
    ] = False,
    seed: SeedOption = 0,
    figures_root: RootsOption = None,
    allow_urls: UrlsOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train a PRM on step labels.

    An unfinished run is resumed from its newest whole checkpoint; a finished one is not trained again, and a folder of
    another training is refused. The configuration also takes options of PRMConfig (learning_rate, ...).
    """
    from .. import stages

    with quiet(as_json):
        options = {"config": config, "seed": seed, "rules": figure_rules(figures_root, allow_urls)}
        report = stages.train(model, data, output, candidates=candidates, dry_run=dry_run, **options)
    if dry_run:
        from ..training import format_dry_run

        show(report, as_json, lambda _: f"{format_dry_run(report)}\nnumbers in {output / 'dry_run.json'}")
    else:
        show(report, as_json, lambda metrics: f"{plain_lines(metrics) or 'no evaluation rows'}\nmodel in {output}")


def convert(
    source: Annotated[Path, typer.Argument(help="Folder of an original InternVL checkpoint, such as MM-PRM-8B.")],
    output: OutputOption,
    prompt_format: Annotated[str, typer.Option(help="Prompt of published MM-PRM: train or reference_eval.")] = "train",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Turn an original MM-PRM checkpoint into ours.

    transformers loads the result; no remote code is run.
    """
    nothing_left(config)
    from ..families import convert_internvl

    with quiet(as_json):
        facts = convert_internvl(source, output, prompt_format=prompt_format)
    show({**facts, "output": str(output)}, as_json, lambda _: f"{plain_lines(facts)}\nwrote {output}")
