"""Verbs that publish: report, card, push."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ..files import write_atomically
from .options import ConfigOption, JsonOption, ListOption, note_replaced, nothing_left, quiet, show


def report(
    results: Annotated[list[Path], typer.Argument(metavar="FILE", help="Results of `evaluate` or `demo`.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Page to write, or table (.md). Default: out/report.html.")
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a Markdown table, or write it to -o.")] = False,
    config: ConfigOption = None,
    list_options: ListOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write a page or a table of one or more evaluations.

    The page of one evaluation also shows problems from the candidates.jsonl beside its results. Plots are embedded, and
    written beside the page; they need the extra "plots".
    """
    nothing_left(config)
    is_table = output is not None and output.suffix == ".md"
    if markdown and output is not None and not is_table:
        raise typer.BadParameter(f"{output} is not an .md file. --markdown writes only those; leave one of them out.")
    from ..publish import write_report, write_results_table
    from ..rows import check_file_path

    for path in results:
        check_file_path(path, "results.json")
    if markdown or is_table:
        if output is not None:
            note_replaced(output)
        table = write_results_table(results, output)
        document = {"output": None if output is None else str(output), "markdown": table}
        show(document, as_json, lambda _: table.rstrip("\n") if markdown else f"wrote {output}")
    else:
        output = output or Path("out/report.html")
        note_replaced(output)
        write_report(results, output)
        show({"output": str(output)}, as_json, lambda _: f"wrote {output}")


def card(
    facts: Annotated[Path | None, typer.Argument(metavar="FILE", help="Facts (.json) of a model or dataset.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Card. Default: README.md beside it.")] = None,
    template: Annotated[
        Literal["prm", "policy", "dataset"] | None,
        typer.Option(help="Print a facts file to fill in, or write it to -o; make no card."),
    ] = None,
    config: ConfigOption = None,
    list_options: ListOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write the card of a model or dataset from its facts."""
    nothing_left(config)
    if (facts is None) == (template is None):
        raise typer.BadParameter("give a facts file, or --template prm, policy or dataset to get one to fill in.")
    from ..publish import facts_template, write_card
    from ..rows import check_file_path

    if facts is None:
        _show_template(facts_template(template), output, as_json)
        return
    check_file_path(facts, "facts.json")
    output = output or facts.with_name("README.md")
    note_replaced(output)
    write_card(facts, output)
    show({"output": str(output)}, as_json, lambda _: f"wrote {output}")


def _show_template(text: str, output: Path | None, as_json: bool) -> None:
    """Print a facts file, or write it where there is none yet."""
    if output is None:
        typer.echo(text, nl=False)
        return
    if output.exists():
        raise typer.BadParameter(f"{output} exists. Name another file, so that no facts are lost.")
    write_atomically(output, text)
    show({"output": str(output)}, as_json, lambda _: f"wrote {output}; fill it in, then: mmprm card {output}")


def push(
    folder: Annotated[Path, typer.Argument(help="Folder to upload.")],
    kind: Annotated[Literal["model", "dataset", "space"], typer.Option(help="Kind of the repository.")],
    repo_id: Annotated[str | None, typer.Argument(help="Repository, as owner/name.")] = None,
    repo: Annotated[str | None, typer.Option(metavar="OWNER/NAME", help="Repository, instead of the argument.")] = None,
    revision: Annotated[str | None, typer.Option(help="Branch, made if absent. Default: main.")] = None,
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and list the files; send nothing.")] = False,
    message: Annotated[str | None, typer.Option(help="Message of the commit.")] = None,
    allow: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="File to upload despite a check, or name:secret.")
    ] = None,
    leave_out: Annotated[list[str] | None, typer.Option(metavar="PATTERN", help="Files not to upload.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Delete other files of the repository.")] = False,
    config: ConfigOption = None,
    list_options: ListOption = False,
    as_json: JsonOption = False,
) -> None:
    """Check a folder and upload it to the Hub.

    Refused before anything is sent: secrets, paths of this machine, pickles, unfinished files, a missing card. The
    token is that of `hf auth login`, or HF_TOKEN.
    """
    nothing_left(config)
    if (repo_id is None) == (repo is None):
        raise typer.BadParameter("name the repository once, as owner/name behind the folder or as --repo owner/name.")
    from ..publish import format_push
    from ..publish import push as upload

    options = {"revision": revision, "private": private, "dry_run": dry_run, "message": message, "replace": replace}
    with quiet(as_json):
        summary = upload(folder, repo_id or repo, kind=kind, allow=allow or (), leave_out=leave_out or (), **options)
    show(summary, as_json, format_push)
