"""One self-contained HTML page from a run's result files: the table of metrics, then problems with coloured steps.

Reads result JSON only; what a file does not say reads "not measured". All text from data is HTML-escaped, figures are
embedded, the page has no script and loads nothing. Same files, same bytes. The markup lives in ``templates/``.

Imports level 0 only; must not import torch, a model or another room.
"""

from __future__ import annotations

import base64
import html
import importlib.resources
import io
import string
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from mmprm_hf.data import Verdict, content_hash

from .report_rows import GROUPS, classify, majority_choice, pick_problems, read_results, read_rows, verdict_of

NOT_MEASURED = "not measured"

SCORE_SCALE: tuple[tuple[float, tuple[int, int, int]], ...] = (
    (0.0, (236, 120, 80)),
    (0.5, (250, 240, 205)),
    (1.0, (72, 186, 170)),
)
"""Step score to sRGB: vermilion, cream, teal, linear in between. All carry black text, and both ends stay apart for
eyes without red or green cones."""

METRICS: tuple[tuple[str, str, str, str], ...] = (
    ("random_distinct", "baseline", "Random among distinct", "a selector that knows nothing, duplicates removed"),
    ("mean_pass_at_1", "baseline", "Mean pass@1", "one random sample"),
    ("greedy", "baseline", "Greedy", "one response at temperature 0"),
    ("majority_vote", "baseline", "Majority vote@{n}", "the commonest answer; no PRM"),
    ("best_of_n", "ours", "PRM best-of-{n}", "the candidate with the highest score"),
    ("weighted_vote", "ours", "PRM-weighted vote@{n}", "answers voted for with the candidates' scores"),
    ("oracle", "ceiling", "Oracle pass@{n}", "a perfect selector: any candidate is right"),
)
"""Key in the results, kind of bar, name and explanation of every metric, in table order."""

_SYMBOLS = {Verdict.CORRECT: "✓", Verdict.INCORRECT: "✗", Verdict.UNDECIDED: "?"}
_NUM_OPEN_CANDIDATES = 6  # distinct candidates visible before the fold
_PIXEL_LIMIT = 256  # px; narrower figures are enlarged by whole factors without smoothing
_FIGURE_WIDTH = 288  # px; twice the nano world's figures
_RAW_LIMIT = 400  # characters of an unparsable response


def write_report(
    results_path: str | Path, candidates_path: str | Path, output_path: str | Path, *, num_problems: int = 12
) -> Path:
    """Write one HTML page on a generate-and-rerank run and return its path.

    The problems shown are picked by a fixed rule, see `pick_problems`, which the page states with the share of every
    group in the whole run.

    Args:
        results_path: JSON with ``num_problems``, ``num_candidates``, ``metrics`` (name to ``value``, ``ci_low``,
            ``ci_high`` in [0, 1]) and ``seconds`` (``generate``, ``score``), perhaps ``aggregation``, ``policy``,
            ``prm``, ``num_undecided``, ``num_incomplete``, ``seed``. A missing or null fact reads "not measured".
        candidates_path: JSON lines, a row per problem: ``problem_id``, ``question``, ``answer``, ``figures`` (paths
            relative to this file), ``chosen`` (index of the PRM's choice or None) and ``candidates``, each with
            ``steps``, ``answer``, ``complete``, ``step_scores``, ``score``, ``verdict``, ``text``.
        output_path: The page; its folder is made if needed.
        num_problems: Problems shown, at least 1.

    Raises:
        FileNotFoundError: if a file or a figure is missing.
        ValueError: for malformed JSON, a value outside its range, scores that do not match the steps, an unreadable
            figure, or ``num_problems < 1``.
    """
    if num_problems < 1:
        raise ValueError(f"num_problems is {num_problems}. A report shows at least 1 problem.")
    results = read_results(Path(results_path))
    rows = read_rows(Path(candidates_path))
    picked = pick_problems(rows, num_problems)
    page = _fill(
        "report.html",
        headline=_headline(results),
        metrics="\n".join(_metric_row(results, *metric) for metric in METRICS),
        facts=_facts(results),
        aggregation=_text(results.get("aggregation")),
        ramp=", ".join(f"{score_color(i / 8)} {100 * i / 8:g}%" for i in range(9)),
        num_shown=str(len(picked)),
        num_rows=str(len(rows)),
        problems=_problem_sections(rows, picked, Path(candidates_path).parent),
    )
    output_path = Path(output_path)
    output_path.parent.mkdir(parents=True, exist_ok=True)
    # A lone surrogate is legal in JSON but not in UTF-8: it is shown as its escape.
    output_path.write_bytes(page.encode("utf-8", "backslashreplace"))
    return output_path


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


def _fill(template: str, **values: str) -> str:
    """A template of this room with its placeholders replaced by ready HTML, without the final line break."""
    source = importlib.resources.files("mmprm_hf.publish").joinpath("templates", template).read_text(encoding="utf-8")
    return string.Template(source).substitute(values).rstrip("\n")


def _text(value: Any) -> str:
    """Escaped text of a fact; "not measured" for None, lists and objects joined by commas."""
    if value is None or value == "":
        return NOT_MEASURED
    if isinstance(value, Mapping):
        return ", ".join(f"{html.escape(str(key))}: {_text(entry)}" for key, entry in value.items()) or NOT_MEASURED
    if isinstance(value, list):
        return ", ".join(_text(entry) for entry in value) or NOT_MEASURED
    return html.escape(str(value))


def _metric(results: Mapping[str, Any], name: str, key: str = "value") -> float | None:
    """One number of the results; None where it is missing."""
    return ((results.get("metrics") or {}).get(name) or {}).get(key)


def _percent(value: float | None) -> str:
    """A share in [0, 1] in percent."""
    return NOT_MEASURED if value is None else f"{100 * value:.1f} %"


def _headline(results: Mapping[str, Any]) -> str:
    """The result in two sentences, made only of what was measured."""
    best, single, majority = (_metric(results, name) for name in ("best_of_n", "mean_pass_at_1", "majority_vote"))
    sentence = (
        f"Of {_text(results.get('num_candidates'))} candidates per problem the PRM's choice is right on "
        f"<strong>{_percent(best)}</strong> of {_text(results.get('num_problems'))} problems; "
        f"a single sample is right on {_percent(single)}"
    )
    if best is not None and single is not None:
        sentence += f" (<strong>{100 * (best - single):+.1f} points</strong>)"
    return f"{sentence}. The majority answer, which needs no PRM, is right on {_percent(majority)}."


def _metric_row(results: Mapping[str, Any], name: str, kind: str, title: str, explanation: str) -> str:
    """One row of the table: words, value, bar with whisker, interval."""
    value, low, high = (_metric(results, name, key) for key in ("value", "ci_low", "ci_high"))
    title = title.format(n=results.get("num_candidates") or "N")
    interval = f"95 % interval {NOT_MEASURED}"
    bar = "" if value is None else f'<i class="fill" style="width:{100 * value:.2f}%"></i>'
    if low is not None and high is not None:
        interval = f"95 % interval {100 * low:.1f} to {100 * high:.1f}"
        bar += f'<i class="whisker" style="left:{100 * low:.2f}%;width:{100 * (high - low):.2f}%"></i>'
    reference = _metric(results, "mean_pass_at_1")
    if reference is not None:
        bar += f'<i class="reference" style="left:{100 * reference:.2f}%"></i>'
    return _fill(
        "report_metric.html",
        kind=kind,
        name=html.escape(title),
        explanation=html.escape(explanation),
        value=_percent(value),
        interval=interval,
        label=html.escape(f"{title}: {_percent(value)}, {interval}"),
        bar=bar,
    )


def _facts(results: Mapping[str, Any]) -> str:
    """The run's circumstances as a definition list."""
    seconds = {name: f"{value:.1f} s" for name, value in (results.get("seconds") or {}).items() if value is not None}
    facts = {
        "Problems": results.get("num_problems"),
        "Candidates per problem": results.get("num_candidates"),
        "Policy": results.get("policy"),
        "PRM": results.get("prm"),
        "Aggregation of step scores": results.get("aggregation"),
        "Seconds generating": seconds.get("generate"),
        "Seconds scoring": seconds.get("score"),
        "Candidates left out as undecided": results.get("num_undecided"),
        "Incomplete candidates, counted as wrong": results.get("num_incomplete"),
        "Seed": results.get("seed"),
    }
    return "\n".join(f"<div><dt>{name}</dt><dd>{_text(value)}</dd></div>" for name, value in facts.items())


def _problem_sections(rows: Sequence[Mapping[str, Any]], picked: Sequence[tuple[str, int]], folder: Path) -> str:
    """The picked problems under a heading per group."""
    groups = [classify(row) for row in rows]
    parts = []
    for group, heading in GROUPS.items():
        indices = [index for shown_group, index in picked if shown_group == group]
        if not groups.count(group):
            continue
        share = f"{groups.count(group)} of {len(rows)} problems, {len(indices)} shown"
        parts.append(f'<h3>{html.escape(heading)} <span class="count">· {share}</span></h3>')
        parts.extend(_problem(rows[index], folder) for index in indices)
    return "\n".join(parts)


def _problem(row: Mapping[str, Any], folder: Path) -> str:
    """One problem with its ranked candidates, the tail behind a fold."""
    candidates, chosen, majority = row["candidates"], row.get("chosen"), majority_choice(row)
    merged = _merge(candidates, chosen)
    listed = [_candidate(candidates[index], count, index == chosen) for index, count in merged]
    parts = ['<ol class="candidates">', *listed[:_NUM_OPEN_CANDIDATES], "</ol>"]
    if hidden := merged[_NUM_OPEN_CANDIDATES:]:
        num_right = sum(verdict_of(candidates[index]) is Verdict.CORRECT for index, _ in hidden)
        summary = f"{len(hidden)} more distinct candidates, {num_right} of them correct"
        if chosen in [index for index, _ in hidden]:
            summary += ", among them the PRM's choice"
        tail = "\n".join(listed[_NUM_OPEN_CANDIDATES:])
        parts.append(f'<details><summary>{summary}</summary><ol class="candidates">{tail}</ol></details>')
    return _fill(
        "report_problem.html",
        figures="\n".join(_figure(folder / figure) for figure in row.get("figures") or []),
        question=html.escape(str(row["question"])),
        answer=_text(row.get("answer")),
        choice=_short_outcome(candidates, chosen),
        majority=_short_outcome(candidates, majority),
        num_correct=str(sum(verdict_of(candidate) is Verdict.CORRECT for candidate in candidates)),
        num_candidates=str(len(candidates)),
        problem_id=html.escape(str(row["problem_id"])),
        candidates="\n".join(parts),
    )


def _merge(candidates: Sequence[Mapping[str, Any]], chosen: int | None) -> list[tuple[int, int]]:
    """``(index, count)`` of the distinct candidates, by score, unscored last; the chosen one stands for its group.

    Candidates are identical if steps, answer, completeness and verdict are (and the raw text where nothing could be
    parsed); the figures shown are those of the one that stands for them.
    """
    groups: dict[str, list[int]] = {}
    for index, candidate in enumerate(candidates):
        raw = None if candidate["steps"] else candidate.get("text")
        complete = bool(candidate.get("complete", True))
        key = content_hash(candidate["steps"], candidate.get("answer"), complete, str(verdict_of(candidate)), raw)
        groups.setdefault(key, []).append(index)
    merged = [(chosen if chosen in indices else indices[0], len(indices)) for indices in groups.values()]

    def rank(entry: tuple[int, int]) -> tuple[bool, float, bool, int]:
        score = candidates[entry[0]].get("score")
        return score is None, -(score or 0.0), entry[0] != chosen, entry[0]

    return sorted(merged, key=rank)


def _candidate(candidate: Mapping[str, Any], count: int, is_chosen: bool) -> str:
    """One row: score, steps as chips, outcome."""
    verdict = verdict_of(candidate)
    complete = candidate.get("complete", True)
    score = candidate.get("score")
    scores = candidate.get("step_scores") or [None] * len(candidate["steps"])
    chips = [_chip(step, step_score) for step, step_score in zip(candidate["steps"], scores, strict=True)]
    if not chips:
        raw = str(candidate.get("text") or "")
        cut = "…" if len(raw) > _RAW_LIMIT else ""
        chips = [f'<p class="raw"><code>{html.escape(raw[:_RAW_LIMIT]) or "(empty response)"}{cut}</code></p>']
    return _fill(
        "report_candidate.html",
        chosen_class=" chosen" if is_chosen else "",
        score="<small>no score</small>" if score is None else f"{score:.2f}",
        count=f"× {count}" if count > 1 else "",
        steps="\n".join(chips),
        mark='<span class="mark">★ PRM&#x27;s choice</span>' if is_chosen else "",
        answer="none" if candidate.get("answer") is None else _text(candidate["answer"]),
        verdict=str(verdict),
        verdict_text=_verdict_words(verdict),
        incomplete="" if complete else "<span>… incomplete, never chosen before a complete one</span>",
    )


def _chip(step: str, score: float | None) -> str:
    """One step, coloured by its score."""
    if score is None:
        return f'<span class="step unscored"><code>{html.escape(step)}</code> <b>{NOT_MEASURED}</b></span>'
    style = f'style="background:{score_color(score)}"'
    return f'<span class="step" {style}><code>{html.escape(step)}</code> <b>{score:.2f}</b></span>'


def _verdict_words(verdict: Verdict) -> str:
    """Symbol and word, so that nothing rests on colour alone."""
    return f"{_SYMBOLS[verdict]} {verdict}"


def _short_outcome(candidates: Sequence[Mapping[str, Any]], index: int | None) -> str:
    """Answer and verdict of one candidate."""
    if index is None:
        return "none"
    verdict, answer = verdict_of(candidates[index]), candidates[index].get("answer")
    words = f'<span class="verdict {verdict}">{_verdict_words(verdict)}</span>'
    return f"<b>{'none' if answer is None else _text(answer)}</b> {words}"


def _figure(path: Path) -> str:
    """The figure as a data URI; small ones enlarged by a whole factor without smoothing."""
    if not path.is_file():
        raise FileNotFoundError(f"Figure {path} does not exist. Paths in figures are relative to the candidates file.")
    data = path.read_bytes()
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            width, height, mime = image.width, image.height, Image.MIME.get(image.format or "", "")
    except (UnidentifiedImageError, OSError) as error:
        raise ValueError(f"Figure {path} cannot be read as an image ({error}). Draw or copy it again.") from error
    is_small = width <= _PIXEL_LIMIT
    factor = max(1, _FIGURE_WIDTH // width) if is_small else 1
    source = f"data:{mime};base64,{base64.b64encode(data).decode('ascii')}"
    size = f'width="{width * factor}" height="{height * factor}" class="{"pixels" if is_small else "photo"}"'
    return f'<figure><img src="{source}" alt="figure of the problem" {size}></figure>'
