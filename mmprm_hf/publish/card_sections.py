"""Sections of a card as Markdown: what a dataset is made of, where that is from, what was dropped, what labelling cost.

Standard library only; must not import another room.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .card_facts import DropFact, ResultFact, SourceFact, read_facts
from .card_markdown import code, number, table
from .words import NOT_MEASURED, text


def by_config(facts: Mapping[str, Any], render: Callable[[Mapping[str, Any]], str]) -> str:
    """Return one table, or one per config where the facts are a mapping of configs to mappings.

    Args:
        facts: Name to value, or config to such a mapping; not mixed.
        render: Makes the table of one mapping.

    Raises:
        ValueError: if some names stand for configs and others do not.
    """
    nested = [name for name, value in facts.items() if isinstance(value, Mapping)]
    if not nested:
        return render(facts)
    if len(nested) < len(facts):
        raise ValueError(
            f"Found {', '.join(nested)} as configs beside {', '.join(name for name in facts if name not in nested)}. "
            "Splits and features are either all of one config or all grouped by config; group the rest too."
        )
    return "\n\n".join(f"`{config}`:\n\n{render(rows)}" for config, rows in facts.items())


def features_table(features: Mapping[str, str]) -> str:
    """Return the table of columns and what they hold."""
    return table(("column", "content"), [(f"`{name}`", text(words)) for name, words in features.items()])


def splits_table(splits: Mapping[str, int | None]) -> str:
    """Return the table of splits and their rows."""
    return rows_table("split", {f"`{name}`": num_rows for name, num_rows in splits.items()})


def rows_table(heading: str, counts: Mapping[Any, int | None]) -> str:
    """Return a table of names and numbers of rows, in the order given.

    Example:
        >>> print(rows_table("answer type", {"number": 6000}))
        | answer type | rows |
        | --- | --- |
        | number | 6,000 |
    """
    return table((heading, "rows"), [(str(name), number(num_rows)) for name, num_rows in counts.items()])


def composition_markdown(composition: Mapping[str, Mapping[str, int | None]]) -> str:
    """Return one table per breakdown."""
    return "\n\n".join(rows_table(name, counts) for name, counts in composition.items()) or NOT_MEASURED


def sources_table(sources: Sequence[Mapping[str, Any]]) -> str:
    """Return the table of sources (dicts with the fields of `SourceFact`): license and rows of each."""
    rows = []
    for fact in (read_facts(SourceFact, entry) for entry in sources):
        name = f"[{fact.name}]({fact.url})" if fact.url else fact.name
        rows.append((name, text(fact.license), number(fact.num_rows), fact.note or ""))
    return table(("source", "license", "rows", "note"), rows)


def drop_table(criteria: Mapping[str, str], drops: Sequence[Mapping[str, Any]]) -> str:
    """Return how many rows were read, dropped for each reason, and kept: a column per source, and their total.

    Args:
        criteria: Reason to its rule in words; the order of the rows.
        drops: Dicts with the fields of `DropFact`. Without any, the rules stand beside "not measured".

    Raises:
        ValueError: if a source comes twice, drops rows for a reason without a rule, or its rows do not add up.

    Example:
        >>> drop = {"source": "web", "num_read": 9, "num_kept": 7, "num_dropped": {"no figure": 2}}
        >>> print(drop_table({"no figure": "Without a figure."}, [drop]))
        |  | rule | web |
        | --- | --- | --- |
        | read |  | 9 |
        | no figure | Without a figure. | 2 |
        | kept |  | 7 |
    """
    facts = [read_facts(DropFact, entry) for entry in drops]
    sources = [fact.source for fact in facts]
    for fact in facts:
        _check_drops(fact, criteria)
        if sources.count(fact.source) > 1:
            raise ValueError(f"The source {fact.source!r} comes twice among drops. Each is one column; add them up.")
    if not facts:
        return table(("", "rule", "rows"), [(reason, rule, NOT_MEASURED) for reason, rule in criteria.items()])
    lines = [("read", "", [fact.num_read for fact in facts])]
    lines += [(reason, rule, [fact.num_dropped.get(reason, 0) for fact in facts]) for reason, rule in criteria.items()]
    lines += [("kept", "", [fact.num_kept for fact in facts])]
    if len(facts) > 1:
        sources.append("total")
        lines = [(name, rule, [*counts, sum(counts)]) for name, rule, counts in lines]
    return table(("", "rule", *sources), [(name, rule, *map(number, counts)) for name, rule, counts in lines])


def _check_drops(fact: DropFact, criteria: Mapping[str, str]) -> None:
    """Raise unless every reason has its rule and all rows read are kept or dropped."""
    for reason in fact.num_dropped:
        if reason not in criteria:
            raise ValueError(
                f"{fact.source!r} drops rows for {reason!r}, which criteria does not name (it has "
                f"{', '.join(criteria) or 'none'}). Every reason needs its rule in words; add it to criteria."
            )
    for name, count in {"num_read": fact.num_read, "num_kept": fact.num_kept, **fact.num_dropped}.items():
        if not isinstance(count, int) or isinstance(count, bool) or count < 0:
            raise ValueError(f"{fact.source!r} has {count!r} as {name}. It must be a number of rows, 0 or more.")
    num_dropped = sum(fact.num_dropped.values())
    if fact.num_read != fact.num_kept + num_dropped:
        raise ValueError(
            f"{fact.source!r} has {fact.num_read} rows read, {fact.num_kept} kept and {num_dropped} dropped. Every row "
            "read is either kept or dropped for one reason; correct num_read, num_kept or num_dropped."
        )


def statistics_table(statistics: Mapping[str, float | str | None]) -> str:
    """Return the table of figures that describe a dataset; numbers as in `card_markdown.number`."""
    rows = [
        (name, number(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else text(value))
        for name, value in statistics.items()
    ]
    return table(("", "value"), rows)


def results_markdown(results: Sequence[Mapping[str, Any]]) -> str:
    """Return the table of measured figures (dicts with the fields of `ResultFact`) and the commands that print them."""
    rows, commands = [], {}
    for fact in (read_facts(ResultFact, entry) for entry in results):
        is_known = fact.ci_low is not None and fact.ci_high is not None
        interval = f"{number(fact.ci_low)} to {number(fact.ci_high)}" if is_known else NOT_MEASURED
        rows.append((fact.metric, number(fact.value), interval, text(fact.split)))
        if fact.command:
            commands.setdefault(fact.command, []).append(fact.metric)
    figures = table(("metric", "value", "95 % interval", "measured on"), rows)
    if not commands:
        return figures
    script = "\n".join(f"{command}  # {', '.join(metrics)}" for command, metrics in commands.items())
    return f"{figures}\n\nMeasured with:\n\n{code(script, 'bash')}"


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
        summary: `summary.json` of a run folder; keys other than those of the table, `seconds` and `sessions` are not
            shown.
    """
    num_trees = summary.get("num_trees")
    rows = []
    for key, words in _LEDGER.items():
        value = summary.get(key)
        if key in _COUNTED_WHERE_ABOVE_ZERO and not value:
            value = None
        per_tree = NOT_MEASURED if value is None or not num_trees else f"{value / num_trees:,.1f}"
        rows.append((words, number(value), "" if key in ("num_trees", "num_failed") else per_tree))
    seconds, sessions = summary.get("seconds"), summary.get("sessions", ())
    hours = NOT_MEASURED if seconds is None else f"{seconds / 3600:,.2f}"
    where = f" (in {len(sessions)} sessions)" if len(sessions) > 1 else ""
    rows.append((f"hours{where}", hours, f"{seconds / num_trees:,.2f} s" if seconds and num_trees else NOT_MEASURED))
    return table(("", "in total", "per tree"), rows)
