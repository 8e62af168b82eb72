"""Verbs that check what lies on disk: labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import ConfigOption, JsonOption, ListOption, nothing_left, quiet, show


def labels(
    folder: Annotated[Path, typer.Argument(help="Folder of `mmprm label`, or one that was downloaded.")],
    config: ConfigOption = None,
    list_options: ListOption = False,
    as_json: JsonOption = False,
) -> None:
    """Whether every label row fits its tree and its problem.

    Prints how many paths, trees and problems there are. A row that does not trace back is named, and the exit code is
    1.
    """
    nothing_left(config)
    from ..labelling import check_label_dataset

    with quiet(as_json):
        counts = check_label_dataset(folder)
    text = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    show(counts, as_json, lambda _: f"{text}: every path traces back to its tree and its problem")


_HELP = """Check a folder of labels, also a downloaded one.

A fault is named, and the exit code is 1.
"""
check = typer.Typer(name="check", help=_HELP, no_args_is_help=True, rich_markup_mode=None)
check.command()(labels)
