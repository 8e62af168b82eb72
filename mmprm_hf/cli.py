"""`mmprm <verb>`: parse flags, call one function, print. No logic; heavy imports wait inside the verbs."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    name="mmprm",
    help="Multimodal process reward models: data, step labels, training, reranking, evaluation.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

OutputOption = Annotated[Path, typer.Option("--output", "-o", help="Folder (or file) to write.")]
PolicyOption = Annotated[str | None, typer.Option(help="Policy: path or hub id. Default: the shipped nano policy.")]
PRMOption = Annotated[str | None, typer.Option(help="PRM: path or hub id. Default: the shipped nano PRM.")]
ConfigOption = Annotated[Path | None, typer.Option(help="YAML file with options; an unknown one is an error.")]
SeedOption = Annotated[int, typer.Option(help="Seed.")]
CandidatesOption = Annotated[int, typer.Option(help="Candidates per problem.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def _models(policy: str | None, prm: str | None) -> Any:
    from .demo import load_models
    from .nano import POLICY_PATH, PRM_PATH

    return load_models(policy or POLICY_PATH, prm or PRM_PATH)


@app.command()
def demo(
    output: OutputOption = Path("out/demo"),
    num_problems: Annotated[int, typer.Option(help="Held-out problems, 1 to 500.")] = 200,
    num_candidates: CandidatesOption = 16,
    policy: PolicyOption = None,
    prm: PRMOption = None,
    seed: SeedOption = 0,
) -> None:
    """Generate, score and rerank held-out nano problems; prints a table, writes results.json and index.html."""
    from .demo import run_demo
    from .evaluation.evaluators import format_table

    results = run_demo(
        output, num_problems=num_problems, num_candidates=num_candidates, models=_models(policy, prm), seed=seed
    )
    print(f"\n{format_table(results)}\n\nlook at {output / 'index.html'}; numbers in {output / 'results.json'}")


@app.command()
def data(
    output: OutputOption = Path("out/nano/data"),
    num_train: Annotated[int, typer.Option(help="Train problems.")] = 10_000,
    num_test: Annotated[int, typer.Option(help="Test problems.")] = 500,
) -> None:
    """Write the nano dataset (parquet with figures, in MM-K12's schema)."""
    from .stages import build_nano_data

    print(f"wrote {build_nano_data(output, num_train, num_test)} to {output}")


@app.command()
def restructure(
    data: Annotated[
        Path, typer.Option(help="Free-form solutions: dataset folder, .parquet or .jsonl (question, solution, answer).")
    ],
    engine: Annotated[str, typer.Option(help="URL of an OpenAI-compatible server that runs the model.")],
    output: OutputOption = Path("out/restructured"),
    model: Annotated[str | None, typer.Option(help="The model's name there. Default: its only one.")] = None,
    show_figure: Annotated[
        str, typer.Option(help="Show the model the figures: no, yes, or compare (ask both ways, report differences).")
    ] = "no",
    max_problems: Annotated[int | None, typer.Option(help="The first so many rows. Default: all.")] = None,
    config: ConfigOption = None,
    api_key: Annotated[str | None, typer.Option(envvar="MMPRM_API_KEY", help="Bearer token of the server.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Turn free-form solutions into tagged steps for fine-tuning a policy, checked. Resumes an unfinished folder."""
    from . import stages
    from .engines import EngineUnavailableError
    from .files import RunStoppedError
    from .restructuring.report import format_report

    servers = stages.Servers(engine, api_key=api_key)
    options = {"model": model, "show_figure": show_figure, "num_rows": max_problems, "config": config}
    try:
        report = stages.restructure(data, output, servers=servers, **options)
    except (EngineUnavailableError, RunStoppedError) as error:
        print(f"mmprm: {error}", file=sys.stderr)
        raise typer.Exit(1) from error
    print(json.dumps(report, indent=2) if as_json else f"{format_report(report)}\n\nwrote {output}")


@app.command()
def label(
    policy: Annotated[
        str | None,
        typer.Option(help="Policy: path or hub id, default the shipped nano policy; with --engine its name there."),
    ] = None,
    output: OutputOption = Path("out/nano/labels"),
    data: Annotated[Path | None, typer.Option(help="Dataset folder in MM-K12's schema. Default: nano.")] = None,
    num_problems: Annotated[int, typer.Option(help="Train problems to label.")] = 1000,
    search: Annotated[str, typer.Option(help="omegaprm, omegaprm_reference or flat_mc.")] = "omegaprm",
    config: ConfigOption = None,
    seed: SeedOption = 0,
    engine: Annotated[str | None, typer.Option(help="URL of an OpenAI-compatible server that runs the policy.")] = None,
    judge: Annotated[str | None, typer.Option(help="URL of a judge for answers that rules leave undecided.")] = None,
    step_judge: Annotated[
        str | None, typer.Option(help="Judge of steps (URL, or a PRM's path): its verdicts go beside the labels.")
    ] = None,
    prefill: Annotated[
        str, typer.Option(help="How the server is shown a prefix: continue (vLLM, SGLang), user (others), auto asks.")
    ] = "auto",
    api_key: Annotated[str | None, typer.Option(envvar="MMPRM_API_KEY", help="Bearer token of the servers.")] = None,
    max_in_flight: Annotated[int, typer.Option(help="Problems searched at a time.")] = 64,
    max_undecided: Annotated[
        float, typer.Option(help="Most rollouts, as a share, that may stay without a verdict before the run stops.")
    ] = 0.2,
    step_judge_max_tokens: Annotated[int, typer.Option(help="Most tokens of a step judge's reply.")] = 1024,
    estimate: Annotated[
        int | None, typer.Option(help="Label only so many problems (30 or more) and predict the whole run.")
    ] = None,
    price_in: Annotated[float | None, typer.Option(help="Price of a million prompt tokens, for --estimate.")] = None,
    price_out: Annotated[float | None, typer.Option(help="Price of a million generated tokens.")] = None,
    gpu_hour_price: Annotated[float | None, typer.Option(help="Price of an hour of the policy's machine.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Search step labels: trees, label rows and the ledger of what they cost. Resumes an unfinished folder."""
    from . import stages
    from .labelling.driver import RunStoppedError
    from .labelling.estimate import Prices, format_estimate
    from .nano import POLICY_PATH

    policy = policy or (str(POLICY_PATH) if engine is None else None)
    options = {
        "data": data,
        "num_problems": num_problems,
        "search": search,
        "config": config,
        "seed": seed,
        "servers": stages.Servers(engine, judge, step_judge, prefill, api_key, step_judge_max_tokens),
        "max_in_flight": max_in_flight,
        "max_undecided": max_undecided,
    }
    try:
        if estimate is not None:
            prices = Prices(price_in, price_out, gpu_hour_price)
            report = stages.estimate(policy, output, num_sampled=estimate, prices=prices, **options)
            print(json.dumps(report, indent=2) if as_json else format_estimate(report))
        else:
            report = stages.label(policy, output, **options)
            print(json.dumps(report, indent=2) if as_json else _lines(report))
    except RunStoppedError as error:
        print(f"mmprm: {error}", file=sys.stderr)
        raise typer.Exit(1) from error


def _lines(report: dict[str, dict[str, Any]]) -> str:
    """The plain figures of a report of several parts, one a line; the files and `--json` have the others too."""
    return "\n".join(
        f"{name}: {round(value, 4) if isinstance(value, float) else value}"
        for part in report.values()
        for name, value in part.items()
        if not isinstance(value, (dict, list, tuple))
    )


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(help="Folder of an original InternVL checkpoint, such as MM-PRM-8B.")],
    output: OutputOption,
    dialect: Annotated[str, typer.Option(help="Prompt of published MM-PRM: train or reference_eval.")] = "train",
) -> None:
    """Turn an original MM-PRM checkpoint into one that transformers loads; no remote code is run."""
    from .models.convert_internvl import convert_internvl

    facts = convert_internvl(source, output, dialect=dialect)
    print("\n".join(f"{name}: {value}" for name, value in facts.items()) + f"\nwrote {output}")


@app.command()
def train(
    model: Annotated[str, typer.Option(help="Policy (or PRM) to start from: path or hub id.")],
    data: Annotated[Path, typer.Option(help="Folder of stepwise-supervision rows, such as labels/paths.")],
    output: OutputOption,
    config: ConfigOption = None,
    candidates: Annotated[
        Path | None, typer.Option(help="JSON lines of judged candidates: best-of-N is a metric of every evaluation.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Train nothing: rows, tokens, steps, memory and hours.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --dry-run: print JSON for machines.")] = False,
    seed: SeedOption = 0,
) -> None:
    """Train a PRM on step labels. Resumes from its newest checkpoint."""
    from .stages import train as run

    found = run(model, data, output, config=config, seed=seed, candidates=candidates, dry_run=dry_run)
    if dry_run and not as_json:
        from .training.dry_run import format_dry_run

        print(f"{format_dry_run(found)}\nnumbers in {output / 'dry_run.json'}")
    else:
        print(json.dumps(found, indent=2))


@app.command()
def rerank(
    question: Annotated[str, typer.Option(help="The question.")],
    image: Annotated[list[Path] | None, typer.Option(help="Figure; give it several times for several figures.")] = None,
    num_candidates: CandidatesOption = 16,
    strategy: Annotated[str, typer.Option(help="best_of_n, majority_vote or weighted_vote.")] = "best_of_n",
    aggregation: Annotated[str, typer.Option(help="How step scores become one number.")] = "min",
    policy: PolicyOption = None,
    prm: PRMOption = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Solve one problem: candidates, step scores and the winner."""
    from .stages import format_rerank, rerank_one

    result = rerank_one(
        [str(path) for path in image or []],
        question,
        policy=policy,
        prm=prm,
        options={
            "num_candidates": num_candidates,
            "strategy": strategy,
            "aggregation": aggregation,
            "seed": seed,
        },
    )
    print(json.dumps(result, indent=2, ensure_ascii=False) if as_json else format_rerank(result))


@app.command()
def evaluate(
    output: OutputOption = Path("out/evaluate/results.json"),
    num_problems: Annotated[int, typer.Option(help="Held-out test problems, 1 to 500.")] = 500,
    num_train_problems: Annotated[int, typer.Option(help="Train problems on which thresholds are chosen.")] = 200,
    num_candidates: CandidatesOption = 16,
    policy: PolicyOption = None,
    prm: PRMOption = None,
    seed: SeedOption = 0,
) -> None:
    """Best-of-N table on the nano test problems, and step scores against the exact step checker."""
    from .demo import evaluate_nano, format_step_level
    from .evaluation.evaluators import format_table

    results = evaluate_nano(
        output,
        num_problems=num_problems,
        num_train_problems=num_train_problems,
        num_candidates=num_candidates,
        models=_models(policy, prm),
        seed=seed,
    )
    print(f"\n{format_table(results)}\n\n{format_step_level(results)}\n\nnumbers in {output}")


@app.command()
def report(
    results: Annotated[Path, typer.Argument(help="results.json of a demo run; candidates.jsonl lies beside it.")],
    output: OutputOption = Path("out/report.html"),
) -> None:
    """Write the HTML page of a results file."""
    from .publish.reports import write_report

    write_report(results, results.with_name("candidates.jsonl"), output)
    print(f"wrote {output}")


@app.command()
def card(
    facts: Annotated[Path, typer.Argument(help="facts.json of a model or dataset.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Default: README.md beside the facts.")] = None,
) -> None:
    """Write the card of a model or dataset from its facts."""
    from .publish.cards import write_card

    output = output or facts.with_name("README.md")

    write_card(facts, output)
    print(f"wrote {output}")


def main() -> None:
    """Entry point: user errors end in one line and exit code 1, not in a traceback."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        app()
    except (ValueError, OSError) as error:
        print(f"mmprm: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
