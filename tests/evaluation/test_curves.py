"""Best-of-N curves against brute force: the selections themselves on every subset of the candidates."""

import itertools
import json
import random

import numpy as np
import pytest

from mmprm_hf.answers import group_answers
from mmprm_hf.evaluation import curves as module
from mmprm_hf.evaluation.curves import CURVE_METRICS, best_of_n_curves
from mmprm_hf.evaluation.evaluators import PRM_METRICS, best_of_n_report
from mmprm_hf.metrics import bootstrap_ci, mean_or_none, paired_difference
from mmprm_hf.selection import outcome_by_selection


def candidate(answer, scores=(0.5,), verdict=None, *, complete=True, steps=None):
    """A candidate row; right if its answer is "7" unless told otherwise."""
    return {
        "steps": list(steps or [f"s{index}" for index in range(len(scores) or 1)]),
        "answer": answer,
        "complete": complete,
        "step_scores": list(scores),
        "verdict": verdict or ("correct" if answer == "7" else "incorrect"),
    }


def row_of(*candidates, name="p"):
    return {"problem_id": name, "greedy": None, "candidates": list(candidates)}


def random_row(rng, num_candidates, name):
    """Few answers and few scores, so that ties of every kind are common; some incomplete, unscored or undecided."""
    candidates = []
    for _ in range(num_candidates):
        answer = rng.choice("7789?")
        scores = [] if rng.random() < 0.15 else [rng.choice((0.1, 0.2, 0.3, 0.6)) for _ in range(rng.randint(1, 2))]
        verdict = "undecided" if answer == "?" else None
        steps = [f"{rng.randint(0, 1)} {index}" for index in range(len(scores) or 1)]
        candidates.append(candidate(answer, scores, verdict, complete=rng.random() < 0.8, steps=steps))
    return row_of(*candidates, name=name)


def metrics_of(candidates, aggregation):
    """Per metric what it gets on some candidates of a problem; None where it takes an undecided one."""
    right = {"correct": 1.0, "incorrect": 0.0, "undecided": None}
    outcomes = [right[c["verdict"]] if c["complete"] else 0.0 for c in candidates]
    scores = [c["step_scores"] if c["complete"] else [] for c in candidates]
    groups = group_answers([c["answer"] if c["complete"] else None for c in candidates])
    pairs = zip(candidates, outcomes, strict=True)
    distinct = {(*c["steps"], c["answer"]): outcome for c, outcome in pairs if c["complete"]}
    return {
        "random_distinct": mean_or_none(distinct.values()) if distinct else 0.0,
        **outcome_by_selection(outcomes, scores, groups, aggregation),
    }


def brute_force(row, size, aggregation):
    """Per metric, its mean over all subsets that it decides; None where it decides none."""
    values = [metrics_of(subset, aggregation) for subset in itertools.combinations(row["candidates"], size)]
    return {name: mean_or_none(value[name] for value in values) for name in CURVE_METRICS}


def values_at(curves, size):
    return {name: next(p for p in curves["curves"][name] if p["n"] == size)["value"] for name in CURVE_METRICS}


@pytest.mark.parametrize(
    ("aggregation", "max_counted"), [("min", 16), ("mean", 16), ("sum_logit", 16), ("min", 0), ("sum_logit", 0)]
)
def test_every_value_is_that_of_brute_force(aggregation, max_counted, monkeypatch):
    monkeypatch.setattr(module, "MAX_COUNTED", max_counted)  # 0: all subsets are listed
    rng = random.Random(aggregation)
    num_counted = 0
    for num_candidates in [1] * 40 + [2] * 40 + [3] * 40 + [5] * 40 + [8] * 8:
        row = random_row(rng, num_candidates, "p")
        curves = best_of_n_curves([row], aggregation=aggregation, sizes=range(1, num_candidates + 1))
        if curves["num_problems_undecided"]:
            assert set(values_at(curves, num_candidates).values()) == {None}
            continue
        num_counted += 1
        has_scores = any(c["step_scores"] for c in row["candidates"] if c["complete"])
        is_unscored = not has_scores and any(c["complete"] for c in row["candidates"])
        for size in range(1, num_candidates + 1):
            expected = brute_force(row, size, aggregation)
            expected |= dict.fromkeys(PRM_METRICS) if is_unscored else {}
            # Sums of at most 70 float64 shares: 1e-14, and far below the 1/70 of one subset.
            assert values_at(curves, size) == pytest.approx(expected, abs=1e-12), (row, size)
    assert num_counted > 100


@pytest.mark.parametrize("aggregation", ["min", "sum_logprob"])
def test_the_largest_size_is_the_report(aggregation):
    rng = random.Random(aggregation)
    rows = [random_row(rng, 6, f"p{index}") for index in range(60)]
    rows.append(row_of(*[candidate("?", verdict="undecided")] * 6, name="no gold"))
    report = best_of_n_report(rows, aggregation=aggregation)
    curves = best_of_n_curves(rows, aggregation=aggregation)
    assert [point["n"] for point in curves["sizes"]] == [1, 2, 4, 6]
    for name in CURVE_METRICS:
        last = curves["curves"][name][-1]
        assert {key: last[key] for key in ("value", "ci_low", "ci_high")} == report["metrics"][name]
        assert last["num_decided"] == report["num_decided"][name]
        assert last["monte_carlo_error"] == 0.0
    for key in ("num_problems", "num_candidates", "num_undecided", "num_incomplete", "num_problems_undecided"):
        assert curves[key] == report[key], key


def test_one_problem_by_hand():
    row = row_of(candidate("8", [0.9]), candidate("7", [0.8]), candidate("7", [0.3]), candidate("9", [0.5]))
    values = values_at(best_of_n_curves([row], sizes=[2]), 2)
    # Subsets 8-7 8-7 8-9 7-7 7-9 7-9: 8 wins three, the first 7 the rest that it is in, 9 beats the second 7.
    assert values["best_of_n"] == pytest.approx(2 / 6)
    assert values["majority_vote"] == pytest.approx(3 / 6)  # of two single votes the first one wins
    assert values["weighted_vote"] == pytest.approx(2 / 6)
    assert values["oracle"] == pytest.approx(5 / 6)
    assert values["mean_pass_at_1"] == 0.5


def test_an_undecided_winner_leaves_numerator_and_denominator():
    row = row_of(candidate("?", [0.9], "undecided"), candidate("7", [0.8]), candidate("8", [0.7]))
    values = values_at(best_of_n_curves([row], sizes=[2]), 2)
    assert values["best_of_n"] == 1.0  # of three subsets only 7-8 is decided
    largest = best_of_n_curves([row], sizes=[3])
    assert values_at(largest, 3)["best_of_n"] is None
    assert largest["curves"]["best_of_n"][0]["num_decided"] == 0


def test_incomplete_candidates_win_only_among_themselves():
    cut = candidate("7", [1.0], "correct", complete=False)
    values = values_at(best_of_n_curves([row_of(cut, cut, candidate("7", [0.1]))], sizes=[2]), 2)
    for name in ("best_of_n", "majority_vote", "weighted_vote", "random_distinct", "oracle"):
        assert values[name] == pytest.approx(2 / 3), name


def test_the_mean_does_not_depend_on_n():
    rng = random.Random(4)
    curves = best_of_n_curves([random_row(rng, 8, f"p{index}") for index in range(20)])
    assert len({point["value"] for point in curves["curves"]["mean_pass_at_1"]}) == 1


def test_counted_and_listed_subsets_give_the_same(monkeypatch):
    """Most candidates that are counted, one large group, and scores of few and of many values."""
    rng = random.Random(3)
    rows = []
    for index in range(8):
        row = random_row(rng, 16, f"p{index}")
        for entry in row["candidates"]:
            entry["answer"] = rng.choice("7777789")
            entry["verdict"] = "correct" if entry["answer"] == "7" else "incorrect"
            entry["step_scores"] = [rng.random() if index % 2 else score for score in entry["step_scores"]]
        rows.append(row)
    counted = best_of_n_curves(rows, sizes=[3, 8, 16])
    monkeypatch.setattr(module, "MAX_COUNTED", 0)
    assert counted == best_of_n_curves(rows, sizes=[3, 8, 16])


def test_weights_that_tie_but_for_rounding_are_decided_as_the_selection_does():
    """Ten times 0.1 is exactly 1.0, and less by plain addition: the larger of two groups that tie wins."""
    row = row_of(candidate("8", [1.0]), *[candidate("7", [0.1])] * 10)
    for size in (10, 11):
        values = values_at(best_of_n_curves([row], sizes=[size]), size)
        assert values["weighted_vote"] == pytest.approx(brute_force(row, size, "min")["weighted_vote"])


def draw(monkeypatch, num_drawn):
    """From here on subsets are drawn even where they are few."""
    monkeypatch.setattr(module, "MAX_SUBSETS", 10)
    monkeypatch.setattr(module, "NUM_DRAWN", num_drawn)


def test_drawn_subsets_are_within_their_stated_error(monkeypatch):
    rng = random.Random(7)
    rows = [random_row(rng, 8, f"p{index}") for index in range(30)]
    exact = best_of_n_curves(rows, sizes=[4])
    draw(monkeypatch, 400)
    drawn = best_of_n_curves(rows, sizes=[4])
    assert drawn == best_of_n_curves(rows, sizes=[4])
    assert exact["sizes"] == [{"n": 4, "num_subsets": 70, "is_exact": True}]
    assert drawn["sizes"] == [{"n": 4, "num_subsets": 400, "is_exact": False}]
    for name in ("random_distinct", "majority_vote", "weighted_vote"):
        error = drawn["curves"][name][0]["monte_carlo_error"]
        difference = drawn["curves"][name][0]["value"] - exact["curves"][name][0]["value"]
        assert 0.0 < error < 0.01
        assert 0.0 < abs(difference) < 4 * error, name
    for name in ("mean_pass_at_1", "best_of_n", "oracle"):  # closed forms draw nothing
        assert drawn["curves"][name] == exact["curves"][name]


def test_the_stated_error_is_the_spread_over_seeds(monkeypatch):
    rng = random.Random(8)
    rows = [random_row(rng, 8, f"p{index}") for index in range(10)]
    draw(monkeypatch, 50)
    runs = [best_of_n_curves(rows, sizes=[4], seed=seed) for seed in range(60)]
    points = [run["curves"]["majority_vote"][0] for run in runs]
    spread = np.std([point["value"] for point in points], ddof=1)
    stated = np.mean([point["monte_carlo_error"] for point in points])
    assert 0.7 < spread / stated < 1.4


def test_more_candidates_than_can_be_enumerated(monkeypatch):
    rng = random.Random(9)
    monkeypatch.setattr(module, "NUM_DRAWN", 50)
    curves = best_of_n_curves([random_row(rng, 24, f"p{index}") for index in range(3)])
    assert [(point["n"], point["is_exact"]) for point in curves["sizes"]] == [
        (1, True), (2, True), (4, True), (8, False), (16, False), (24, True),
    ]  # fmt: skip
    oracle = [point["value"] for point in curves["curves"]["oracle"]]
    assert oracle == sorted(oracle)
    json.dumps(curves, allow_nan=False)


def test_comparison_with_majority_vote_is_paired_over_the_same_problems():
    better = row_of(candidate("8", [0.1]), candidate("8", [0.2]), candidate("7", [0.9]))
    same = row_of(candidate("7", [0.1]), candidate("7", [0.2]), candidate("8", [0.05]))
    unsure = row_of(candidate("8", [0.1]), candidate("8", [0.2]), candidate("?", [0.9], "undecided"))
    curves = best_of_n_curves([better] * 6 + [same] * 2 + [unsure], sizes=[3])
    assert set(curves["against_majority_vote"]) == set(PRM_METRICS)
    point = curves["against_majority_vote"]["best_of_n"][0]
    low, high = bootstrap_ci([1.0] * 6 + [0.0] * 2)
    assert point == {
        "n": 3, "difference": 0.75, "ci_low": low, "ci_high": high, "p_value": 2 / 2**6,
        "num_problems": 8, "num_better": 6, "num_worse": 0,
    }  # fmt: skip


def test_nothing_to_compare():
    assert paired_difference([None], [1.0]) == {
        "difference": None, "ci_low": None, "ci_high": None, "p_value": None,
        "num_problems": 0, "num_better": 0, "num_worse": 0,
    }  # fmt: skip


def test_sizes_that_the_candidates_do_not_have_are_refused():
    for sizes in ([0], [3], []):
        with pytest.raises(ValueError, match=r"Found the sizes .* with 2 candidates.*1\.\.2; generate more"):
            best_of_n_curves([row_of(candidate("7"), candidate("8"))], sizes=sizes)
