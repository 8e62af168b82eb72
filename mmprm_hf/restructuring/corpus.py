"""The finished corpus: ``train.parquet`` for TRL's `SFTTrainer`, ``rejected.jsonl``, ``restructure.json``.

All three are made anew from the journal by every run, each whole or not at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..files import write_jsonl
from ..steps import DEFAULT_STEP_FORMAT, StepFormat, render_solution
from .journal import ReplyJournal
from .prompt import read_reply
from .rows import FreeFormRow, Outcome

if TYPE_CHECKING:
    import datasets

JOURNAL, TRAIN, REJECTED, SUMMARY = "replies.jsonl", "train.parquet", "rejected.jsonl", "restructure.json"


def corpus_features(with_images: bool) -> datasets.Features:
    """Columns of the corpus; `images` only where a row has some (TRL takes the column for a vision dataset)."""
    from datasets import Features, Image, List, Value

    messages = List({"role": Value("string"), "content": Value("string")})
    return Features(
        {
            "id": Value("string"),
            "prompt": messages,
            "completion": messages,
            **({"images": List(Image())} if with_images else {}),
            "steps": List(Value("string")),
            "answer": Value("string"),
            "num_steps": Value("int32"),
        }
    )


def write_corpus(
    rows: Sequence[FreeFormRow],
    outcomes: Sequence[Outcome],
    journal: ReplyJournal,
    folder: Path,
    step_format: StepFormat = DEFAULT_STEP_FORMAT,
) -> None:
    """Write taken rows to ``train.parquet`` (none: no such file) and the others to ``rejected.jsonl``, in order.

    Figures keep their bytes. The prompt is the question alone, as engines show it; TRL puts the figures before it.
    """
    from datasets.arrow_writer import ParquetWriter

    write_jsonl(
        folder / REJECTED,
        (
            {"id": row.id, "reason": outcome.rejection.reason, "detail": outcome.rejection.detail}
            for row, outcome in _pairs(rows, outcomes)
            if outcome.rejection is not None
        ),
    )
    taken = [outcome for outcome in outcomes if outcome.rejection is None]
    if not taken:
        (folder / TRAIN).unlink(missing_ok=True)
        return
    features = corpus_features(any(outcome.has_figure for outcome in taken))
    draft = folder / f"{TRAIN}.part"
    try:
        with ParquetWriter(features=features, path=str(draft), embed_local_files=True) as writer:
            for row, outcome in _pairs(rows, outcomes):
                if outcome.rejection is None:
                    content = _corpus_row(row, outcome, journal, step_format)
                    writer.write(features.encode_example({name: content[name] for name in features}))
            writer.finalize()
        draft.replace(folder / TRAIN)
    finally:
        draft.unlink(missing_ok=True)


def _pairs(rows: Sequence[FreeFormRow], outcomes: Sequence[Outcome]) -> Iterator[tuple[FreeFormRow, Outcome]]:
    return ((rows[index], outcome) for index, outcome in enumerate(outcomes))


def _corpus_row(row: FreeFormRow, outcome: Outcome, journal: ReplyJournal, step_format: StepFormat) -> dict[str, Any]:
    reply = journal.get(outcome.reply_key)
    parsed = read_reply(reply.text, reply.finish_reason, step_format)
    solution = render_solution(parsed.steps, parsed.answer, step_format)
    return {
        "id": row.id,
        "prompt": [{"role": "user", "content": row.question}],
        "completion": [{"role": "assistant", "content": solution}],
        "images": list(row.images),
        "steps": list(parsed.steps),
        "answer": parsed.answer,
        "num_steps": len(parsed.steps),
    }
