"""Groups of rows: one per problem, with the tokens of its packed row, within the budget."""

from __future__ import annotations

import pytest
from PIL import Image
from support.training_runs import problem_rows

from mmprm_hf.training.collators import PRMCollator
from mmprm_hf.training.rows import TokenCounter
from mmprm_hf.training.tree_groups import GroupedRows, group_key, group_rows


@pytest.fixture(scope="module")
def rows(figures):
    """Six rows of each of four problems, interleaved; one problem has no figure."""
    problems = [problem_rows(f"p{i}", None if i == 2 else figures[i], seed=i) for i in range(4)]
    return [row for rows_of_path in zip(*problems, strict=True) for row in rows_of_path]


def test_counted_tokens_are_those_of_the_packed_rows(prm_processor, rows):
    longest = max(group.num_tokens for group in group_rows(rows, TokenCounter(prm_processor), 10_000))
    for budget, is_split in ((longest, False), (longest - 1, True)):
        dataset = GroupedRows(rows, group_rows(rows, TokenCounter(prm_processor), budget))
        assert (len(dataset) > 4) == (dataset.num_split_problems > 0) == is_split
        for items, group in zip(dataset, dataset.groups, strict=True):
            (tree,) = PRMCollator(prm_processor)([items])["packed"].trees
            assert len(tree) == group.num_tokens <= budget
        assert sorted(index for group in dataset.groups for index in group.indices) == list(range(len(rows)))


def test_rows_of_another_question_or_figure_are_another_problem(prm_processor, rows, figures):
    counter = TokenCounter(prm_processor)
    assert len(group_rows([{**row, "problem_id": "p"} for row in rows], counter, 10_000)) == 4
    assert len(group_rows([{**row, "problem_id": None} for row in rows[:3]], counter, 10_000)) == 3
    assert len(group_rows([{**row, "problem_id": None, "tree_id": "t"} for row in rows[::4]], counter, 10_000)) == 1
    twice = [rows[0], {**rows[0], "images": [figures[3]]}, {**rows[0], "images": [figures[0].copy()]}]
    assert [group.indices for group in group_rows(twice, counter, 10_000)] == [(0, 2), (1,)]


def test_figures_are_equal_by_their_pixels_and_paths_by_their_text(figures, tmp_path):
    def palette(colour):
        image = Image.new("P", (4, 4), 0)
        image.putpalette([*colour, *[0] * 765])
        return image

    base = {"prompt": "q", "problem_id": "p"}
    red, blue = ({**base, "images": [palette(colour)]} for colour in ((255, 0, 0), (0, 0, 255)))
    assert group_key(red) != group_key(blue)
    figures[0].save(tmp_path / "a.png")
    by_path, by_text = ({**base, "images": [kind(tmp_path / "a.png")]} for kind in (type(tmp_path), str))
    assert group_key(by_path) == group_key(by_text)
    assert group_key({**base, "problem_id": 0}) is not None
