"""The finished corpus: ``train.parquet`` for TRL's `SFTTrainer`, ``rejected.jsonl``, ``restructure.json``.

Every run makes all three anew from the journal, each whole or not at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..files import write_jsonl
from ..models import split_question
from ..rows import stored_figure, write_splits
from ..steps import TAGGED, StepFormat
from .journal import ReplyJournal
from .prompt import read_reply
from .rows import FreeFormRow, FreeFormRows, Outcome

if TYPE_CHECKING:
    import datasets

JOURNAL, REJECTED, SUMMARY = "replies.jsonl", "rejected.jsonl", "restructure.json"


def corpus_features(with_images: bool, with_places: bool = False) -> datasets.Features:
    """Return the columns of the corpus; TRL takes one with a column `images` for a vision dataset.

    Args:
        with_images: Whether a row has figures.
        with_places: Whether a row has one inside its question: prompts are then lists of parts.
    """
    from datasets import Features, Image, List, Value

    messages = List({"role": Value("string"), "content": Value("string")})
    parts = List({"type": Value("string"), "text": Value("string")})
    return Features(
        {
            "id": Value("string"),
            "prompt": List({"role": Value("string"), "content": parts}) if with_places else messages,
            "completion": messages,
            **({"images": List(Image())} if with_images else {}),
            "steps": List(Value("string")),
            "answer": Value("string"),
            "num_steps": Value("int32"),
        }
    )


def write_corpus(
    rows: FreeFormRows,
    outcomes: Sequence[Outcome],
    journal: ReplyJournal,
    folder: Path,
    step_format: StepFormat = TAGGED,
) -> None:
    """Write accepted rows to ``train.parquet`` (no such file if there are none), the others to ``rejected.jsonl``.

    Rows keep their order and figures their bytes. The prompt is the question alone, as engines show it, without
    placeholders: TRL puts the figures before it. If one row has a figure inside its question, the prompts of all rows
    are parts, texts and figures in order, which TRL fills. Figures are in reading order. Completions are written in
    `step_format`, which every accepted row was checked against (`RestructureConfig.step_format`).
    """
    pairs = list(enumerate(outcomes))
    rejected = [(rows.row_id(index), outcome.rejection) for index, outcome in pairs if outcome.rejection is not None]
    write_jsonl(
        folder / REJECTED,
        ({"id": row_id, "reason": rejection.reason, "detail": rejection.detail} for row_id, rejection in rejected),
    )
    accepted = [(index, outcome) for index, outcome in pairs if outcome.rejection is None]
    with_places = any(outcome.has_inner_figure for _, outcome in accepted)
    features = corpus_features(any(outcome.has_figure for _, outcome in accepted), with_places)
    corpus = (
        ("train", _corpus_row(rows[index], outcome, journal, with_places, step_format)) for index, outcome in accepted
    )
    write_splits(folder, corpus, features, ["train"])


def _corpus_row(
    row: FreeFormRow, outcome: Outcome, journal: ReplyJournal, with_places: bool, step_format: StepFormat
) -> dict[str, Any]:
    parts = split_question(row.question, len(row.images))
    content: Any = "".join(part for part in parts if isinstance(part, str))
    if with_places:
        content = [
            {"type": "text", "text": p} if isinstance(p, str) else {"type": "image", "text": None} for p in parts
        ]
    reply = journal.get(outcome.reply_key)
    parsed = read_reply(reply.text, reply.finish_reason)
    return {
        "id": row.id,
        "prompt": [{"role": "user", "content": content}],
        "completion": [{"role": "assistant", "content": step_format.render(parsed.steps, parsed.answer)}],
        "images": [stored_figure(row.images[part]) for part in parts if isinstance(part, int)],
        "steps": list(parsed.steps),
        "answer": parsed.answer,
        "num_steps": len(parsed.steps),
    }
