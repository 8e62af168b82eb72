"""recipes/smollm2: every line of a solution is right, it ends in the gold answer, and splits share no arithmetic."""

import json
import re
import sys
from types import SimpleNamespace

import pytest
import yaml
from support.layout import ROOT, import_recipe

from mmprm_hf import PRMConfig
from mmprm_hf.answers import RuleVerifier, extract_answer
from mmprm_hf.data import Verdict
from mmprm_hf.engines import SamplingConfig
from mmprm_hf.labelling import SEARCHES
from mmprm_hf.stages import read_config
from mmprm_hf.training import LoraOptions

problems = import_recipe("smollm2", "problems")
first_errors = import_recipe("smollm2", "first_errors")
report = import_recipe("smollm2", "report")
LEGS = {"snake": 0, "hen": 2, "dog": 4, "ant": 6}


def check_lines(solution):
    """Every product and sum of a solution is right, and sums go on from line to line."""
    total = 0
    for line in solution.split("\n\n")[:-1]:
        equations = re.findall(r"(\d+) ([*+]) (\d+) = (\d+)", line)
        assert [operator for _, operator, _, _ in equations] == (["*", "+"] if total or "so far" in line else ["*"])
        for left, operator, right, result in equations:
            assert int(result) == (int(left) * int(right) if operator == "*" else int(left) + int(right)), line
        assert len(equations) == 1 or int(equations[1][0]) == total, line
        total = int(equations[-1][-1])
    assert extract_answer(solution) == str(total)


def test_a_solution_has_a_paragraph_for_every_animal_and_ends_in_the_answer():
    solution = problems.worded_solution({"dog": 3, "ant": 1, "snake": 2}, LEGS)
    assert len(solution.split("\n\n")) == 4
    assert "1 ant has 1 * 6 = 6 legs, so far 12 + 6 = 18." in solution
    assert solution.endswith("\n\nThe answer is 18.")
    check_lines(solution)


def test_arithmetic_ignores_names_and_order():
    legs = {**LEGS, "cat": 4}
    assert problems.arithmetic({"dog": 3, "ant": 1}, legs) == problems.arithmetic({"ant": 1, "cat": 3}, legs)
    assert problems.arithmetic({"dog": 3}, legs) != problems.arithmetic({"ant": 3}, legs)


class FewProblems(list):
    """A generator of 30 problems over and over, so that splits would share most of them."""

    def __init__(self, name, seed, size, **difficulty):
        super().__init__(self._entry((seed + 7 * i) % 30) for i in range(size))

    @staticmethod
    def _entry(number):
        animals = {"dog": number + 1, "hen": 1}
        return {"question": f"Problem {number}?\n", "answer": str(4 * number + 6), "metadata": {"animals": animals}}


def test_splits_share_no_arithmetic(monkeypatch):
    monkeypatch.setitem(sys.modules, "reasoning_gym", SimpleNamespace(create_dataset=FewProblems))
    monkeypatch.setitem(sys.modules, "reasoning_gym.arithmetic.leg_counting", SimpleNamespace(ANIMALS=LEGS))
    splits = problems.make_splits({"heldout": 10, "label": 8, "train": 12})
    rows = [row for rows in splits.values() for row in rows]
    assert {name: len(rows) for name, rows in splits.items()} == {"heldout": 10, "label": 8, "train": 12}
    assert len({row["question"] for row in rows}) == len({row["id"] for row in rows}) == 30
    for row in rows:
        check_lines(row["solution"])
        assert extract_answer(row["solution"]) == row["answer"]
    with pytest.raises(ValueError, match="Found 30 problems for 'train', not 31"):
        problems.make_splits({"train": 31})


def test_seeds_of_splits_never_meet():
    ranges = sorted((problems.SEEDS[name], 10 * size) for name, size in problems.SPLITS.items())
    assert all(first + size < second for (first, size), (second, _) in zip(ranges, ranges[1:], strict=False))


def test_the_generators_answers_are_those_of_the_solutions():
    pytest.importorskip("reasoning_gym", reason="reasoning_gym lies in an environment of its own: recipes/smollm2")
    verifier = RuleVerifier()
    for row, _ in problems.generated(first_seed=9_000_000, size=200):
        check_lines(row["solution"])
        assert verifier.verify(extract_answer(row["solution"]), row["answer"]) is Verdict.CORRECT


def test_the_configurations_have_options_that_exist():
    folder = ROOT / "recipes" / "smollm2"
    for name, classes in (
        ("omegaprm", (SEARCHES["omegaprm"][1], SamplingConfig)),
        ("flat_mc", (SEARCHES["flat_mc"][1], SamplingConfig)),
        ("prm", (PRMConfig, LoraOptions)),
    ):
        assert all(read_config(folder / f"{name}.yaml", *classes)), name
    budgets = {name: yaml.safe_load((folder / f"{name}.yaml").read_text()) for name in ("omegaprm", "flat_mc")}
    for option in ("max_rollouts", "num_rollouts", "max_new_tokens"):
        assert budgets["omegaprm"][option] == budgets["flat_mc"][option], "the two searches have one budget"


LINES = {
    "3 dogs have 3 * 4 = 12 legs.": "",
    "3 dogs have 3 * 6 = 18 legs.": "legs",
    "3 dogs have 4 * 4 = 16 legs.": "copied number",
    "3 dogs have 3 * 4 = 14 legs.": "product",
    "1 ant has 1 * 6 = 6 legs, so far 12 + 6 = 18.": "",
    "1 ant has 1 * 6 = 6 legs, so far 12 + 6 = 19.": "sum",
    "1 ant has 1 * 6 = 6 legs, so far 14 + 6 = 20.": "copied number",
    "The answer is 18.": None,
}


def test_the_first_error_of_a_candidate_is_named(tmp_path):
    for line, expected in LINES.items():
        assert first_errors.fault(line, {"dogs": 4, "ant": 6}, 12 if "so far" in line else 0)[0] == expected, line
    solution = problems.worded_solution({"dog": 3, "ant": 1}, LEGS)
    steps = solution.split("\n\n")
    wrong = [steps[0], steps[1].replace("18", "19"), "The answer is 19."]
    rows = {
        "problems": [{"id": "p", "solution": solution}],
        "candidates": [
            {
                "problem_id": "p",
                "candidates": [
                    {"steps": steps, "step_scores": [0.9, 0.8, 0.7]},
                    {"steps": wrong, "step_scores": [0.6, 0.2, 0.1]},
                    {"steps": ["?"], "step_scores": None},
                ],
            }
        ],
    }
    for name, written in rows.items():
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in written))
    scores = first_errors.scores_by_fault(tmp_path / "problems", tmp_path / "candidates")
    assert scores == {"": [0.9, 0.8, 0.6], "sum": [0.2]}


def test_the_readme_says_what_the_prm_sees():
    folder = ROOT / "recipes" / "smollm2"
    found = json.loads((folder / "results" / "first_errors.json").read_text(encoding="utf-8"))["first_wrong_steps"]
    words = " ".join((folder / "README.md").read_text(encoding="utf-8").split())
    assert f"wrong sums ({found['sum']['number']}) and products ({found['product']['number']})" in words
    assert {round(100 * found[name]["auroc"]) for name in ("sum", "product")} == {
        78
    } and "in 78 % of the pairs" in words


def test_the_readme_has_the_tables_of_the_results():
    folder = ROOT / "recipes" / "smollm2"
    readme = (folder / "README.md").read_text(encoding="utf-8")
    dev = json.loads((folder / "results" / "dev.json").read_text(encoding="utf-8"))
    low, high = dev["interval"]
    assert report.percent({"value": dev["pass_at_1"], "ci_low": low, "ci_high": high}).replace(" [", " % [") in readme
    paths = [folder / "results" / f"{name}.json" for name in ("omegaprm", "flat_mc")]
    results = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in paths if path.exists()}
    assert not results or report.table(results) in readme
