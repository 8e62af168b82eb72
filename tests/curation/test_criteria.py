"""Inclusion criteria as a whole: order, figures, and their words."""

from __future__ import annotations

import dataclasses

from support.raw_problems import CONFIG, FIGURE, failed_criterion

from mmprm_hf.curation.criteria import CRITERIA, criteria_in_words


def test_a_good_problem_is_kept():
    assert failed_criterion() is None


def test_figures_are_there_and_neither_too_small_nor_too_large():
    for size, expected in {
        (27, 300): "figure_too_small",
        (28, 300): None,
        (300, 8526): "figure_too_large",
        (500, 8526): None,
        (10_001, 5000): "figure_too_large",
    }.items():
        figures = (FIGURE, dataclasses.replace(FIGURE, size=size))
        assert failed_criterion(figures=figures) == expected, size
    assert failed_criterion(figures=()) == "no_figure"


def test_the_first_criterion_counts():
    assert failed_criterion(question="x?", answer="see solution", figures=()) == "no_figure"
    assert failed_criterion(question="x?", answer="see solution") == "question_too_short"


def test_words_name_the_limits():
    words = criteria_in_words(dataclasses.replace(CONFIG, min_figure_side=33, languages=("en",)))
    assert list(words) == list(CRITERIA)
    assert "below 33 pixels" in words["figure_too_small"] and words["language"].endswith("none of: en.")
    assert not any("{" in text for text in words.values())
