"""Results documents, one evaluation each, in the form that ``results.schema.json`` beside this file describes.

`evaluation` writes them; pages, tables, plots and cards are made from them alone. A figure that was not measured is
null. Imports level 0 only.
"""

from __future__ import annotations

import functools
import importlib.resources
import json
import math
from pathlib import Path
from typing import Any

import jsonschema

from ..errors import is_number
from ..files import read_json
from .candidate_rows import is_candidates_file

RESULTS_VERSION = 2
"""``schema_version`` of the documents that are written and read."""


def read_results(path: str | Path) -> dict[str, Any]:
    """Return the checked results document in a JSON file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not JSON, such as a candidates file, and as `check_results`.
    """
    try:
        document = read_json(path)
    except ValueError as error:
        if is_candidates_file(path):
            raise ValueError(
                f"{path} holds candidates, not results. `mmprm evaluate candidates {path}` makes results of them; give "
                "that file."
            ) from error
        raise
    return check_results(document, str(path))


def check_results(document: Any, where: str) -> dict[str, Any]:
    """Return the document itself if it is a results document.

    Args:
        document: Parsed JSON.
        where: Where it is from, for errors.

    Raises:
        ValueError: for another schema version, or something that the schema forbids, with its path in the document.
    """
    if not isinstance(document, dict):
        raise ValueError(f"Found a {type(document).__name__} in {where}. Results are one JSON object; evaluate again.")
    version = document.get("schema_version")
    if version != RESULTS_VERSION or isinstance(version, bool):
        seen = f"schema_version {version!r}" if "schema_version" in document else "no schema_version"
        raise ValueError(f"Found {seen} in {where}. Results of version {RESULTS_VERSION} are read; evaluate again.")
    errors = sorted(_validator().iter_errors(document), key=lambda error: [*map(str, error.absolute_path)])
    if errors:
        raise ValueError(f"In {where} {_in_words(errors[0])}. Evaluate again, or correct the file.")
    return document


def _in_words(error: jsonschema.ValidationError) -> str:
    """The path, what stands there, and the rule that it breaks."""
    path = ".".join(map(str, error.absolute_path)) or "the document"
    rule, expected = error.validator, error.validator_value
    if rule == "required":
        return f"{path} has no {', '.join(name for name in expected if name not in error.instance)}"
    if rule == "anyOf":
        return f"{path} has none of the sections {', '.join(section['required'][0] for section in expected)}"
    seen = f"{path} is {error.instance!r:.80}"
    if rule == "type":
        return f"{seen}; expected {' or '.join([expected] if isinstance(expected, str) else expected)}"
    if rule in ("minimum", "maximum"):
        low, high = error.schema["minimum"], error.schema.get("maximum")
        remedy = "; percentages are divided by 100" if high == 1 else ""
        return f"{seen}; expected at least {low}{'' if high is None else f' and at most {high}'}{remedy}"
    return f"{path} breaks a rule: {error.message:.200}"


@functools.cache
def _validator() -> jsonschema.Draft202012Validator:
    """The schema's validator, to which NaN and infinities are no numbers."""
    schema = json.loads(importlib.resources.files(__package__).joinpath("results.schema.json").read_text("utf-8"))
    standard = jsonschema.Draft202012Validator
    types = standard.TYPE_CHECKER.redefine("number", _is_finite_number)
    return jsonschema.validators.extend(standard, type_checker=types)(schema)


def _is_finite_number(_: Any, value: Any) -> bool:
    return is_number(value) and math.isfinite(value)
