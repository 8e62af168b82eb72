"""Hub cards (Markdown with YAML front matter) for models and datasets, made from a facts JSON.

The facts are the one place to edit; a card is always regenerated, byte for byte the same. A fact that is missing or
null reads "not measured", never blank or guessed; a key that no schema knows is an error.

Standard library and PyYAML only; must not import torch, a model or another room.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib.resources
import json
import re
import string
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml

NOT_MEASURED = "not measured"

_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")  # owner/name; anything else is no link on the Hub
_SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"))


@dataclasses.dataclass(frozen=True)
class ResultFact:
    """One measured figure.

    Args:
        metric: Its name in words, with its unit if it has one.
        value: The number; None reads "not measured".
        ci_low, ci_high: Its 95 % confidence interval.
        split: What it was measured on, with the number of rows.
        command: What prints it again.
    """

    metric: str
    value: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    split: str | None = None
    command: str | None = None


@dataclasses.dataclass(frozen=True)
class ModelFacts:
    """Facts of a model card; all but `name` and `kind` may be missing.

    Args:
        name: Title of the card.
        kind: "policy" (writes step-by-step solutions) or "prm" (scores their steps).
        summary: A paragraph of Markdown.
        num_parameters: All parameters.
        base_model: Where training started; a Hub id (owner/name) also enters the front matter.
        trained_on: The training data in words.
        datasets: Hub ids of the training data, for the front matter.
        recipe: Commands that make the model again, in order.
        seed: Of the recipe.
        hyper_parameters: Option to value; those that differ from defaults.
        compute: Hardware and time in words.
        results: Dicts with the fields of `ResultFact`.
        how_to_use: Python code.
        limits: One sentence each.
        license: SPDX id in lower case, as the Hub spells it ("apache-2.0").
        citation: BibTeX.
        library_name, pipeline_tag, language, tags: Front matter; `tags` come after those of the kind.
    """

    name: str
    kind: str
    summary: str | None = None
    num_parameters: int | None = None
    base_model: str | None = None
    trained_on: str | None = None
    datasets: Sequence[str] = ()
    recipe: Sequence[str] = ()
    seed: int | None = None
    hyper_parameters: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    compute: str | None = None
    results: Sequence[Mapping[str, Any]] = ()
    how_to_use: str | None = None
    limits: Sequence[str] = ()
    license: str | None = None
    citation: str | None = None
    library_name: str = "transformers"
    pipeline_tag: str = "image-text-to-text"
    language: Sequence[str] = ()
    tags: Sequence[str] = ()


@dataclasses.dataclass(frozen=True)
class DatasetFacts:
    """Facts of a dataset card; all but `name` may be missing.

    Args:
        name: Title of the card.
        kind: "dataset"; tells `write_card` which card to make.
        summary: A paragraph of Markdown.
        splits: Split to number of rows.
        features: Column to its type and meaning.
        families: Kind of problem to its description, or a list of names.
        command: What makes the dataset again.
        seed: Of that command.
        how_to_use: Python code.
        results: Dicts with the fields of `ResultFact`, such as the noise of labels.
        ledger: What labelling cost: the `summary.json` of a run folder (of its keys those of `ledger_markdown`). A
            card without it has no such section.
        limits: One sentence each.
        license: As in `ModelFacts`.
        citation: BibTeX.
        task_categories, language, tags: Front matter; `tags` come after the package's own.
    """

    name: str
    kind: str = "dataset"
    summary: str | None = None
    splits: Mapping[str, int] = dataclasses.field(default_factory=dict)
    features: Mapping[str, str] = dataclasses.field(default_factory=dict)
    families: Mapping[str, str] | Sequence[str] = ()
    command: str | None = None
    seed: int | None = None
    how_to_use: str | None = None
    results: Sequence[Mapping[str, Any]] = ()
    ledger: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    limits: Sequence[str] = ()
    license: str | None = None
    citation: str | None = None
    task_categories: Sequence[str] = ()
    language: Sequence[str] = ()
    tags: Sequence[str] = ()


_Facts = TypeVar("_Facts", ModelFacts, DatasetFacts, ResultFact)

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
    model = _read(ModelFacts, facts)
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
        summary=_text(model.summary),
        overview=_table(("", ""), [(key, _text(value)) for key, value in overview.items()]),
        how_to_use=_code(model.how_to_use, "python"),
        results=_results(model.results),
        recipe=_code("\n".join(model.recipe), "bash"),
        hyper_parameters=_table(("option", "value"), [(f"`{k}`", _text(v)) for k, v in model.hyper_parameters.items()]),
        limits=_bullets(model.limits),
        citation=_code(model.citation, "bibtex"),
    )


def render_dataset_card(facts: Mapping[str, Any]) -> str:
    """Return the dataset card, ending in a line break. Equal facts give equal text.

    Args:
        facts: Plain dict (parsed JSON) with the fields of `DatasetFacts`.

    Raises:
        ValueError: for an unknown or missing key, or a kind other than "dataset".
    """
    dataset = _read(DatasetFacts, facts)
    if dataset.kind != "dataset":
        raise ValueError(f"A dataset's kind is {dataset.kind!r}. Write 'dataset', or use render_model_card.")
    num_rows = sum(dataset.splits.values())
    size = next((name for limit, name in _SIZES if num_rows < limit), "n>10M")
    front_matter = {
        "license": dataset.license or "unknown",
        "pretty_name": dataset.name,
        "task_categories": list(dataset.task_categories),
        "language": list(dataset.language),
        "tags": [*dict.fromkeys(["mmprm_hf", "multimodal", "math", *dataset.tags])],
        "size_categories": [size] if dataset.splits else None,
    }
    families = dataset.families
    if isinstance(families, Mapping):
        families = [f"**{name}**: {_text(words)}" for name, words in families.items()]
    return _fill(
        "dataset_card.md",
        front_matter=_front_matter(front_matter),
        name=dataset.name,
        summary=_text(dataset.summary),
        splits=_table(("split", "rows"), [(f"`{name}`", f"{rows:,}") for name, rows in dataset.splits.items()]),
        features=_table(("column", "content"), [(f"`{k}`", _text(v)) for k, v in dataset.features.items()]),
        families=_bullets(families),
        how_to_use=_code(dataset.how_to_use, "python"),
        command=_code(dataset.command, "bash"),
        seed=_text(dataset.seed),
        results=_results(dataset.results),
        cost=f"## What it cost\n\n{ledger_markdown(dataset.ledger)}\n\n" if dataset.ledger else "",
        limits=_bullets(dataset.limits),
        license=_text(dataset.license),
        citation=_code(dataset.citation, "bibtex"),
    )


_LEDGER = {
    "num_trees": "problems with a tree",
    "num_failed": "problems without one",
    "num_requests": "requests to the policy",
    "num_rollouts": "rollouts",
    "num_incomplete": "incomplete rollouts",
    "num_undecided": "undecided rollouts",
    "tokens_in": "prompt tokens",
    "tokens_out": "generated tokens",
    "verifier_calls": "questions to the verifier",
    "judge_calls": "of them to a judge",
    "judge_cache_hits": "answered from the judge's cache",
    "judge_tokens_in": "prompt tokens of the judge",
    "judge_tokens_out": "generated tokens of the judge",
}
_COUNTED_WHERE_ABOVE_ZERO = ("tokens_in", "tokens_out")  # an engine that does not count tokens leaves 0


def ledger_markdown(summary: Mapping[str, Any]) -> str:
    """Return the table of what a labelling run cost, in total and per tree.

    Args:
        summary: `summary.json` of a run folder; other keys than those of the table, `seconds` and `sessions` may be
            there and are not shown.
    """
    num_trees = summary.get("num_trees")
    rows = []
    for key, words in _LEDGER.items():
        value = summary.get(key)
        if key in _COUNTED_WHERE_ABOVE_ZERO and not value:
            value = None
        per_tree = NOT_MEASURED if value is None or not num_trees else f"{value / num_trees:,.1f}"
        rows.append((words, _number(value), "" if key in ("num_trees", "num_failed") else per_tree))
    seconds, sessions = summary.get("seconds"), summary.get("sessions", ())
    hours = NOT_MEASURED if seconds is None else f"{seconds / 3600:,.2f}"
    where = f" (in {len(sessions)} sessions)" if len(sessions) > 1 else ""
    rows.append((f"hours{where}", hours, f"{seconds / num_trees:,.2f} s" if seconds and num_trees else NOT_MEASURED))
    return _table(("", "in total", "per tree"), rows)


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


def _read(schema: type[_Facts], facts: Mapping[str, Any]) -> _Facts:
    """The facts as a dataclass; null is the same as missing."""
    fields = {field.name: field for field in dataclasses.fields(schema)}
    for key in facts:
        if key not in fields:
            matches = difflib.get_close_matches(key, fields, n=3, cutoff=0.5) or sorted(fields)
            raise ValueError(f"Unknown key {key!r} in {schema.__name__}. Did you mean {' or '.join(matches)}?")
    known = {key: value for key, value in facts.items() if value is not None}
    for key, value in known.items():
        if fields[key].default == () and isinstance(value, str):
            raise ValueError(
                f"{key!r} in {schema.__name__} is the text {value!r}. Expected a list; put it in brackets."
            )
    required = [name for name, field in fields.items() if _is_required(field) and name not in known]
    if required:
        raise ValueError(f"{schema.__name__} lacks {', '.join(required)}. Only the other facts may be missing.")
    return schema(**known)


def _is_required(field: dataclasses.Field) -> bool:
    """Whether a field has no default."""
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _fill(template: str, **values: str) -> str:
    """A template of this room with its placeholders replaced; ends in one line break."""
    source = importlib.resources.files("mmprm_hf.publish").joinpath("templates", template).read_text(encoding="utf-8")
    return string.Template(source).substitute(values).rstrip("\n") + "\n"


def _front_matter(metadata: Mapping[str, Any]) -> str:
    """YAML in the order given; what is unknown or empty is left out, as the Hub's validation asks."""
    known = {key: value for key, value in metadata.items() if value not in (None, [])}
    return yaml.safe_dump(known, sort_keys=False, allow_unicode=True, width=1000).rstrip("\n")


def _text(value: Any) -> str:
    """A fact as Markdown."""
    if value is None or value == "" or value == []:
        return NOT_MEASURED
    if isinstance(value, list):
        return ", ".join(_text(entry) for entry in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_text(entry)}" for key, entry in value.items()) or NOT_MEASURED
    return str(value)


def _number(value: float | None) -> str:
    """A measured number: integers whole, others with three decimals; with one from 100 on, as 1.0e-04 below 0.001."""
    if value is None:
        return NOT_MEASURED
    if isinstance(value, int):
        return f"{value:,}"
    if abs(value) >= 100:
        return f"{value:,.1f}"
    return f"{value:.1e}" if 0 < abs(value) < 0.001 else f"{value:.3f}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; "not measured" without rows."""
    if not rows:
        return NOT_MEASURED
    lines = [header, ["---"] * len(header), *rows]
    cells = [[" ".join(cell.replace("|", "\\|").split()) for cell in line] for line in lines]
    return "\n".join("| " + " | ".join(line) + " |" for line in cells)


def _results(results: Sequence[Mapping[str, Any]]) -> str:
    """The table of measured figures and, below, the commands that print them."""
    rows, commands = [], {}
    for entry in results:
        fact = _read(ResultFact, entry)
        is_known = fact.ci_low is not None and fact.ci_high is not None
        interval = f"{_number(fact.ci_low)} to {_number(fact.ci_high)}" if is_known else NOT_MEASURED
        rows.append((fact.metric, _number(fact.value), interval, _text(fact.split)))
        if fact.command:
            commands.setdefault(fact.command, []).append(fact.metric)
    table = _table(("metric", "value", "95 % interval", "measured on"), rows)
    if not commands:
        return table
    script = "\n".join(f"{command}  # {', '.join(metrics)}" for command, metrics in commands.items())
    return f"{table}\n\nMeasured with:\n\n{_code(script, 'bash')}"


def _bullets(lines: Sequence[str]) -> str:
    """A Markdown list; "not measured" where it is empty."""
    return "\n".join(f"- {line}" for line in lines) or NOT_MEASURED


def _code(code: str | None, language: str) -> str:
    """A fenced block whose fence is longer than any inside; "not measured" for no code."""
    if not code or not code.strip():
        return NOT_MEASURED
    longest = max((len(run) for run in re.findall("`+", code)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{code.rstrip()}\n{fence}"
