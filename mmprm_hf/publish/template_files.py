"""Files of ``templates/``: pages and cards with placeholders, and facts that every card of a kind shares."""

from __future__ import annotations

import importlib.resources
import json
import string
from typing import Any


def fill(template: str, **values: str) -> str:
    """Return a template with its placeholders replaced, without the final line break."""
    return string.Template(_read(template)).substitute(values).rstrip("\n")


def template_facts(name: str) -> dict[str, Any]:
    """Return a new copy of the facts in a JSON file; null where each card has its own."""
    return json.loads(_read(name))


def _read(name: str) -> str:
    return importlib.resources.files(__package__).joinpath("templates", name).read_text(encoding="utf-8")
