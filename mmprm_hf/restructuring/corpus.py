"""The finished corpus: ``train.parquet`` for TRL's `SFTTrainer`, ``rejected.jsonl``, ``restructure.json``.

Every run makes all three anew from the journal, each whole or not at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..files import write_jsonl
from ..rows import stored_figure, write_splits
from ..steps import render_solution
from .journal import ReplyJournal
from .prompt import read_reply
from .rows import FreeFormRow, FreeFormRows, Outcome

if TYPE_CHECKING:
    import datasets

JOURNAL, REJECTED, SUMMARY = "replies.jsonl", "rejected.jsonl", "restructure.json"


def corpus_features(with_images: bool) -> datasets.Features:
    """Return the columns of the corpus; TRL takes one with a column `images` for a vision dataset."""
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


def write_corpus(rows: FreeFormRows, outcomes: Sequence[Outcome], journal: ReplyJournal, folder: Path) -> None:
    """Write accepted rows to ``train.parquet`` (no such file if there are none), the others to ``rejected.jsonl``.

    Rows keep their order and figures their bytes. The prompt is the question alone, as engines show it; TRL puts the
    figures before it.
    """
    pairs = list(enumerate(outcomes))
    rejected = [(rows.row_id(index), outcome.rejection) for index, outcome in pairs if outcome.rejection is not None]
    write_jsonl(
        folder / REJECTED,
        ({"id": row_id, "reason": rejection.reason, "detail": rejection.detail} for row_id, rejection in rejected),
    )
    accepted = [(index, outcome) for index, outcome in pairs if outcome.rejection is None]
    features = corpus_features(any(outcome.has_figure for _, outcome in accepted))
    corpus = (("train", _corpus_row(rows[index], outcome, journal)) for index, outcome in accepted)
    write_splits(folder, corpus, features, ["train"])


def _corpus_row(row: FreeFormRow, outcome: Outcome, journal: ReplyJournal) -> dict[str, Any]:
    reply = journal.get(outcome.reply_key)
    parsed = read_reply(reply.text, reply.finish_reason)
    return {
        "id": row.id,
        "prompt": [{"role": "user", "content": row.question}],
        "completion": [{"role": "assistant", "content": render_solution(parsed.steps, parsed.answer)}],
        "images": [stored_figure(image) for image in row.images],
        "steps": list(parsed.steps),
        "answer": parsed.answer,
        "num_steps": len(parsed.steps),
    }
