"""Plans of the guided searches: how many steps are drawn and how many prefixes are kept."""

import pytest

from mmprm_hf.rerank.candidates import GUIDED_SEARCHES
from mmprm_hf.rerank.guided_search import SearchPlan, search_plan


def test_the_width_is_the_smallest_divisor_from_the_square_root_on():
    for num_candidates, beam_width in ((1, 1), (2, 2), (4, 2), (7, 7), (8, 4), (12, 4), (16, 4), (64, 8)):
        num_kept = num_candidates // beam_width
        beam = search_plan("beam_search", num_candidates)
        assert beam == SearchPlan(num_candidates, beam_width)
        assert {(beam.num_drawn(depth), beam.num_kept(depth)) for depth in range(9)} == {(num_candidates, num_kept)}
        dvts = search_plan("dvts", num_candidates)
        assert dvts == SearchPlan(beam_width, beam_width, num_groups=num_kept)
        assert {(dvts.num_drawn(depth), dvts.num_kept(depth)) for depth in range(9)} == {(beam_width, 1)}
        annealing = search_plan("beam_annealing", num_candidates)
        assert (annealing.num_draws, annealing.beam_width, annealing.num_groups) == (2 * num_candidates, beam_width, 1)


def test_annealing_draws_twice_as_much_first_and_narrows_to_one_prefix():
    plan = search_plan("beam_annealing", 16)
    assert [plan.num_drawn(depth) for depth in range(9)] == [32, 22, 16, 11, 8, 5, 4, 4, 4]
    assert [plan.num_kept(depth) for depth in range(8)] == [5, 4, 2, 2, 1, 1, 1, 1]
    five_steps = sum(plan.num_drawn(depth) for depth in range(5))
    assert five_steps == pytest.approx(5 * 16, rel=0.15), "about the tokens of a beam search"


def test_a_given_width_is_taken():
    for strategy in GUIDED_SEARCHES:
        plan = search_plan(strategy, 8, 2)
        assert plan.beam_width == 2
        assert plan.num_groups * plan.num_draws == (16 if strategy == "beam_annealing" else 8)


def test_impossible_plans_are_refused():
    for arguments, message in (
        (("beam_search", 4, 0), "Found beam_width=0 with num_candidates=4"),
        (("dvts", 4, 5), "Found beam_width=5 with num_candidates=4"),
        (("beam_annealing", 0), "Found beam_width=None with num_candidates=0"),
        (("best_of_n", 4), "Unknown guided search 'best_of_n'. Choose one of beam_search, dvts, beam_annealing"),
    ):
        with pytest.raises(ValueError, match=message):
            search_plan(*arguments)
