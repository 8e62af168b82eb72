"""The restructuring stage: from free-form solutions to a corpus of steps."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..engines import ChatClient, run_async
from ..errors import UnknownNameError
from ..files import write_json
from ..progress import progress_bar
from ..restructuring import (
    JOURNAL,
    SUMMARY,
    CheckConfig,
    FreeFormRows,
    Outcome,
    ReplyJournal,
    RestructureConfig,
    compare,
    prompt_identity,
    summarise,
    write_corpus,
)
from ..restructuring import restructure as restructure_rows
from ..rows import FigureRules
from ..steps import read_step_format
from .options import Servers, read_config
from .places import check_output_folder
from .run_settings import data_name

_FIGURE_SHOWN = {"no": (False,), "yes": (True,), "compare": (False, True)}


def restructure(
    data: str | os.PathLike[str],
    output: str | Path,
    *,
    servers: Servers,
    model: str | None = None,
    show_figure: str = "no",
    num_rows: int | None = None,
    config: Path | Mapping[str, Any] | None = None,
    rules: FigureRules = FigureRules(),  # noqa: B008 (frozen)
    columns: Mapping[str, str] | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Turn free-form solutions into steps, a corpus for TRL's `SFTTrainer`; an unfinished folder is resumed.

    Writes ``train.parquet``, ``rejected.jsonl``, ``restructure.json`` and ``replies.jsonl`` (everything that was paid
    for: with other thresholds nothing is asked again).

    Args:
        data: A file, dataset folder or hub id (see `RawRows`) in MM-K12's schema with a column `solution`.
        output: Folder to write.
        servers: Its `engine` is where the model runs.
        model: The model's name there; None takes its only one.
        show_figure: "no" (text only, as in the paper), "yes", or "compare": both ways; the corpus is that of "no".
        num_rows: The most rows, from the first; None takes all.
        config: YAML file, or mapping, with options of `RestructureConfig` and `CheckConfig`.
        rules: Which figures besides those in the data's folder may be read and fetched.
        columns: Our names of columns to those of the data, where they differ.
        progress: Show a progress bar.

    Returns:
        The content of ``restructure.json``.

    Raises:
        ValueError: for another `show_figure`, no engine, unknown options, or rows without question or solution.
        EngineUnavailableError: if the server is gone; nothing that was paid for is lost.
    """
    if servers.engine is None:
        raise ValueError("Restructuring needs a model. Give the URL of an OpenAI-compatible server.")
    output, ways = Path(output), _figures_shown(show_figure)
    check_output_folder(output, "a corpus of steps", (JOURNAL,), data=data)
    run_options, check_options = read_config(config, RestructureConfig, CheckConfig)
    run_config, checks = RestructureConfig(**run_options), CheckConfig(**check_options)
    rows, chat = FreeFormRows(data, num_rows, rules, columns), servers.chat(servers.engine, model)
    with ReplyJournal(output / JOURNAL) as journal:
        outcomes = _restructure_each_way(ways, rows, chat, journal, run_config, checks, progress=progress)
        write_corpus(rows, outcomes[0], journal, output, read_step_format(run_config.step_format))
        report = {
            **_counts(outcomes),
            "asked_now": journal.asked_now,
            "show_figure": show_figure,
            "config": dataclasses.asdict(run_config),
            "checks": dataclasses.asdict(checks),
            "data": data_name(str(data)),
            "model": chat.identity,
            "prompt": prompt_identity(),
        }
        write_json(output / SUMMARY, report)
    _check_usable(report)
    return report


def _counts(outcomes: Sequence[Sequence[Outcome]]) -> dict[str, Any]:
    """The counts of the text-only way, and beside them those of the other one, if both were asked for."""
    is_compared = len(outcomes) > 1
    return {
        **summarise(outcomes[0]),
        "shown": summarise(outcomes[1]) if is_compared else None,
        "compare": compare(*outcomes) if is_compared else None,
    }


def _check_usable(report: Mapping[str, Any]) -> None:
    """Raise if no row could even be shown to the model."""
    if not report["num_accepted"] and not report["tokens_out"]:
        reasons = ", ".join(f"{name} {count}" for name, count in report["rejected_by_reason"].items())
        raise ValueError(
            f"None of the {report['num_rows']} rows of {report['data']} could be used: {reasons or 'none'}."
        )


def _figures_shown(show_figure: str) -> tuple[bool, ...]:
    """Whether the model sees the figures, in each way of asking."""
    if show_figure not in _FIGURE_SHOWN:
        raise UnknownNameError("show_figure", show_figure, _FIGURE_SHOWN)
    return _FIGURE_SHOWN[show_figure]


def _restructure_each_way(
    ways: Sequence[bool],
    rows: FreeFormRows,
    chat: ChatClient,
    journal: ReplyJournal,
    config: RestructureConfig,
    checks: CheckConfig,
    *,
    progress: bool,
) -> list[list[Outcome]]:
    """Outcomes of all rows, once for each value of `show_figure` in `ways`."""
    total = len(rows) * len(ways)
    with progress_bar(total=total, desc="restructure", unit="row", is_mean_rate=True, is_shown=progress) as bar:
        options = {"config": config, "checks": checks, "on_done": lambda _: bar.update()}

        async def run_all() -> list[list[Outcome]]:
            return [await restructure_rows(rows, chat, journal, show_figure=way, **options) for way in ways]

        return run_async(run_all())
