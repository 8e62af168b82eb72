"""Verbs that solve and score: demo, rerank, score, app."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from .options import (
    Aggregation,
    AggregationOption,
    CandidatesOption,
    ConfigOption,
    EngineOption,
    JsonOption,
    KeyOption,
    OutputOption,
    PolicyOption,
    PRMOption,
    SeedOption,
    ServedPolicyOption,
    Strategy,
    nothing_left,
    quiet,
    show,
    use_color,
)

ImagesOption = Annotated[
    list[str] | None,
    typer.Option("--image", metavar="PATH", help="Figure: path or URL; give it several times for several."),
]


def _models(policy: str | None, prm: str | None) -> Any:
    from ..nano import POLICY_PATH, PRM_PATH
    from ..stages import load_models

    return load_models(policy or POLICY_PATH, prm or PRM_PATH)


def demo(
    output: OutputOption = Path("out/demo"),
    num_problems: Annotated[int, typer.Option(help="Held-out problems, 1 to 500.")] = 200,
    num_candidates: CandidatesOption = 16,
    policy: PolicyOption = None,
    prm: PRMOption = None,
    seed: SeedOption = 0,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """The whole chain on held-out problems: a table and a page.

    The problems are the nano world's. The policy writes candidates, the PRM scores their steps, the best ones are
    chosen. Writes results.json, candidates.jsonl and index.html.
    """
    nothing_left(config)
    from ..publish import format_results
    from ..stages import run_demo

    models = _models(policy, prm)
    with quiet(as_json):
        results = run_demo(output, num_problems=num_problems, num_candidates=num_candidates, models=models, seed=seed)
    where = f"look at {output / 'index.html'}; numbers in {output / 'results.json'}"
    show(results, as_json, lambda document: f"\n{format_results(document)}\n\n{where}")


def rerank(
    question: Annotated[str | None, typer.Option(help="The question of one problem.")] = None,
    image: ImagesOption = None,
    data: Annotated[
        str | None,
        typer.Option(help="Many problems: .jsonl file, dataset folder or hub id (question, images, answer); or nano."),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="With --data: folder to write.")] = None,
    split: Annotated[str | None, typer.Option(help="Of a dataset. Default: test.")] = None,
    num_problems: Annotated[
        int | None, typer.Option(min=1, help="With --data: the first so many. Default: all.")
    ] = None,
    strategy: Annotated[Strategy | None, typer.Option(help="Default: best_of_n, or as saved with the policy.")] = None,
    num_candidates: Annotated[int | None, typer.Option(min=1, help="Default: 16, or as saved.")] = None,
    aggregation: Annotated[
        Aggregation | None, typer.Option(help="Step scores to one number. Default: min, or as saved.")
    ] = None,
    beam_width: Annotated[int | None, typer.Option(help="Searches: continuations of a kept prefix.")] = None,
    max_steps: Annotated[int | None, typer.Option(help="Searches: the most steps of a solution.")] = None,
    temperature: Annotated[float | None, typer.Option(help="Of sampling. Default: 1.0, or as saved.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Of sampling. Default: 1.0, or as saved.")] = None,
    max_new_tokens: Annotated[
        int | None, typer.Option(help="Most tokens of a solution. Default: the policy's own limit, else 1024.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="With --data: problems solved together.")] = 8,
    policy: ServedPolicyOption = None,
    prm: Annotated[
        str | None,
        typer.Option(help="PRM: path or hub id. Default: the one saved with the policy; the shipped nano PRM for its."),
    ] = None,
    engine: EngineOption = None,
    api_key: KeyOption = None,
    seed: Annotated[int | None, typer.Option(help="Default: 0, or as saved.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Solve problems: candidates, step scores, the winner.

    One problem (--question, --image) is printed. Many (--data) are written to a folder, which is gone on from when the
    command is repeated; the counts of all outcomes are printed.
    """
    nothing_left(config)
    if (question is None) == (data is None):
        raise typer.BadParameter("give either --question (one problem) or --data (many).")
    if data is not None and output is None:
        raise typer.BadParameter("--data needs --output, the folder to write.")
    if data is not None and image:
        raise typer.BadParameter("--image belongs to --question; the problems of --data bring their figures.")
    if question is not None and not (output is None and num_problems is None and split is None):
        raise typer.BadParameter("--output, --num-problems and --split belong to --data.")
    from .. import stages

    options = {
        "strategy": strategy,
        "num_candidates": num_candidates,
        "aggregation": aggregation,
        "beam_width": beam_width,
        "max_steps": max_steps,
        "temperature": temperature,
        "top_p": top_p,
        "max_new_tokens": max_new_tokens,
        "seed": seed,
    }
    options = {name: value for name, value in options.items() if value is not None}
    models = {"policy": policy, "prm": prm, "servers": stages.Servers(engine, api_key=api_key), "options": options}
    with quiet(as_json):
        if data is None:
            found = stages.rerank_one(image or [], question, **models)
        else:
            which = {"split": split or "test", "num_problems": num_problems, "batch_size": batch_size}
            found = stages.rerank_problems(None if data == "nano" else data, output, **which, **models)
    if data is None:
        show(found, as_json, stages.format_rerank)
    else:
        show(found, as_json, lambda summary: f"{stages.format_summary(summary)}\nrows in {output / 'candidates.jsonl'}")


def score(
    question: Annotated[str, typer.Option(help="The question.")],
    solution: Annotated[
        list[str],
        typer.Option(
            metavar="FILE",
            help="A solution, a step a line (- reads it from standard input); of several the best is named.",
        ),
    ],
    image: ImagesOption = None,
    prm: PRMOption = None,
    aggregation: AggregationOption = "min",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Score the steps of a solution, and draw them as bars.

    A solution is plain text (a step a line, or paragraphs with blank lines between them), a policy's text with <step>
    tags, or a JSON list of steps. Bars are coloured in a terminal, unless NO_COLOR is set.
    """
    nothing_left(config)
    from .. import stages

    texts = [sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8-sig") for path in solution]
    solutions = [stages.read_solution(text) for text in texts]
    with quiet(as_json):
        rows = stages.score_solutions(image or [], question, solutions, prm=prm, aggregation=aggregation)
    found = {"aggregation": aggregation, "solutions": rows}
    show(found, as_json, lambda _: stages.format_scores(rows, aggregation, color=use_color()))


def app(
    policy: PolicyOption = None,
    prm: PRMOption = None,
    host: Annotated[str | None, typer.Option(help="Address to listen at. Default: this machine only.")] = None,
    port: Annotated[int | None, typer.Option(help="Default: the first free one from 7860 on.")] = None,
    open_browser: Annotated[bool, typer.Option("--open", help="Show the page in a browser.")] = False,
    space: Annotated[
        Path | None, typer.Option(help="Serve nothing; write the folder of a Hugging Face Space that serves the page.")
    ] = None,
    requirement: Annotated[
        str, typer.Option(help="With --space: what the Space installs the package from, as pip reads it.")
    ] = "mmprm_hf",
    config: ConfigOption = None,
) -> None:
    """Serve a page for trying a policy and a PRM in the browser.

    It needs Gradio: pip install "mmprm_hf[app]".
    """
    nothing_left(config)
    if space is not None:
        from ..app import write_space

        typer.echo(f"wrote {write_space(space, policy, prm, requirement=requirement)}; mmprm push sends it to the Hub")
        return
    from ..app import launch

    try:
        launch(policy, prm, host=host, port=port, open_browser=open_browser)
    except ImportError as error:
        typer.echo(f"mmprm: {error}", err=True)
        raise typer.Exit(1) from error
