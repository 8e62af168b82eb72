"""Hub cards (Markdown with YAML front matter) for models and datasets, made from a facts JSON.

The facts are the one place to edit; a card is always regenerated, byte for byte the same. A fact that is missing or
null reads "not measured", never blank or guessed; an unknown key is an error. The fields of a facts file are in
`card_facts.py`, the sections of a card in ``templates/``. Must not import torch, a model or another room.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ..errors import UnknownNameError
from ..files import read_json, write_atomically
from .card_facts import HUB_ID, CardFacts, DatasetFacts, ModelFacts, read_facts
from .rendering import render

_SIZE_MARKS = ("1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B", "1T")  # the Hub's, in tens from 1,000

PLACEHOLDERS = {"name": "NAME", "summary": "SUMMARY", "license": "LICENSE"}
"""What a facts file to fill in has in place of the facts that every card needs."""
_KINDS = {
    "policy": ("a policy: it writes step-by-step solutions", ("step-by-step", "multimodal", "math")),
    "prm": ("a process reward model: it scores every step", ("process-reward-model", "multimodal", "math")),
}


def render_model_card(facts: Mapping[str, Any]) -> str:
    """Return the model card, ending in a line break. Equal facts give equal text.

    Args:
        facts: Plain dict (parsed JSON) with the fields of `ModelFacts`.

    Raises:
        ValueError: for an unknown or missing key, or a kind other than "policy" and "prm".

    Example:
        >>> render_model_card({"name": "nano-prm", "kind": "prm"}).splitlines()[1]
        'license: unknown'
    """
    model = read_facts(ModelFacts, facts)
    if model.kind not in _KINDS:
        raise UnknownNameError("kind of model", model.kind, _KINDS)
    words, kind_tags = _KINDS[model.kind]
    is_hub_id = model.base_model is not None and HUB_ID.fullmatch(model.base_model)
    front_matter = {
        "license": model.license or "unknown",
        "library_name": "transformers",
        "pipeline_tag": "image-text-to-text",
        "language": list(model.language),
        "tags": [*dict.fromkeys(["mmprm_hf", *kind_tags, *model.tags])],
        "base_model": model.base_model if is_hub_id else None,
        "datasets": [name for name in model.datasets if HUB_ID.fullmatch(name)],
    }
    return _card("model_card.md", model, front_matter, kind=words)


def render_dataset_card(facts: Mapping[str, Any]) -> str:
    """Return the dataset card, ending in a line break. Equal facts give equal text.

    Args:
        facts: Plain dict (parsed JSON) with the fields of `DatasetFacts`.

    Raises:
        ValueError: for an unknown or missing key, a kind other than "dataset", or facts that contradict each other,
            such as dropped rows that do not add up.
    """
    dataset = read_facts(DatasetFacts, facts)
    if dataset.kind != "dataset":
        raise ValueError(f"A dataset's kind is {dataset.kind!r}. Write 'dataset', or use render_model_card.")
    front_matter = {
        "license": dataset.license or "unknown",
        "license_name": dataset.license_name,
        "pretty_name": dataset.name,
        "task_categories": list(dataset.task_categories),
        "language": list(dataset.language),
        "tags": [*dict.fromkeys(["mmprm_hf", "multimodal", "math", *dataset.tags])],
        "size_categories": _size_categories(dataset.splits),
        "configs": [dict(config) for config in dataset.configs],
    }
    return _card("dataset_card.md", dataset, front_matter)


def _size_categories(splits: Mapping[str, Any]) -> list[str] | None:
    """The Hub's size of a dataset, or of its first config; None where rows are not known."""
    first = next(iter(splits.values()), None)
    rows = list((first if isinstance(first, Mapping) else splits).values())
    if not rows or None in rows:
        return None
    marks = [mark for power, mark in enumerate(_SIZE_MARKS, 3) if sum(rows) >= 10**power]
    if not marks:
        return [f"n<{_SIZE_MARKS[0]}"]
    if len(marks) == len(_SIZE_MARKS):
        return [f"n>{marks[-1]}"]
    return [f"{marks[-1]}<n<{_SIZE_MARKS[len(marks)]}"]


def write_card(facts_path: str | Path, output_path: str | Path) -> Path:
    """Write the card of a facts file (UTF-8, ``\\n`` line ends) and return its path.

    Args:
        facts_path: JSON with the fields of `ModelFacts` or `DatasetFacts`; its ``kind`` decides which.
        output_path: The card, usually ``README.md`` beside the facts.

    Raises:
        ValueError: if the file is not a JSON object with a known ``kind``, still has placeholders of `facts_template`,
            and as the two renderers do.
    """
    facts = read_json(Path(facts_path))
    if isinstance(facts, dict):
        _check_filled(facts, Path(facts_path))
    kind = facts.get("kind") if isinstance(facts, dict) else None
    if kind not in (*_KINDS, "dataset"):
        raise UnknownNameError("kind", kind, (*_KINDS, "dataset"), f" of the facts in {facts_path}")
    card = render_dataset_card(facts) if kind == "dataset" else render_model_card(facts)
    write_atomically(Path(output_path), card)
    return Path(output_path)


def _check_filled(facts: Mapping[str, Any], path: Path) -> None:
    """Raise if a placeholder is left, naming its line."""
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    left = []
    for key, placeholder in PLACEHOLDERS.items():
        if facts.get(key) == placeholder:
            numbers = [number for number, line in enumerate(lines, 1) if f'"{key}"' in line and placeholder in line]
            left.append(f"line {numbers[0]}: {key}" if numbers else key)
    if left:
        raise ValueError(
            f"{path} still has placeholders ({', '.join(left)}). Write the facts there; null for one that is not known."
        )


def facts_template(kind: str) -> str:
    """Return a facts file to fill in: every field of a card, empty, or a placeholder where every card needs a fact.

    What stays empty is left out of the card; a placeholder that stays is an error.

    Args:
        kind: "policy", "prm" or "dataset".

    Example:
        >>> json.loads(facts_template("prm"))["kind"]
        'prm'
    """
    if kind not in (*_KINDS, "dataset"):
        raise UnknownNameError("kind", kind, (*_KINDS, "dataset"))
    schema = DatasetFacts if kind == "dataset" else ModelFacts
    empty = {}
    for field in dataclasses.fields(schema):
        is_object = field.default_factory is dict
        empty[field.name] = {} if is_object else [] if field.default == () else None
    return json.dumps({**empty, **PLACEHOLDERS, "kind": kind}, indent=2) + "\n"


def _card(template: str, card: CardFacts, metadata: Mapping[str, Any], **values: Any) -> str:
    """A card; of its metadata what is unknown or empty is left out, as the Hub's validation asks."""
    known = {key: value for key, value in metadata.items() if value not in (None, [])}
    front_matter = yaml.safe_dump(known, sort_keys=False, allow_unicode=True, width=1000).rstrip("\n")
    return render(template, card=card, front_matter=front_matter, **values) + "\n"
