"""Verbs that publish: report, card, push."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from .options import ConfigOption, JsonOption, nothing_left, quiet, show


def report(
    results: Annotated[
        list[Path], typer.Argument(help="Results of one evaluation or several, as `evaluate` and `demo` write them.")
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Page to write, or a table if it ends in .md. Default: out/report.html."),
    ] = None,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print a Markdown table for a card; write it only to an -o in .md.")
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a page or a table of one evaluation or several.

    A page on one evaluation shows problems from candidates.jsonl beside the results, if there is one. Plots are
    embedded and written beside the page; they need the extra "plots".
    """
    nothing_left(config)
    is_table = markdown or (output is not None and output.suffix == ".md")
    if markdown and output is not None and output.suffix != ".md":
        raise typer.BadParameter(f"{output} is no .md file. --markdown writes to those only; leave one of them out.")
    if is_table:
        from ..publish import write_results_table

        table = write_results_table(results, output)
        found = {"output": None if output is None else str(output), "markdown": table}
        show(found, as_json, lambda _: table.rstrip("\n") if markdown else f"wrote {output}")
        return
    from ..publish import write_report

    output = output or Path("out/report.html")
    write_report(results, output)
    show({"output": str(output)}, as_json, lambda _: f"wrote {output}")


def card(
    facts: Annotated[Path, typer.Argument(help="facts.json of a model or dataset.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Default: README.md beside the facts.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the card of a model or dataset from its facts."""
    nothing_left(config)
    from ..publish import write_card

    output = output or facts.with_name("README.md")
    write_card(facts, output)
    show({"output": str(output)}, as_json, lambda _: f"wrote {output}")


def push(
    folder: Annotated[Path, typer.Argument(help="What to upload.")],
    kind: Annotated[Literal["model", "dataset", "space"], typer.Option(help="What the repository is.")],
    repo_id: Annotated[str | None, typer.Argument(help="owner/name; or give it as --repo.")] = None,
    repo: Annotated[str | None, typer.Option(help="owner/name.")] = None,
    revision: Annotated[str | None, typer.Option(help="Branch, made if it is not there. Default: main.")] = None,
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and list the files; send nothing.")] = False,
    message: Annotated[str | None, typer.Option(help="Of the commit.")] = None,
    allow: Annotated[
        list[str] | None, typer.Option(help="A file that is right as it is; one with a secret as name:secret.")
    ] = None,
    leave_out: Annotated[list[str] | None, typer.Option(help="Pattern of files that shall stay here.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Delete what the repository holds besides.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Upload a folder to the Hub, after checking all in it.

    Refused before anything is sent: secrets, paths of this machine, pickles, unfinished files, a missing card. The
    token is the one of `hf auth login`, or HF_TOKEN.
    """
    nothing_left(config)
    if (repo_id is None) == (repo is None):
        raise typer.BadParameter("name the repository once, as owner/name behind the folder or as --repo owner/name.")
    from ..publish import format_push
    from ..publish import push as upload

    options = {"revision": revision, "private": private, "dry_run": dry_run, "message": message, "replace": replace}
    with quiet(as_json):
        found = upload(folder, repo_id or repo, kind=kind, allow=allow or (), leave_out=leave_out or (), **options)
    show(found, as_json, format_push)
