"""The bench of scoring: its baseline is the published method, and what it counts is what it runs."""

from __future__ import annotations

import pytest
import torch
from support.layout import import_recipe

pytestmark = pytest.mark.bench


@pytest.fixture(scope="module")
def bench_module():
    return import_recipe("bench", "scoring_bench")


def test_both_ways_give_the_same_scores_and_the_tokens_are_those_that_run(bench_module):
    bench = bench_module.Bench("tiny", "cpu", "float32", "sdpa")
    tokens: dict[str, int] = {}
    tiles: dict[str, int] = {}
    way = ""

    def count_tokens(_, args, kwargs):
        tokens[way] = tokens.get(way, 0) + kwargs["input_ids"].numel()

    def count_tiles(_, args, kwargs):
        tiles[way] = tiles.get(way, 0) + (args[0] if args else kwargs["pixel_values"]).shape[0]

    bench.scorer.model.vlm.register_forward_pre_hook(count_tokens, with_kwargs=True)
    bench.scorer.model.vlm.vision_tower.register_forward_pre_hook(count_tiles, with_kwargs=True)
    scores = {}
    for way in bench_module.WAYS:
        scores[way] = getattr(bench, way)()
    assert scores["plain"].shape == scores["ours"].shape == (16, 8)
    torch.testing.assert_close(scores["plain"], scores["ours"], atol=1e-4, rtol=0)
    assert (tokens["plain"], tokens["ours"]) == bench.num_tokens() == (20_064, 3_654)
    assert tokens["unique"] == tokens["ours"]
    assert tiles == {"plain": 64, "ours": 4, "unique": 4}
