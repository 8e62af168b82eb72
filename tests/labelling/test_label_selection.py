"""Which rows are kept: split, caps and BIS, each with values worked by hand."""

from __future__ import annotations

import dataclasses
import itertools
import random

import pytest
from support.trees_by_hand import NODES, PROBLEM, TREE, rows_by_split

from mmprm_hf.data import Problem, SearchTree
from mmprm_hf.labelling import LabelRowsConfig
from mmprm_hf.labelling.label_rows import prefix_keys
from mmprm_hf.labelling.label_selection import best_by_bis, bis_score, cap_rows, choose_split
from mmprm_hf.labelling.labels import IGNORE_LABEL


def row(steps, labels=None, problem="p"):
    labels = [1.0] * len(steps) if labels is None else labels
    return {"problem_id": problem, "path_id": f"{problem}/{steps}", "completions": list(steps), "labels": labels}


def test_bis_by_hand():
    cases = [
        ([1.0, 0.5, 0.0, 0.0], 0.225),  # p = 1/2, R = 3/4: (1/4 + 0.05) * 3/4
        ([1.0, 0.5, IGNORE_LABEL, 0.0, 0.0], 0.225),  # an unlabelled step is not there
        ([0.25, 0.0, 0.0, 0.0], 0.059375),  # p = 1/4, R = 1/4: (3/16 + 0.05) / 4
        ([1.0, 1.0, 0.0], 0.272222222222),  # p = 2/3, R = 1: 2/9 + 0.05
        ([0.0, 0.0], 0.05),  # no positive step: p = 0, R = 1
        ([0.5, 0.25], 0.01875),  # p = 1, R = 3/8: 0.05 * 3/8
    ]
    for labels, expected in cases:
        assert bis_score({"labels": labels}) == pytest.approx(expected, abs=1e-12)  # it is rounded to 12 digits
    assert bis_score({"labels": [IGNORE_LABEL]}) is bis_score({"labels": []}) is None


ROWS = [
    row("a", [0.0]),  # 0.05
    row("b", [1.0]),  # 0.05
    row("cd", [1.0, 0.0]),  # 0.30
    row("ef", [0.5, 0.0]),  # 0.15
    row("g", [IGNORE_LABEL]),  # none
    row("hi", [0.25, 0.0]),  # 0.075
]


def best(rows, share, strata=None, seed=0):
    """Ids of the rows that BIS keeps, in their order."""
    is_best = best_by_bis(zip(rows, strata or [None] * len(rows), strict=True), share, seed)
    return [r["path_id"] for r, is_kept in zip(rows, is_best, strict=True) if is_kept]


def test_bis_keeps_the_best_rows_in_their_order():
    assert best(ROWS, 0.2) == ["p/cd"]
    assert best(ROWS, 0.4) == ["p/cd", "p/ef"]
    assert best(ROWS, 0.6) == ["p/cd", "p/ef", "p/hi"]
    assert best(ROWS, 1.0) == ["p/a", "p/b", "p/cd", "p/ef", "p/hi"]  # a row without a label is never kept
    assert best(ROWS, 0.001) == ["p/cd"]  # at least one
    assert best([ROWS[4]], 1.0) == []


def test_ties_depend_on_seed_and_content_not_on_order():
    rows = [row(letter, [1.0]) for letter in "abcdefghijkl"]
    kept = set(best(rows, 0.5))
    assert len(kept) == 6
    assert set(best(random.Random(0).sample(rows, len(rows)), 0.5)) == kept
    assert set(best(rows, 0.5, seed=1)) != kept


def test_bis_by_stratum_keeps_the_share_of_each():
    # x: b 0.05, ef 0.15, hi 0.075 -> 2 of 3 (1.5 rounds up); y: a 0.05, cd 0.30, g none -> 1 of 2
    assert best(ROWS, 0.5, "yxyxyx") == ["p/cd", "p/ef", "p/hi"]


def capped(rows, **caps):
    return cap_rows(rows, LabelRowsConfig(**caps))


def test_caps_hold_for_every_prefix_and_problem():
    for seed in range(3):
        rows = [row("".join(steps)) for steps in itertools.product("ab", repeat=5)]
        random.Random(seed).shuffle(rows)
        for max_per_prefix, max_per_problem in ((3, None), (None, 5), (4, 3), (10, 12)):
            caps = {"max_rows_per_prefix": max_per_prefix, "max_rows_per_problem": max_per_problem, "seed": seed}
            kept, num_dropped = capped(rows, **caps)
            keys = [key for r in kept for key in prefix_keys(r)]
            assert max(map(keys.count, keys)) <= (max_per_prefix or 99)
            assert len(kept) <= (max_per_problem or 99)
            assert len(kept) + sum(num_dropped.values()) == 32
            assert [rows.index(r) for r in kept] == sorted(rows.index(r) for r in kept)
            again, _ = capped(rows[::-1], **caps)
            assert {r["path_id"] for r in again} == {r["path_id"] for r in kept}
        # all rows begin with one of two steps, so 3 rows per prefix leave 6
        num_dropped = capped(rows, max_rows_per_prefix=3, seed=seed)[1]
        assert num_dropped == {"max_rows_per_prefix": 32 - 6, "max_rows_per_problem": 0}
        num_dropped = capped(rows, max_rows_per_problem=5, seed=seed)[1]
        assert num_dropped == {"max_rows_per_prefix": 0, "max_rows_per_problem": 32 - 5}
        assert capped(rows)[0] == rows


def test_caps_count_only_labelled_prefixes():
    rows = [row("ab", [IGNORE_LABEL, 1.0]), row("ac", [IGNORE_LABEL, 1.0])]
    assert capped(rows, max_rows_per_prefix=1)[0] == rows


def problems(count, **meta):
    return [Problem(f"p{i}", f"Question {i}?", meta={k: v(i) for k, v in meta.items()}) for i in range(count)]


def test_a_split_group_is_never_on_both_sides():
    sides = {}
    for problem in problems(200, split_group=lambda i: f"g{i // 4}"):
        side = choose_split(problem, LabelRowsConfig(validation_share=0.3))
        sides.setdefault(problem.meta["split_group"], set()).add(side)
    assert all(len(side) == 1 for side in sides.values())
    assert {"train", "validation"} == set.union(*sides.values())


def test_one_question_is_never_on_both_sides():
    config = LabelRowsConfig(validation_share=0.5)
    for index in range(50):
        first, second = Problem("a", f"What is {index} + 1?"), Problem("b", f" What  is {index} + 1? ")
        assert choose_split(first, config) == choose_split(second, config)


def test_the_split_has_about_its_share_grows_with_it_and_depends_on_the_seed():
    def held_out(share, seed=0):
        config = LabelRowsConfig(validation_share=share, seed=seed)
        return {p.id for p in problems(2000) if choose_split(p, config) == "validation"}

    # Binomial(2000, 0.1): 200 +- 13.4. Fixed hashes, so the test cannot fail by chance once it has passed.
    assert abs(len(held_out(0.1)) - 200) < 54 and abs(len(held_out(0.3)) - 600) < 82
    assert held_out(0.0) == set() and held_out(0.1) < held_out(0.3)
    assert held_out(0.1, seed=1) != held_out(0.1)


def many():
    labelled = [
        dataclasses.replace(PROBLEM, id=f"p{i}", question=f"Q{i}?", meta={"source": "xy"[i % 2]}) for i in range(40)
    ]
    return labelled, [SearchTree(problem.id, NODES) for problem in labelled]


def test_by_default_all_rows_are_for_training():
    rows, num_dropped = rows_by_split([PROBLEM], [TREE])
    assert len(rows["train"]) == 3 and rows["validation"] == [] and not num_dropped.total()


def test_caps_split_selection_and_weights_in_that_order():
    rows, num_dropped = rows_by_split(*many(), max_rows_per_problem=2, validation_share=0.25, bis_share=0.5)
    train, validation = rows["train"], rows["validation"]
    held_out = {r["problem_id"] for r in validation}
    assert not {r["problem_id"] for r in train} & held_out
    assert len(validation) == 2 * len(held_out) > 0  # BIS leaves the validation rows alone
    assert num_dropped["max_rows_per_problem"] == 40
    assert len(train) + num_dropped["bis_share"] == 80 - len(validation)
    assert abs(len(train) - num_dropped["bis_share"]) <= 1
    for r in train:  # weights are those of the rows that are left
        shared = [s for s in train if s["problem_id"] == r["problem_id"] and s["completions"][0] == r["completions"][0]]
        if r["labels"][0] != IGNORE_LABEL:
            assert r["label_weights"][0] == 1 / len(shared)


def test_bis_by_a_key_of_the_meta_or_a_column():
    rows, _ = rows_by_split(*many(), bis_share=0.5, bis_by="source")
    sources = [int(r["problem_id"][1:]) % 2 for r in rows["train"]]
    assert sources.count(0) == sources.count(1) == 30
    by_problem, _ = rows_by_split(*many(), bis_share=0.34, bis_by="problem_id")
    assert len(by_problem["train"]) == 40
    with pytest.raises(
        ValueError, match="Found bis_by='grade', but problem 'p0' has no such entry in its meta .source."
    ):
        rows_by_split(*many(), bis_share=0.5, bis_by="grade")


def test_bad_options_are_named():
    cases = [
        ({"keep": "some"}, "Unknown keep 'some'. Choose one of mixed, all"),
        ({"fill": "none"}, "Unknown fill 'none'. Did you mean 'monotone'. Choose one of monotone, own"),
        ({"consensus": "keep"}, "Unknown consensus 'keep'. Choose one of ignore, drop"),
        ({"bis_share": 0}, r"Found bis_share=0 in LabelRowsConfig; it must be in \(0, 1\]"),
        ({"validation_share": 1}, r"Found validation_share=1 .* must be in \[0, 1\)"),
        ({"max_rows_per_prefix": 0}, "Found max_rows_per_prefix=0 .* at least 1"),
        ({"max_rows_per_problem": -1}, "Found max_rows_per_problem=-1 .* at least 1"),
        ({"consensus_threshold": 1.0}, r"Found consensus_threshold=1\.0"),
    ]
    for options, message in cases:
        with pytest.raises(ValueError, match=message):
            LabelRowsConfig(**options)
