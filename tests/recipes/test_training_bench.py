"""The bench of training: its three ways compute the same, and what it counts is what it runs."""

from __future__ import annotations

from collections import Counter

import pytest
from support.layout import import_recipe

pytestmark = pytest.mark.bench


@pytest.fixture(scope="module")
def bench_module():
    return import_recipe("bench", "training_bench")


def test_all_ways_give_the_same_gradients_and_packed_runs_each_token_once(bench_module):
    bench = bench_module.TrainingBench("tiny")
    (group,) = bench.groups
    assert len(group) == 32
    assert bench.largest_difference(group) < bench_module.TOLERANCE
    tokens, way = Counter(), ""
    bench.model.vlm.register_forward_pre_hook(
        lambda _, args, kwargs: tokens.update({way: kwargs["input_ids"].numel()}), with_kwargs=True
    )
    for way in bench_module.WAYS:
        bench.run(way, group)
    assert tokens == {"packed": 3_814, "rows": 40_128, "plain": 40_128, "published": 40_128}
    assert bench.num_tokens == {"raw": 40_128, "trained": 3_814}
    assert 2.5 * bench.saved_bytes("packed") < bench.saved_bytes("rows", 32)


def test_a_wrong_weight_shows_in_the_gradients(bench_module):
    bench = bench_module.TrainingBench("tiny")
    (group,) = bench.groups
    _, right = bench.gradients("packed", group)
    wrong = [{**group[0], "label_weights": [2 * w for w in group[0]["label_weights"]]}, *group[1:]]
    _, other = bench.gradients("packed", wrong)
    assert float((right["score.weight"] - other["score.weight"]).norm() / right["score.weight"].norm()) > 1e-3


def test_the_recorded_rows_are_32_distinct_solutions_a_problem(bench_module):
    rows = bench_module.nano_rows()
    sizes = Counter(row["problem_id"] for row in rows)
    assert set(sizes.values()) == {32} and len(sizes) == 11
    assert len({(row["problem_id"], *row["completions"]) for row in rows}) == len(rows)
    assert all(len(row["completions"]) == len(row["label_counts"]) == len(row["label_weights"]) for row in rows)
