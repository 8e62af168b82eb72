"""Which rows are kept: split, caps and BIS, each with values worked by hand."""

from __future__ import annotations

import dataclasses
import itertools
import random

import pytest
from support.trees_by_hand import NODES, PROBLEM, TREE

from mmprm_hf.data import Problem, SearchTree
from mmprm_hf.labelling.label_rows import paths_to_rows, prefix_keys
from mmprm_hf.labelling.label_selection import (
    LabelRowsConfig,
    bis_score,
    cap_rows,
    make_label_rows,
    select_by_bis,
    split_of,
)
from mmprm_hf.labelling.labels import IGNORE_LABEL


def row(steps, labels=None, problem="p"):
    labels = [1.0] * len(steps) if labels is None else labels
    return {"problem_id": problem, "path_id": f"{problem}/{steps}", "completions": list(steps), "labels": labels}


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([1.0, 0.5, 0.0, 0.0], 0.225),  # p = 1/2, R = 3/4: (1/4 + 0.05) * 3/4
        ([1.0, 0.5, IGNORE_LABEL, 0.0, 0.0], 0.225),  # an unlabelled step is not there
        ([0.25, 0.0, 0.0, 0.0], 0.059375),  # p = 1/4, R = 1/4: (3/16 + 0.05) / 4
        ([1.0, 1.0, 0.0], 0.272222222222),  # p = 2/3, R = 1: 2/9 + 0.05
        ([0.0, 0.0], 0.05),  # no positive step: p = 0, R = 1
        ([0.5, 0.25], 0.01875),  # p = 1, R = 3/8: 0.05 * 3/8
        ([IGNORE_LABEL], None),
        ([], None),
    ],
)
def test_bis_by_hand(labels, expected):
    assert bis_score({"labels": labels}) == pytest.approx(expected, abs=1e-12) if labels else expected is None


def test_bis_threshold_moves_what_is_positive():
    assert bis_score({"labels": [0.25, 1.0]}) == pytest.approx(0.05 * 0.625)
    assert bis_score({"labels": [0.25, 1.0]}, threshold=0.25) == pytest.approx(0.30)


ROWS = [
    row("a", [0.0]),  # 0.05
    row("b", [1.0, 0.0][:1]),  # 0.05
    row("cd", [1.0, 0.0]),  # 0.30
    row("ef", [0.5, 0.0]),  # 0.15
    row("g", [IGNORE_LABEL]),  # none
    row("hi", [0.25, 0.0]),  # 0.075
]


def test_selection_keeps_the_best_in_their_order():
    def kept(share, **options):
        return ["".join(r["completions"]) for r in select_by_bis(ROWS, share, **options)]

    assert kept(0.2) == ["cd"]
    assert kept(0.4) == ["cd", "ef"]
    assert kept(0.6) == ["cd", "ef", "hi"]
    assert kept(1.0) == ["a", "b", "cd", "ef", "hi"]  # a row without a label is never kept
    assert kept(0.001) == ["cd"]  # at least one
    assert select_by_bis([ROWS[4]], 1.0) == []
    with pytest.raises(ValueError, match=r"Found share=0 for select_by_bis; it must be in \(0, 1\]"):
        select_by_bis(ROWS, 0)


def test_ties_depend_on_seed_and_content_not_on_order():
    rows = [row(letter, [1.0]) for letter in "abcdefghijkl"]
    kept = {r["path_id"] for r in select_by_bis(rows, 0.5)}
    assert len(kept) == 6
    shuffled = random.Random(0).sample(rows, len(rows))
    assert {r["path_id"] for r in select_by_bis(shuffled, 0.5)} == kept
    assert {r["path_id"] for r in select_by_bis(rows, 0.5, seed=1)} != kept


def test_selection_by_stratum_keeps_the_share_of_each():
    rows = [dict(r, source="x" if index % 2 else "y") for index, r in enumerate(ROWS)]
    kept = select_by_bis(rows, 0.5, by=lambda r: r["source"])
    # x: b 0.05, ef 0.15, hi 0.075 -> 2 of 3 (1.5 rounds up); y: a 0.05, cd 0.30, g none -> 1 of 2
    assert ["".join(r["completions"]) for r in kept] == ["cd", "ef", "hi"]


@pytest.mark.parametrize("seed", range(3))
def test_caps_hold_for_every_prefix_and_problem(seed):
    rng = random.Random(seed)
    rows = [row("".join(steps), problem=p) for p in "pq" for steps in itertools.product("ab", repeat=5)]
    rng.shuffle(rows)
    for max_prefix, max_problem in ((3, None), (None, 5), (4, 3), (20, 10)):
        kept, dropped = cap_rows(rows, max_prefix, max_problem, seed=seed)
        keys = [key for r in kept for key in prefix_keys(r)]
        assert max(map(keys.count, keys)) <= (max_prefix or 99)
        for problem in "pq":
            assert sum(r["problem_id"] == problem for r in kept) <= (max_problem or 99)
        assert len(kept) + sum(dropped.values()) == 64
        assert [rows.index(r) for r in kept] == sorted(rows.index(r) for r in kept)
        again, _ = cap_rows(rows[::-1], max_prefix, max_problem, seed=seed)
        assert {r["path_id"] for r in again} == {r["path_id"] for r in kept}
    # each problem's rows begin with one of two steps, so 3 rows a prefix leave 6 a problem
    assert cap_rows(rows, 3, seed=seed)[1] == {"max_rows_per_prefix": 64 - 12, "max_rows_per_problem": 0}
    assert cap_rows(rows, None, 5, seed=seed)[1] == {"max_rows_per_prefix": 0, "max_rows_per_problem": 64 - 10}
    assert cap_rows(rows)[0] == rows


def test_caps_count_only_labelled_prefixes():
    rows = [row("ab", [IGNORE_LABEL, 1.0]), row("ac", [IGNORE_LABEL, 1.0]), row("ab", [IGNORE_LABEL, 1.0], "q")]
    assert cap_rows(rows, 1)[0] == rows


def problems(count, **meta):
    return [Problem(f"p{i}", f"Question {i}?", meta={k: v(i) for k, v in meta.items()}) for i in range(count)]


def test_split_groups_are_never_on_both_sides():
    found = problems(200, split_group=lambda i: f"g{i // 4}")
    sides = {}
    for problem in found:
        sides.setdefault(problem.meta["split_group"], set()).add(split_of(problem, 0.3))
    assert all(len(side) == 1 for side in sides.values())
    assert {"train", "validation"} == set.union(*sides.values())


def test_one_question_is_never_on_both_sides():
    for index in range(50):
        one, other = Problem("a", f"What is {index} + 1?"), Problem("b", f" What  is {index} + 1? ")
        assert split_of(one, 0.5) == split_of(other, 0.5)


def test_split_has_about_the_share_grows_with_it_and_follows_the_seed():
    found = problems(2000)
    held_out = {share: {p.id for p in found if split_of(p, share) == "validation"} for share in (0.0, 0.1, 0.3)}
    # Binomial(2000, 0.1): 200 +- 13.4. Fixed hashes, so the test cannot fail by chance once it has passed.
    assert abs(len(held_out[0.1]) - 200) < 54 and abs(len(held_out[0.3]) - 600) < 82
    assert held_out[0.0] == set() and held_out[0.1] < held_out[0.3]
    assert {p.id for p in found if split_of(p, 0.1, seed=1) == "validation"} != held_out[0.1]


def many(count=40):
    found = [
        dataclasses.replace(PROBLEM, id=f"p{i}", question=f"Q{i}?", meta={"source": "xy"[i % 2]}) for i in range(count)
    ]
    return found, [SearchTree(problem.id, NODES) for problem in found]


def test_rows_by_default_are_all_rows_for_training():
    rows = make_label_rows([PROBLEM], [TREE])
    assert rows.train == paths_to_rows([PROBLEM], [TREE]) and rows.validation == []
    assert rows.num_dropped == {"max_rows_per_prefix": 0, "max_rows_per_problem": 0, "bis_share": 0}


def test_caps_split_selection_and_weights_in_that_order():
    found, trees = many()
    config = LabelRowsConfig(max_rows_per_problem=2, validation_share=0.25, bis_share=0.5)
    rows = make_label_rows(found, trees, config)
    train, validation = {r["problem_id"] for r in rows.train}, {r["problem_id"] for r in rows.validation}
    assert not train & validation
    assert len(rows.validation) == 2 * len(validation) > 0  # BIS leaves the validation rows alone
    assert rows.num_dropped["max_rows_per_problem"] == 40
    assert len(rows.train) + rows.num_dropped["bis_share"] == 80 - len(rows.validation)
    assert abs(len(rows.train) - rows.num_dropped["bis_share"]) <= 1
    for r in rows.train:  # weights are those of the rows that are left
        shared = [
            s for s in rows.train if s["problem_id"] == r["problem_id"] and s["completions"][0] == r["completions"][0]
        ]
        if r["labels"][0] != IGNORE_LABEL:
            assert r["label_weights"][0] == 1 / len(shared)


def test_selection_by_meta():
    found, trees = many()
    rows = make_label_rows(found, trees, LabelRowsConfig(bis_share=0.5, bis_by="source"))
    sources = [int(r["problem_id"][1:]) % 2 for r in rows.train]
    assert sources.count(0) == sources.count(1) == 30
    by_problem = make_label_rows(found, trees, LabelRowsConfig(bis_share=0.34, bis_by="problem_id"))
    assert len(by_problem.train) == 40
    with pytest.raises(
        ValueError, match="Found bis_by='grade', but problem 'p0' has no such entry in its meta .source."
    ):
        make_label_rows(found, trees, LabelRowsConfig(bis_share=0.5, bis_by="grade"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keep": "some"}, "Found keep='some' in LabelRowsConfig; it must be mixed or all"),
        ({"fill": "none"}, "Found fill='none'; choose one of monotone, own"),
        ({"bis_share": 0}, r"Found bis_share=0 in LabelRowsConfig; it must be in \(0, 1\]"),
        ({"validation_share": 1}, r"Found validation_share=1 .* must be in \[0, 1\)"),
        ({"max_rows_per_prefix": 0}, "Found max_rows_per_prefix=0 .* at least 1"),
        ({"max_rows_per_problem": -1}, "Found max_rows_per_problem=-1 .* at least 1"),
        ({"consensus_threshold": 1.0}, r"Found consensus_threshold=1\.0"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        LabelRowsConfig(**options)
