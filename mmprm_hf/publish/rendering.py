"""Pages and cards from ``templates/``: the one Jinja environment, its filters, and files of words.

Values are escaped in ``.html`` templates, and as they are in ``.md`` templates and plain sentences. A name that a
template is not given is an error. Must not import torch, a model or another room.
"""

from __future__ import annotations

import functools
import importlib.resources
import json
import re
from collections.abc import Mapping
from typing import Any

import jinja2
import yaml

from . import words
from .documents import get, main_figure, metric

SCORE_SCALE: tuple[tuple[float, tuple[int, int, int]], ...] = (
    (0.0, (236, 120, 80)),
    (0.5, (250, 240, 205)),
    (1.0, (72, 186, 170)),
)
"""Step score to sRGB: vermilion, cream, teal, linear in between. All carry black text, and both ends stay apart for
eyes without red or green cones."""


def render(template: str, **values: Any) -> str:
    """Return a template of ``templates/`` with its values, without a final line break."""
    return _environment().get_template(template).render(values)


def render_macro(template: str, macro: str, *arguments: Any) -> str:
    """Return what one macro of a template makes of its arguments."""
    return str(getattr(_environment().get_template(template).module, macro)(*arguments))


def render_sentence(sentence: str, values: Mapping[str, Any]) -> str:
    """Return a plain sentence with its figures; whoever shows it escapes it."""
    return _environment().from_string(sentence).render(values)


def template_data(name: str) -> dict[str, Any]:
    """Return a new copy of what a JSON or YAML file of ``templates/`` holds."""
    content = importlib.resources.files(__package__).joinpath("templates", name).read_text(encoding="utf-8")
    return json.loads(content) if name.endswith(".json") else yaml.safe_load(content)


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__),
        autoescape=jinja2.select_autoescape(("html",), default_for_string=False),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    plain = (words.amount, words.count, words.decimal, words.share, words.text)
    filters = (*plain, block, cell, code, markdown, number, score_color)
    environment.filters |= {function.__name__: function for function in filters}
    environment.globals |= {"get": get, "main_figure": main_figure, "metric": metric, "METRICS": words.METRICS}
    return environment


def number(value: float | None) -> str:
    """A measured number: integers whole, others with three decimals; with one from 100 on, as 1.0e-04 below 0.001."""
    if value is None:
        return words.NOT_MEASURED
    if isinstance(value, int):
        return f"{value:,}"
    if abs(value) >= 100:
        return f"{value:,.1f}"
    return f"{value:.1e}" if 0 < abs(value) < 0.001 else f"{value:.3f}"


def block(content: str) -> str:
    """A table or list of Markdown without line breaks around it; "not measured" where it is empty."""
    return content.strip("\n") or words.NOT_MEASURED


def cell(content: Any) -> str:
    """A cell of a Markdown table, which neither pipes nor line breaks can break out of."""
    return " ".join(str(content).replace("|", "\\|").split())


def code(content: str | None, language: str) -> str:
    """A fenced block of Markdown whose fence is longer than any inside; "not measured" for no code."""
    if not content or not content.strip():
        return words.NOT_MEASURED
    longest = max((len(run) for run in re.findall("`+", content)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{content.rstrip()}\n{fence}"


def markdown(plain: Any) -> str:
    """Text as Markdown shows it; pipes are left to `cell`.

    Example:
        >>> print(markdown("a<b>*c*"))
        a&lt;b>\\*c\\*
    """
    return re.sub(r"([\\`*\[\]])", r"\\\1", str(plain)).replace("<", "&lt;")


def score_color(score: float) -> str:
    """Return the colour, ``#rrggbb``, of a step score in [0, 1]; see `SCORE_SCALE`.

    Example:
        >>> score_color(0.0)
        '#ec7850'
    """
    (low, low_color), (high, high_color) = SCORE_SCALE[:2] if score <= SCORE_SCALE[1][0] else SCORE_SCALE[1:]
    share = (score - low) / (high - low)
    color = [round(a + share * (b - a)) for a, b in zip(low_color, high_color, strict=True)]
    return "#{:02x}{:02x}{:02x}".format(*color)
