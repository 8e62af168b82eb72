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
    ColumnsOption,
    ConfigOption,
    EngineOption,
    InstructOption,
    JsonOption,
    KeyOption,
    ListOption,
    OutputOption,
    PolicyOption,
    PRMOption,
    RootsOption,
    SavedPRMOption,
    SeedOption,
    ServedPolicyOption,
    StepFormatOption,
    Strategy,
    TemplateOption,
    TimeoutOption,
    UrlsOption,
    checked_data,
    column_names,
    figure_rules,
    nothing_left,
    policy_form,
    quiet,
    show,
    use_color,
    without_none,
)

ImagesOption = Annotated[
    list[str] | None, typer.Option("--image", metavar="PATH", help="Figure: path or URL. Repeat it for several.")
]


def demo(
    output: OutputOption = Path("out/demo"),
    num_problems: Annotated[int, typer.Option(help="Held-out problems, 1 to 500.")] = 200,
    num_candidates: CandidatesOption = 16,
    policy: PolicyOption = None,
    prm: PRMOption = None,
    seed: SeedOption = 0,
    config: ConfigOption = None,
    list_options: ListOption = False,
    as_json: JsonOption = False,
) -> None:
    """Solve held-out nano problems; write a table and a page.

    The policy writes candidates, the PRM scores their steps, and the best candidates are chosen. The folder gets
    results.json, candidates.jsonl and index.html.
    """
    nothing_left(config)
    from .. import stages
    from ..publish import format_results

    with quiet(as_json):
        stages.check_demo_folder(output)
        models = stages.load_models(**without_none(policy=policy, prm=prm))
        sizes = {"num_problems": num_problems, "num_candidates": num_candidates}
        results = stages.run_demo(output, models=models, seed=seed, **sizes)
    where = f"look at {output / 'index.html'}; numbers in {output / 'results.json'}"
    show(results, as_json, lambda _: f"\n{format_results(results)}\n\n{where}")


def rerank(
    question: Annotated[str | None, typer.Option(help="Question of one problem.")] = None,
    image: ImagesOption = None,
    data: Annotated[
        str | None, typer.Option(callback=checked_data, help="Many problems: file, dataset folder, hub id, or nano.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="With --data: folder to write.")] = None,
    split: Annotated[str | None, typer.Option(help="With --data: split of a dataset. Default: test.")] = None,
    num_problems: Annotated[int | None, typer.Option(min=1, help="With --data: most problems. Default: all.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="With --data: problems solved together.")] = 8,
    strategy: Annotated[Strategy | None, typer.Option(help="Strategy. Default: as saved, else best_of_n.")] = None,
    num_candidates: Annotated[int | None, typer.Option(min=1, help="Candidates. Default: as saved, else 16.")] = None,
    aggregation: Annotated[Aggregation | None, typer.Option(help="Aggregation. Default: as saved, else min.")] = None,
    beam_width: Annotated[int | None, typer.Option(help="In searches: continuations of a kept prefix.")] = None,
    max_steps: Annotated[int | None, typer.Option(help="In searches: most steps of a solution.")] = None,
    temperature: Annotated[float | None, typer.Option(help="Temperature. Default: as saved, else 1.0.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Nucleus of sampling. Default: as saved, else 1.0.")] = None,
    max_new_tokens: Annotated[
        int | None, typer.Option(help="Most tokens. Default: the policy's limit, else 1024.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Random seed. Default: as saved, else 0.")] = None,
    policy: ServedPolicyOption = None,
    prm: SavedPRMOption = None,
    engine: EngineOption = None,
    step_format: StepFormatOption = None,
    instruct: InstructOption = "auto",
    template_options: TemplateOption = None,
    api_key: KeyOption = None,
    columns: ColumnsOption = None,
    figures_root: RootsOption = None,
    allow_urls: UrlsOption = None,
    timeout: TimeoutOption = 600.0,
    config: ConfigOption = None,
    list_options: ListOption = False,
    as_json: JsonOption = False,
) -> None:
    """Solve problems: write candidates, score, choose.

    One problem (--question, --image) is printed. Many (--data) are written to a folder, which is resumed, and all
    outcomes are counted. Defaults marked "as saved" come from the saved policy.
    """
    nothing_left(config)
    _check_problem(question, image, data, output, split, num_problems)
    from .. import stages

    options = without_none(strategy=strategy, num_candidates=num_candidates, aggregation=aggregation, seed=seed)
    options |= without_none(beam_width=beam_width, max_steps=max_steps, max_new_tokens=max_new_tokens)
    options |= without_none(temperature=temperature, top_p=top_p)
    which = {"rules": figure_rules(figures_root, allow_urls), "columns": column_names(columns)}
    servers = stages.Servers(engine, api_key=api_key, timeout_seconds=timeout)
    form = policy_form(step_format, instruct, template_options)
    models = {"policy": policy, "prm": prm, "options": options, "form": form, "servers": servers}
    with quiet(as_json):
        if data is None:
            result, text = stages.rerank_one(image or [], question, **models), stages.format_rerank
        else:
            which |= {"split": split or "test", "num_problems": num_problems, "batch_size": batch_size}
            result = stages.rerank_problems(None if data == "nano" else data, output, **which, **models)
            text = lambda _: f"{stages.format_summary(result)}\nrows in {output / 'candidates.jsonl'}"  # noqa: E731
    show(result, as_json, text)


def _check_problem(question: Any, image: Any, data: Any, output: Any, split: Any, num_problems: Any) -> None:
    """Refuse flags that do not belong together."""
    if (question is None) == (data is None):
        raise typer.BadParameter("give either --question (one problem) or --data (many).")
    if data is not None and output is None:
        raise typer.BadParameter("--data needs --output, the folder to write.")
    if data is not None and image:
        raise typer.BadParameter("--image belongs to --question; the problems of --data bring their figures.")
    if question is not None and without_none(output=output, num_problems=num_problems, split=split):
        raise typer.BadParameter("--output, --num-problems and --split belong to --data.")


def score(
    question: Annotated[str, typer.Option(help="Question of the problem.")],
    solution: Annotated[
        list[str], typer.Option(metavar="FILE", help="Solution, - for standard input. Repeat it to rank.")
    ],
    image: ImagesOption = None,
    prm: PRMOption = None,
    aggregation: AggregationOption = "min",
    thoughts: Annotated[
        bool, typer.Option("--thoughts", help="Score the paragraphs of <think>...</think> too, as first steps.")
    ] = False,
    config: ConfigOption = None,
    list_options: ListOption = False,
    as_json: JsonOption = False,
) -> None:
    """Score the steps of a solution and draw them as bars.

    A solution is a text in any step format (one step per line, paragraphs, "Step 1:", <step> tags) or a JSON list of
    steps. Bars are coloured in a terminal, unless NO_COLOR is set.
    """
    nothing_left(config)
    from .. import stages

    texts = [sys.stdin.read() if path == "-" else _text_of(path) for path in solution]
    solutions = [stages.read_solution(text, thoughts=thoughts) for text in texts]
    with quiet(as_json):
        report = stages.score_solutions(image or [], question, solutions, prm=prm, aggregation=aggregation)
    show(report, as_json, lambda _: stages.format_scores(report, color=use_color()))


def _text_of(path: str) -> str:
    """The text in a solution's file."""
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 ({error}). Save the solution as UTF-8.") from error


def app(
    policy: PolicyOption = None,
    prm: PRMOption = None,
    host: Annotated[str | None, typer.Option(help="Address to listen at. Default: this machine only.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen at. Default: the first free one from 7860.")] = None,
    open_browser: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    space: Annotated[Path | None, typer.Option(help="Write the folder of a Hugging Face Space; serve nothing.")] = None,
    requirement: Annotated[
        str | None,
        typer.Option(help="With --space: requirement that installs this package. Default: where this one came from."),
    ] = None,
    config: ConfigOption = None,
    list_options: ListOption = False,
) -> None:
    """Serve a page to try a policy and a PRM in the browser.

    It needs Gradio: pip install "gradio>=6.31".
    """
    nothing_left(config)
    if space is not None:
        from ..app import write_space
        from ..stages import check_output_folder

        is_space = (space / "app.py").is_file() and "mmprm_hf" in (space / "app.py").read_text("utf-8", "replace")
        if check_output_folder(space, "a Space of this package", ("app.py",) if is_space else ()):
            typer.echo(f"note: the Space in {space} is replaced.", err=True)
        typer.echo(f"wrote {write_space(space, policy, prm, requirement=requirement)}; mmprm push sends it to the Hub")
        return
    from ..app import launch

    try:
        launch(policy, prm, host=host, port=port, open_browser=open_browser)
    except ImportError as error:
        typer.echo(f"mmprm: {error}", err=True)
        raise typer.Exit(1) from error
