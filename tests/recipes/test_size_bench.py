"""recipes/bench/size_bench.py: nothing copies a model twice."""

import pytest
from support.layout import ROOT, import_recipe

from mmprm_hf.files import read_json

size_bench = import_recipe("bench", "size_bench")


def check(results):
    assert set(results["stages"]) == set(size_bench.STAGES)
    # Beside the weights, once: activations, and tables of the tokenizer.
    assert all(found["share"] < 1.2 for found in results["stages"].values()), results


def test_no_committed_step_needs_the_weights_twice():
    results = read_json(ROOT / "recipes" / "bench" / "size.json")
    check(results)
    assert 1.8 < results["gigabytes"]["policy"] < 2.2  # a billion parameters


@pytest.mark.bench
def test_a_smaller_model_is_there_once_too():
    results = size_bench.measure(num_layers=3)
    check(results)
    assert results["stages"]["score"]["share"] > 0.5  # the weights were read
