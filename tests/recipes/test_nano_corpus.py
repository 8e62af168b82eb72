"""The imperfect corpus: its errors come at the stated rates, its format is the policy's."""

import random

from support.layout import import_recipe

from mmprm_hf.nano.world import make_problem
from mmprm_hf.steps import TAGGED

corpus = import_recipe("nano", "corpus")


def test_solutions_parse_and_state_their_own_answer():
    rng = random.Random(0)
    for seed in range(50):
        parsed = TAGGED.parse(corpus.corpus_solution(make_problem("pictogram", seed), rng))
        assert parsed.complete and parsed.steps[-1].split("=")[-1] == parsed.answer


def test_common_misconceptions_are_common_and_slips_are_not():
    """2,000 draws each: the standard error of a share is at most 1.2 points, the bounds are 4 of them away."""
    rng = random.Random(1)

    def share_right(family: str) -> float:
        right = 0
        for seed in range(2000):
            problem = make_problem(family, seed)
            right += TAGGED.parse(corpus.corpus_solution(problem, rng)).answer == problem.answer
        return right / 2000

    assert "right_corner" in corpus.COMMON_MISCONCEPTIONS and share_right("right_corner") < 0.45
    assert share_right("rectangle") > 0.55


def test_rows_are_conversational_with_one_figure():
    (row,) = corpus.corpus_rows(1)
    assert [part["type"] for part in row["prompt"][0]["content"]] == ["image", "text"]
    assert row["completion"][0]["content"][0]["text"].startswith("<step>")
    assert row["images"][0].size == (144, 144)
