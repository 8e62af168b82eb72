"""The nano world: determinism, splits without shared content, figures that hold the facts, exact checking."""

import hashlib
import random
from collections import Counter

import numpy as np
import pytest

from mmprm_hf.errors import UnknownNameError
from mmprm_hf.nano.drawing import FIGURE_SIZE, GRID, Canvas
from mmprm_hf.nano.families import FAMILIES
from mmprm_hf.nano.solver import Noise, StepTruth, check_step
from mmprm_hf.nano.world import NanoProblems, load_nano, make_problem, nano_problems, problem_from_id


@pytest.fixture(scope="module")
def sample():
    return nano_problems("train", 600)


def test_same_seed_same_problem_and_same_pixels():
    first, second = make_problem("clock", 11), make_problem("clock", 11)
    assert first.question == second.question and first.facts == second.facts
    assert first.figure().tobytes() == second.figure().tobytes()
    assert first.figure().tobytes() != make_problem("clock", 12).figure().tobytes()


def test_pixels_do_not_drift_between_versions():
    """The shipped models read these very pixels: a change of drawing needs newly trained models."""
    digest = hashlib.sha256()
    for family in FAMILIES:
        digest.update(make_problem(family, 5).figure().tobytes())
    assert digest.hexdigest()[:16] == "71e5608f7c1d48b1"


def test_problems_and_solutions_do_not_drift_between_versions():
    """Committed results are about these very problems: ids, questions, facts, right and noisy solutions, in order."""
    digest = hashlib.sha256()
    for split in ("test", "train"):
        for index, problem in enumerate(nano_problems(split, 300)):
            noisy = problem.solve(random.Random(index), Noise(misread=0.2, slip=0.2, wrong_plan=0.3))
            facts = (problem.id, problem.content_id, problem.question, sorted(problem.facts.items()))
            digest.update(repr((facts, problem.solve(), noisy, problem.check_prefixes(noisy))).encode())
    assert digest.hexdigest()[:16] == "c66fb3253d478c81"


def test_splits_share_no_content_and_hold_distinct_problems():
    train, test = nano_problems("train", 10_000), nano_problems("test", 500)
    train_content = {problem.content_id for problem in train}
    test_content = {problem.content_id for problem in test}
    assert len(train_content) == 10_000 and len(test_content) == 500
    assert not train_content & test_content
    assert all(problem.split == "train" for problem in train[:500])


def test_families_are_mixed(sample):
    counts = Counter(problem.family for problem in sample)
    assert set(counts) == set(FAMILIES) and len(FAMILIES) >= 8
    assert min(counts.values()) > 600 / len(FAMILIES) / 3


def test_right_solutions_are_right_and_state_the_answer(sample):
    for problem in sample:
        steps = problem.solve()
        assert set(problem.check(steps)) == {StepTruth.RIGHT}, (problem.id, steps)
        assert steps[-1].split("=")[-1] == problem.answer
        assert 2 <= len(steps) <= 6


# The answer of every family from its readings and question, written again by hand: the plans are not their own judge.
FORMULAS = {
    "triangle_angle": lambda r, q: 180 - sum(r.values()),
    "right_corner": lambda r, q: 90 - r["P"] - r["Q"],
    "rectangle": lambda r, q: 2 * r["width"] + 2 * r["height"],
    "trapezoid": lambda r, q: (r["top"] + r["bottom"]) * r["height"] / 2,
    "l_shape": lambda r, q: r["left.width"] * r["left.height"] + r["right.width"] * r["right.height"],
    "number_line": lambda r, q: r["start"] + r["ticks"] * r["gap"],
    "grid_path": lambda r, q: r["side"] * (r["across"] + r["up"]),
    "clock": lambda r, q: 60 * r["hour"] + r["minute"] + r["add"],
    "bar_chart": lambda r, q: r[q[-8]] + r[q[-2]] if "total" in q else r[q.split(" is ")[1][0]] - r[q[-2]],
    "price_table": lambda r, q: sum(r[f"{row}.price"] * r[f"{row}.number"] for row in (q[-8], q[-2])),
    "pictogram": lambda r, q: r["key"] * sum(r[row] for row in q.split("rows ")[1][0:7:6]),
}


def test_answers_follow_from_the_figure(sample):
    assert set(FORMULAS) == set(FAMILIES)
    for problem in sample:
        readings, question = problem.blueprint.readings, problem.question
        assert int(problem.answer) == FORMULAS[problem.family](readings, question), (problem.id, question, readings)


def test_question_states_no_number_of_the_figure(sample):
    for problem in sample:
        numbers = {token for token in problem.question.replace(".", " ").replace("?", " ").split() if token.isdigit()}
        assert numbers <= {"12"}, problem.question  # the clock's twelve


def test_every_reading_stands_in_the_figure_as_text_or_shape(sample):
    """Changing one fact of a problem changes its figure: nothing needed for the answer is invisible."""
    for family in FAMILIES:
        figures = {}
        for problem in (p for p in sample if p.family == family):
            canvas = problem.blueprint.draw(random.Random("fixed style"))
            key = (tuple(sorted(problem.blueprint.readings.items())), problem.blueprint.layout, problem.question)
            figures.setdefault(canvas.image.tobytes(), set()).add(key[0])
        assert all(len(readings) == 1 for readings in figures.values()), family


def test_text_that_leaves_its_cell_or_the_figure_is_refused():
    canvas = Canvas()
    assert canvas.image.size == (FIGURE_SIZE, FIGURE_SIZE)
    canvas.text(GRID - 1, GRID - 1, 99)
    assert canvas.texts == {(GRID - 1, GRID - 1): "99"}
    for column, row, text in ((GRID, 0, "A"), (0, -1, "A"), (0, 0, "abcdef")):
        with pytest.raises(AssertionError, match="is not a cell|does not fit a cell"):
            canvas.text(column, row, text)


def test_noisy_solutions_are_caught_and_their_consequences_recomputed():
    """A wrong answer always has a wrong step, and its first wrong step is not only the last one every time."""
    for family in FAMILIES:
        rng = random.Random(family)
        first_errors = []
        for seed in range(60):
            problem = make_problem(family, seed)
            steps = problem.solve(rng, Noise(misread=0.2, slip=0.2, wrong_plan=0.3))
            truths = problem.check(steps)
            assert StepTruth.UNPARSABLE not in truths, (steps, truths)
            if steps[-1].split("=")[-1] != problem.answer:
                assert StepTruth.WRONG in truths, (problem.id, steps)
                first_errors.append(truths.index(StepTruth.WRONG))
        assert len(set(first_errors)) > 1, family


RIGHT = ("A=47", "A+B=47+58=105", "A+B=105", "B+A=58+47=105", " A = 94 / 2 ", "A=40+3*4-5", "A=2*94/4")
WRONG = ("A=48", "A+B=47+59=106", "A+B=47+58=106")
UNPARSABLE = ("A", "A=", "A=47.0", "Z=47", "A=47 degrees", "A=1/0", "A==47", "", "A=47; rm -rf", "A=4 7", "A=50--3")


def test_the_checker_reads_a_step_as_a_chain_of_equalities():
    for truth, steps in ((StepTruth.RIGHT, RIGHT), (StepTruth.WRONG, WRONG), (StepTruth.UNPARSABLE, UNPARSABLE)):
        for step in steps:
            assert check_step(step, {"A": 47, "B": 58, "A.price": 3}) is truth, step
    assert check_step("A.price=3", {"A.price": 3}) is StepTruth.UNPARSABLE, "a hidden name is not a solution's"


def test_a_step_with_other_operands_is_right_where_all_parts_are_equal():
    assert check_step("A+B=46+59=105", {"A": 47, "B": 58}) is StepTruth.RIGHT


def test_prefix_truth_stays_false_after_the_first_error():
    problem = make_problem("rectangle", 1)
    width, height = problem.facts["width"], problem.facts["height"]
    steps = (f"width={width + 1}", f"height={height}")
    assert problem.check(steps) == (StepTruth.WRONG, StepTruth.RIGHT)
    assert problem.check_prefixes(steps) == (False, False)


def test_dataset_has_the_schema_of_mm_k12():
    rows = load_nano("test", 5)
    assert rows.column_names == [
        *("id", "images", "question", "options", "answer", "answer_type", "subject", "grade", "source", "license"),
        "split_group",
    ]
    figure = rows[0]["images"][0]
    rebuilt = problem_from_id(rows[0]["id"])
    assert np.array_equal(np.asarray(figure), np.asarray(rebuilt.figure()))
    assert rows[0]["answer"] == rebuilt.answer


def test_counts_that_would_never_end_are_refused():
    for count in (0, -1, 20_001):
        with pytest.raises(ValueError, match=f"Found num_problems={count}"):
            nano_problems("train", count)


def test_unknown_family_split_and_id_are_refused():
    with pytest.raises(UnknownNameError, match="Unknown nano family 'circle'.*Choose one of triangle_angle"):
        make_problem("circle", 0)
    with pytest.raises(UnknownNameError, match="Unknown split 'tests' of the nano world. Did you mean 'test'"):
        NanoProblems(3, "tests")
    with pytest.raises(ValueError, match="is not a nano problem's id"):
        problem_from_id("clock-3")
