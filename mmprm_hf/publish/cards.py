"""Hub cards (Markdown with YAML front matter) for models and datasets, made from a facts JSON.

The facts are the one place to edit; a card is always regenerated, byte for byte the same. A fact that is missing or
null reads "not measured", never blank or guessed; a key that no schema knows is an error. What there is to say is in
`card_facts.py`, the sections of a dataset card in `card_sections.py`.

Standard library and PyYAML only; must not import torch, a model or another room.
"""

from __future__ import annotations

import importlib.resources
import json
import re
import string
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from .card_facts import DatasetFacts, ModelFacts, read_facts
from .card_markdown import NOT_MEASURED, bullets, code, section, table, text
from .card_sections import (
    by_config,
    composition_markdown,
    drop_table,
    features_table,
    ledger_markdown,
    repairs_table,
    results_markdown,
    sources_table,
    splits_table,
    statistics_table,
)

_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")  # owner/name; anything else is no link on the Hub
_SIZE_MARKS = ("1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B", "1T")  # the Hub's, in tens from 1,000

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
        raise ValueError(f"A model's kind is {model.kind!r}. Use one of {', '.join(_KINDS)}.")
    words, kind_tags = _KINDS[model.kind]
    is_hub_id = model.base_model is not None and _HUB_ID.fullmatch(model.base_model)
    front_matter = {
        "license": model.license or "unknown",
        "library_name": model.library_name,
        "pipeline_tag": model.pipeline_tag,
        "language": list(model.language),
        "tags": [*dict.fromkeys(["mmprm_hf", *kind_tags, *model.tags])],
        "base_model": model.base_model if is_hub_id else None,
        "datasets": [name for name in model.datasets if _HUB_ID.fullmatch(name)],
    }
    overview = {
        "kind": words,
        "parameters": None if model.num_parameters is None else f"{model.num_parameters:,}",
        "starts from": model.base_model,
        "trained on": model.trained_on,
        "seed": model.seed,
        "compute": model.compute,
        "license": model.license,
    }
    return _fill(
        "model_card.md",
        front_matter=_front_matter(front_matter),
        name=model.name,
        status=_status(model.status),
        summary=text(model.summary),
        overview=table(("", ""), [(key, text(value)) for key, value in overview.items()]),
        how_to_use=code(model.how_to_use, "python"),
        results=results_markdown(model.results),
        recipe=code("\n".join(model.recipe), "bash"),
        hyper_parameters=table(("option", "value"), [(f"`{k}`", text(v)) for k, v in model.hyper_parameters.items()]),
        uses=bullets(model.uses),
        misuses=bullets(model.misuses),
        limits=bullets(model.limits),
        citation=code(model.citation, "bibtex"),
    )


def render_dataset_card(facts: Mapping[str, Any]) -> str:
    """Return the dataset card, ending in a line break. Equal facts give equal text.

    Args:
        facts: Plain dict (parsed JSON) with the fields of `DatasetFacts`.

    Raises:
        ValueError: for an unknown or missing key, a kind other than "dataset", a license "other" without its name,
            and as `drop_table` does.
    """
    dataset = read_facts(DatasetFacts, facts)
    if dataset.kind != "dataset":
        raise ValueError(f"A dataset's kind is {dataset.kind!r}. Write 'dataset', or use render_model_card.")
    if dataset.license == "other" and not dataset.license_name:
        raise ValueError("The license is 'other', without a name. The Hub asks for one; give license_name.")
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
    families = dataset.families
    if isinstance(families, Mapping):
        families = [f"**{name}**: {text(words)}" for name, words in families.items()]
    return _fill(
        "dataset_card.md",
        front_matter=_front_matter(front_matter),
        name=dataset.name,
        status=_status(dataset.status),
        summary=text(dataset.summary),
        motivation=text(dataset.motivation),
        splits=by_config(dataset.splits, splits_table),
        features=by_config(dataset.features, features_table),
        composition=composition_markdown(dataset.composition),
        families=section("Families of problems", bullets(families), shown=bool(families)),
        collection=text(dataset.collection),
        sources=sources_table(dataset.sources),
        command=code(dataset.command, "bash"),
        seed=text(dataset.seed),
        drops=drop_table(dataset.criteria, dataset.drops),
        repairs=repairs_table(dataset.repairs),
        label_noise=section(
            "Noise of the labels",
            results_markdown(dataset.label_noise),
            shown=bool(dataset.label_noise or dataset.ledger),
        ),
        statistics=statistics_table(dataset.statistics),
        results=section("Measured", results_markdown(dataset.results), shown=bool(dataset.results)),
        cost=section("What it cost", ledger_markdown(dataset.ledger), shown=bool(dataset.ledger)),
        how_to_use=code(dataset.how_to_use, "python"),
        uses=bullets(dataset.uses),
        misuses=bullets(dataset.misuses),
        limits=bullets(dataset.limits),
        license=dataset.license_name or text(dataset.license),
        citation=code(dataset.citation, "bibtex"),
    )


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
        ValueError: if the file is no JSON object or has no known ``kind``, and as the two renderers do.
    """
    try:
        facts = json.loads(Path(facts_path).read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{facts_path} is no JSON ({error}). Correct it at that place.") from error
    kind = facts.get("kind") if isinstance(facts, dict) else None
    if kind not in (*_KINDS, "dataset"):
        raise ValueError(
            f"{facts_path} has kind {kind!r}. A facts file is a JSON object with kind {', '.join(_KINDS)} or dataset."
        )
    card = render_dataset_card(facts) if kind == "dataset" else render_model_card(facts)
    Path(output_path).write_bytes(card.encode("utf-8"))
    return Path(output_path)


def _status(status: str | None) -> str:
    """The line below the title that nobody shall miss; nothing without a status."""
    return f"> **Status:** {status}\n\n" if status else ""


def _fill(template: str, **values: str) -> str:
    """A template of this room with its placeholders replaced; ends in one line break."""
    source = importlib.resources.files("mmprm_hf.publish").joinpath("templates", template).read_text(encoding="utf-8")
    return string.Template(source).substitute(values).rstrip("\n") + "\n"


def _front_matter(metadata: Mapping[str, Any]) -> str:
    """YAML in the order given; what is unknown or empty is left out, as the Hub's validation asks."""
    known = {key: value for key, value in metadata.items() if value not in (None, [])}
    return yaml.safe_dump(known, sort_keys=False, allow_unicode=True, width=1000).rstrip("\n")


__all__ = ["NOT_MEASURED", "ledger_markdown", "render_dataset_card", "render_model_card", "write_card"]
