"""Inclusion criteria of one problem: every rule keeps it, or drops it with a named reason.

The rules look at a repaired problem. They are heuristics about texts, written to be read and argued with; each is a
line in the drop table of the card. `question_rules` and `answer_rules` have those about texts.
"""

from __future__ import annotations

from collections.abc import Sequence

from .answer_rules import answer_failure, leak_failure, option_failure, parts_failure
from .config import CurationConfig
from .figures import Figure
from .question_rules import language_failure, length_failure, refers_to_figure
from .records import Failure, RawProblem

CRITERIA = {
    "unreadable_row": "The row lacks a question, or a field is of a kind that cannot be read.",
    "no_answer": "There is no answer.",
    "no_figure": "There is no figure.",
    "figure_unreadable": "A figure is missing, cut or of an unknown format.",
    "figure_too_small": "The shorter side of a figure is below {min_figure_side} pixels.",
    "figure_too_large": "The longer side of a figure is above {max_figure_side} pixels, or more than "
    "{max_aspect_ratio} times the shorter.",
    "question_too_short": "The question has fewer than {min_question_chars} characters (a Chinese one is three).",
    "question_too_long": "The question has more than {max_question_chars} characters.",
    "language": "The language is none of: {languages}.",
    "multi_part": "The question has several parts with an answer each, or the answer names several options.",
    "choice_without_options": "The answer is the letter of a choice, but there are no options.",
    "answer_not_among_options": "The answer names none of the options.",
    "options_damaged": "An option is blank, or a number that lost its leading digits (03 beside 1006).",
    "options_repeated": "Two options say the same, so that two letters are right.",
    "answer_unverifiable": "The rules cannot tell that the answer equals itself, it is prose of more than "
    "{max_answer_words} words, or none at all (see solution, 略).",
    "answer_leaked": "The question states its answer.",
    "figure_not_needed": "Nothing tells that a figure is needed: no word for one or for what is drawn, no drawn "
    "choices, and the text gives formulas or several numbers of its own.",
    "solved_without_figure": "A model without the figure gets more than {max_text_only_share} of its answers right.",
    "in_benchmark": "A benchmark that shall stay unseen has the problem, or a variant of it.",
    "conflicting_answers": "Another problem has the same text and figure and another answer.",
    "duplicate": "Another kept problem has the same text, answer and figure.",
    "near_duplicate": "Another kept problem has the same answer and nearly the same text, or like text and figure.",
    "in_test": "The test split has the problem, or a variant of it.",
    "over_the_limit": "The split is full.",
}
"""Reason for dropping a problem: the rule. In the order in which rules are applied; the first one that fails counts."""


def criteria_in_words(config: CurationConfig) -> dict[str, str]:
    """Return `CRITERIA` with the limits of a configuration."""
    limits = {**vars(config), "languages": ", ".join(config.languages) or "any (all are kept)"}
    return {reason: words.format(**limits) for reason, words in CRITERIA.items()}


def first_failure(
    problem: RawProblem, figures: Sequence[Figure], config: CurationConfig, *, needs_figure: bool = True
) -> Failure | None:
    """Return the first criterion that a repaired problem fails, with what was seen; None if it passes all.

    Its text must refer to a figure, unless a model is asked instead (`needs_figure` is False).
    """
    failure = (
        _figure_failure(figures, config)
        or length_failure(problem, config)
        or language_failure(problem, config)
        or parts_failure(problem)
        or option_failure(problem)
        or answer_failure(problem, config)
        or leak_failure(problem)
    )
    if failure is None and needs_figure and not refers_to_figure(problem):
        return "figure_not_needed", problem.question[:80]
    return failure


def _figure_failure(figures: Sequence[Figure], config: CurationConfig) -> Failure | None:
    if not figures:
        return "no_figure", "no image"
    for figure in figures:
        short, long = sorted(figure.size)
        size = f"{figure.size[0]} x {figure.size[1]} pixels"
        if short < config.min_figure_side:
            return "figure_too_small", size
        if long > config.max_figure_side or long > config.max_aspect_ratio * short:
            return "figure_too_large", size
    return None
