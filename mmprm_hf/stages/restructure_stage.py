"""The restructuring stage: from free-form solutions to a corpus of tagged steps."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
from tqdm import tqdm

from ..files import write_json
from ..restructuring import (
    JOURNAL,
    SUMMARY,
    CheckConfig,
    FreeFormRow,
    Outcome,
    ReplyJournal,
    RestructureConfig,
    compare,
    prompt_identity,
    summarise,
    write_corpus,
)
from ..restructuring import restructure as restructure_rows
from .options import Servers, read_config


class _FreeFormRows(Sequence):
    """Rows of a dataset as the restructuring reads them, made as their turn comes; figures keep their bytes."""

    def __init__(self, source: Path, num_rows: int | None) -> None:
        reader = {".parquet": "parquet", ".jsonl": "json", ".json": "json"}.get(source.suffix)
        if source.is_dir():
            rows = datasets.load_dataset(str(source), split="train")
        elif reader and source.is_file():
            rows = datasets.load_dataset(reader, data_files=str(source), split="train")
        else:
            raise ValueError(f"{source} is neither a dataset folder nor a .parquet or .jsonl file. Check the path.")
        missing = {"question", "solution"} - set(rows.column_names)
        if missing:
            raise ValueError(
                f"{source} has the columns {rows.column_names} and lacks {sorted(missing)}. Restructuring needs "
                "question and solution; rename yours."
            )
        feature = rows.features.get("images")
        if isinstance(getattr(feature, "feature", None), datasets.Image):
            rows = rows.cast_column("images", datasets.List(datasets.Image(decode=False)))
        self._rows = rows if num_rows is None else rows.select(range(min(num_rows, len(rows))))
        self._folder = source if source.is_dir() else source.parent

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> FreeFormRow:
        row = FreeFormRow.from_row(self._rows[index], index)
        # Paths in a JSON-lines file are relative to it.
        images = (str(self._folder / image) if isinstance(image, str) else image for image in row.images)
        return dataclasses.replace(row, images=tuple(images))


def restructure(
    data: Path,
    output: Path,
    *,
    servers: Servers,
    model: str | None = None,
    show_figure: str = "no",
    num_rows: int | None = None,
    config: Path | Mapping[str, Any] | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Turn free-form solutions into tagged steps, a corpus for TRL's `SFTTrainer`; goes on from an unfinished folder.

    Writes ``train.parquet``, ``rejected.jsonl``, ``restructure.json`` and ``replies.jsonl`` (all that was paid for:
    other thresholds ask nothing again).

    Args:
        data: Dataset folder, parquet or JSON-lines file in MM-K12's schema with a column `solution`.
        output: Folder to write.
        servers: `engine` is where the model is.
        model: Its name there, None for the only one.
        show_figure: "no" (text only, as in the paper), "yes", or "compare": both are asked, differences reported, and
            the corpus is that of "no".
        num_rows: The first so many rows, None for all.
        config: YAML file, or mapping, with options of `RestructureConfig` and `CheckConfig`.
        progress: Show a bar.

    Returns:
        The content of ``restructure.json``.

    Raises:
        EngineUnavailableError: if the server is gone; nothing that was paid for is lost.
    """
    ways = {"no": (False,), "yes": (True,), "compare": (False, True)}
    if show_figure not in ways:
        raise ValueError(f"Found show_figure={show_figure!r}; it must be one of {', '.join(ways)}.")
    if servers.engine is None:
        raise ValueError("Restructuring needs a server. Give the URL of one that is OpenAI-compatible.")
    run_options, check_options = read_config(config, RestructureConfig, CheckConfig)
    run_config, checks = RestructureConfig(**run_options), CheckConfig(**check_options)
    rows, chat = _FreeFormRows(data, num_rows), servers.chat(servers.engine, model)
    with ReplyJournal(output / JOURNAL) as journal:

        async def ask(bar: tqdm) -> list[list[Outcome]]:
            options = {"config": run_config, "checks": checks, "on_done": lambda _: bar.update()}
            return [
                await restructure_rows(rows, chat, journal, show_figure=is_shown, **options)
                for is_shown in ways[show_figure]
            ]

        total = len(rows) * len(ways[show_figure])
        with tqdm(total=total, desc="restructure", unit="row", smoothing=0, disable=not progress) as bar:
            outcomes = asyncio.run(ask(bar))
        write_corpus(rows, outcomes[0], journal, output)
        asked_now = {
            "num_replies": len(journal.added),
            "tokens_in": sum(reply.tokens_in for reply in journal.added),
            "tokens_out": sum(reply.tokens_out for reply in journal.added),
        }
    report = {
        **summarise(outcomes[0]),
        "asked_now": asked_now,
        "show_figure": show_figure,
        "shown": summarise(outcomes[1]) if len(outcomes) > 1 else None,
        "compare": compare(*outcomes) if len(outcomes) > 1 else None,
        "config": dataclasses.asdict(run_config),
        "checks": dataclasses.asdict(checks),
        "data": str(data),
        "model": chat.identity,
        "prompt": prompt_identity(),
    }
    write_json(output / SUMMARY, report)
    return report
