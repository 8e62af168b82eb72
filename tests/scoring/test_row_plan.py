"""Row plans: every solution once, shared where it is worth it, within the budget."""

import random

import pytest

from mmprm_hf.scoring import pack_prefix_tree
from mmprm_hf.scoring.row_plan import FORWARD_TOKENS, num_distinct, plan_rows, row_cost, share_rows, shared_length


def test_prefix_is_what_all_begin_with_and_leaves_every_row_a_token():
    assert shared_length([(1, 2, 3)]) == 3
    assert shared_length([(1, 2, 3), (1, 2, 4, 5)]) == 2
    assert shared_length([(1, 2), (1, 2, 3)]) == 1
    assert shared_length([(1, 2, 3), (1, 2, 3, 4), (1, 2, 3, 5)]) == 2


def test_long_common_beginnings_are_shared_and_short_ones_are_not():
    beginning = tuple(range(100))
    long = [(*beginning, 200 + i, *range(10)) for i in range(3)]
    short = [(0, 200 + i, *range(100)) for i in range(3)]
    assert share_rows(long, 50, 0.001, 10_000) == [[0, 1, 2]]
    assert sorted(share_rows(short, 50, 0.001, 10_000)) == [[0], [1], [2]]
    # Inside a group that is worth little as a whole, two rows may be worth sharing.
    mixed = [(9, *beginning, 1), (9, *beginning, 2), (9, *range(300, 700))]
    assert sorted(share_rows(mixed, 50, 0.001, 10_000)) == [[0, 1], [2]]
    assert sorted(share_rows(long, 50, 0.001, 150)) == [[0], [1], [2]]  # the budget splits what cost would join


def test_random_plans_hold_every_solution_once_and_cost_no_more_than_the_extremes():
    rng = random.Random(0)
    for _ in range(200):
        problems = [
            list({tuple(rng.choices([1, 2], k=rng.randint(1, 9))) for _ in range(rng.randint(1, 9))})
            for _ in range(rng.randint(1, 4))
        ]
        problems = [[(0, *row) for row in rows] for rows in problems]
        pair_cost, budget = rng.choice([0.0, 0.01, 1.0]), rng.choice([5, 20, 1000])
        plan = plan_rows(problems, pair_cost, budget, branches=True)
        for p, rows in enumerate(problems):
            members = [k for problem, ks, _ in plan.subtrees if problem == p for k in ks]
            assert sorted(members) == (list(range(len(rows))) if len(rows) > 1 else [])
        for p, ks, tree in plan.subtrees:
            behind = sorted(problems[p][k][plan.lengths[p] :] for k in ks)
            assert len(tree) == num_distinct(behind) == len(pack_prefix_tree(behind))
            assert len(ks) == 1 or plan.lengths[p] + len(tree) <= budget
        assert [i for start, stop in plan.chunks for i in range(start, stop)] == list(range(len(plan.subtrees)))
        for start, stop in plan.chunks:
            sizes = [len(tree) for _, _, tree in plan.subtrees[start:stop]]
            assert stop - start == 1 or (stop - start) * (max(plan.lengths) + max(sizes)) <= budget
            assert sum(max(sizes) - size for size in sizes) <= FORWARD_TOKENS
        for p, rows in enumerate(problems):
            if len(rows) == 1:
                continue
            behind, before = [row[plan.lengths[p] :] for row in rows], plan.lengths[p]
            planned = sum(row_cost(len(tree), before, pair_cost) for q, _, tree in plan.subtrees if q == p)
            apart = sum(row_cost(len(row), before, pair_cost) for row in behind)
            assert planned <= apart * (1 + 1e-9)
            whole = num_distinct(sorted(behind))
            if before + whole <= budget and len({row[0] for row in behind}) == 1:
                assert planned <= row_cost(whole, before, pair_cost) * (1 + 1e-9)


def test_without_branches_every_solution_has_its_own_row():
    plan = plan_rows([[(0, 1, 2), (0, 1, 3), (0, 1)]], 0.0, 100, branches=False)
    assert sorted(members for _, members, _ in plan.subtrees) == [[0], [1], [2]]
    assert plan.lengths == [1] and plan.packed_width() == pytest.approx(6)
