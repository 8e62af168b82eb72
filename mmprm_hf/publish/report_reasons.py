"""Sections of a report on why results are as they are: diagnosis, calibration, score profiles, exact truth.

Each function returns ready HTML. Imports this room only.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .documents import get
from .plots import write_calibration_plot, write_profile_plot
from .report_html import amount, decimal, percent, plot, table, text


def why_section(document: Mapping[str, Any]) -> str:
    """The diagnosis in numbers, each with a sentence on what it means."""
    found = document["diagnosis"]
    room, ranking, saturation, length, diversity = (
        found.get(key) or {} for key in ("room", "ranking", "saturation", "length", "diversity")
    )
    entries = [
        (
            "Room",
            f"On {percent(room.get('no_right_candidate'))} of the problems no candidate is right, on "
            f"{percent(room.get('all_right'))} all are; the choice matters on {percent(room.get('mixed'))} "
            f"({text(room.get('num_mixed'))} problems). There the PRM is right on "
            f"{percent(room.get('best_of_n_on_mixed'))}, the majority vote on "
            f"{percent(room.get('majority_vote_on_mixed'))}; only the PRM on "
            f"{percent(room.get('only_best_of_n'))}, only the vote on {percent(room.get('only_majority_vote'))}.",
            "Where no candidate is right nobody can win, where all are nobody can lose.",
        ),
        (
            "Ranking",
            f"AUROC of a candidate's score for being right: {decimal(ranking.get('within'))} within problems, "
            f"{decimal(ranking.get('pooled'))} pooled over all.",
            "Choosing needs the first. A low first beside a high second says that the PRM knows hard problems from "
            "easy ones, not right solutions from wrong ones.",
        ),
        (
            "Saturation",
            f"{percent(saturation.get('near_0'))} of the step scores are within 0.01 of 0, "
            f"{percent(saturation.get('near_1'))} within 0.01 of 1; the two best scores are equal on "
            f"{percent(saturation.get('ties_at_the_top'))} of the problems where the choice matters.",
            "Scores at the ends rank nothing.",
        ),
        (
            "Length",
            f"Rank correlation of the number of steps with the score {decimal(length.get('score'))}, with being right "
            f"{decimal(length.get('truth'))}.",
            "A PRM whose first number is far from the second likes long or short solutions more than truth does.",
        ),
        (
            "Diversity",
            f"{amount(diversity.get('distinct_answers'))} distinct answers per problem; the commonest has "
            f"{percent(diversity.get('share_of_the_commonest'))} of the candidates.",
            "With one answer only there is nothing to choose from.",
        ),
        (
            "Calibration",
            f"Expected calibration error of the score: {decimal(get(found, 'calibration', 'ece'))}.",
            "How far scores are from the share that is right; 0 is best. Scores outside [0, 1] have none.",
        ),
    ]
    rows = [
        f"<dt>{name}</dt><dd>{html.escape(sentence)}<small>{html.escape(meaning)}</small></dd>"
        for name, sentence, meaning in entries
    ]
    intro = (
        f"<p>What limits choosing among candidates, over {text(found.get('num_problems'))} problems; step scores are "
        f"joined by {text(found.get('aggregation'))}.</p>"
    )
    return f'{intro}\n<dl class="card why">\n' + "\n".join(rows) + "\n</dl>"


def calibration_section(document: Mapping[str, Any], stem: Path) -> str:
    """Reliability diagrams of solutions' and of steps' scores; empty where the document has none.

    Args:
        document: A results document.
        stem: The SVG files' path up to ``_calibration.svg`` and the like.
    """
    diagrams = (
        ("diagnosis", ("diagnosis", "calibration"), "Scores of solutions", "calibration"),
        ("steps", ("steps", "calibration"), "Scores of steps", "step_calibration"),
        (
            "exact_truth",
            ("exact_truth", "step_level", "calibration"),
            "Scores of steps, exact truth",
            "truth_calibration",
        ),
    )
    cards = []
    for section, path, title, name in diagrams:
        found = get(document, *path)
        bins = [entry for entry in get(found, "bins") or () if None not in (entry["mean_score"], entry["share_right"])]
        if not bins:
            continue
        points = "; ".join(
            f"mean score {entry['mean_score']:.2f}, {percent(entry['share_right'])} right of {entry['num']}"
            for entry in bins
        )
        alt = f"Reliability diagram. {title}: expected calibration error {decimal(found.get('ece'))}. By bin: {points}."
        image = plot(write_calibration_plot, document, stem.with_name(f"{stem.name}_{name}.svg"), alt, of=section)
        cards.append(f"<div><h4>{title}</h4>{image}</div>")
    if not cards:
        return ""
    words = (
        "<p>Of all with a score near 0.8, about 80 % should be right: on the dotted line a score says how likely it "
        "is. Bars count what a point stands for.</p>"
    )
    return f'{words}\n<div class="plots">\n' + "\n".join(cards) + "\n</div>"


def profile_section(document: Mapping[str, Any], stem: Path) -> str:
    """Mean scores by position and by number of steps; empty where the document has none."""
    parts = []
    for section, owner, name in (("diagnosis", "solutions", "profile"), ("steps", "steps", "step_profile")):
        found = document.get(section) or {}
        profiles = (("by_step", "step_index", "step"), ("by_num_steps", "num_steps", "number of steps"))
        said = []
        for key, number, word in profiles:
            for row in found.get(key) or ():
                shown = row[number] + (key == "by_step")  # positions count from 1 for people
                said.append(f"{word} {shown}: right {decimal(row['right'])}, wrong {decimal(row['wrong'])}")
        if said:
            alt = f"Line plot: mean scores of right and of wrong {owner}. {'; '.join(said)}."
            svg = stem.with_name(f"{stem.name}_{name}.svg")
            parts.append(plot(write_profile_plot, document, svg, alt, of=section))
    if not parts:
        return ""
    words = "<p>Mean scores of what is right and of what is wrong: the further apart, the more a score tells.</p>"
    return "\n".join([words, *parts])


def truth_section(document: Mapping[str, Any]) -> str:
    """Step scores and chosen solutions against an exact checker."""
    found = document["exact_truth"]
    rows = []
    for key, name in (("step_level", "Each step by itself"), ("prefix_level", "Step and all before it")):
        level = found.get(key)
        if level is not None:
            figures = [decimal(level.get(figure)) for figure in ("auroc", "macro_f1", "accuracy", "threshold")]
            rows.append([name, *figures, text(level.get("num_steps")), text(level.get("num_unparsable"))])
    header = ["A step is right", "AUROC", "macro-F1", "Accuracy", "Threshold", "Steps", "Unreadable"]
    parts = [
        "<p>Whether a step is right is known here from an exact checker. Thresholds were chosen on other problems; "
        "steps that the checker cannot read are counted and left out.</p>",
        f'<div class="card">{table(header, rows)}</div>',
    ]
    lucky = found.get("false_positives")
    if lucky:
        parts.append(
            "<h4>Right answer, wrong step</h4>"
            f"<p>{text(lucky.get('num_false_positives'))} of {text(lucky.get('num_right_answers'))} distinct "
            f"solutions with a right answer have a wrong step ({percent(lucky.get('share_false_positives'))}). Of the "
            f"{text(lucky.get('num_chosen'))} right answers that the PRM chose "
            f"{percent(lucky.get('share_false_positives_chosen'))} have one; of right answers drawn at random on "
            f"the same problems {percent(lucky.get('share_false_positives_random'))}. Of the distinct solutions with a "
            f"wrong step the PRM flags (lowest step score below {decimal(lucky.get('threshold'))}) "
            f"<strong>{percent(lucky.get('flagged_false_positives'))}</strong>, of the sound ones "
            f"{percent(lucky.get('flagged_sound'))}; on "
            f"{percent(lucky.get('first_error_found'))} of the flagged the first step below it is the first wrong "
            f"one. AUROC of the lowest score: {decimal(lucky.get('auroc'))}. Left out because the checker cannot read "
            f"a step: {text(lucky.get('num_unjudged'))}.</p>"
        )
    return "\n".join(parts)


__all__ = ["calibration_section", "profile_section", "truth_section", "why_section"]
