"""recipes/smollm2: solutions state the generator's answer in plain words, and splits share no facts."""

import re
import sys
from types import SimpleNamespace

import pytest
from support.layout import import_recipe

from mmprm_hf.answers import RuleVerifier, extract_answer
from mmprm_hf.data import Verdict

problems = import_recipe("smollm2", "problems")
LINES = "He has 6-5=1 letter\nHe writes 1*5=5 pages\n#### 5"


def test_a_solution_is_paragraphs_and_a_sentence_with_the_answer():
    solution = problems.plain_solution(LINES, "5")
    assert solution.split("\n\n") == ["He has 6-5=1 letter", "He writes 1*5=5 pages", "The answer is 5."]
    assert extract_answer(solution) == "5"


def test_a_solution_that_states_another_answer_is_refused():
    with pytest.raises(ValueError, match="ends in '#### 5', but the answer is '6'"):
        problems.plain_solution(LINES, "6")


def test_facts_are_the_template_and_its_numbers():
    assert problems.facts(3, "Ann has 6 cats and 2.5 kg.") == problems.facts(3, "Bob has 6 dogs and 2.5 kg.")
    assert problems.facts(3, "Ann has 6 cats.") != problems.facts(10, "Ann has 6 cats.")
    assert problems.facts(3, "Ann has 6 cats.") != problems.facts(3, "Ann has 7 cats.")


class FewFacts(list):
    """A generator whose problems have one of 50 numbers, so that splits would share most of their facts."""

    def __init__(self, name, seed, size):
        self.task_indices = [
            (*problems.TEMPLATES, 1000)[(seed + i) % (len(problems.TEMPLATES) + 1)] for i in range(size)
        ]
        super().__init__(self._entry((seed + i // 8) % 50) for i in range(size))

    @staticmethod
    def _entry(number):
        metadata = {"answer_cot": f"{number} + 0 = {number}\n#### {number}"}
        return {"question": f"What is {number}?{problems.ENDING}", "answer": str(number), "metadata": metadata}


def test_splits_share_no_facts_and_have_as_many_problems_of_each_template(monkeypatch):
    monkeypatch.setitem(sys.modules, "reasoning_gym", SimpleNamespace(create_dataset=FewFacts))
    count = len(problems.TEMPLATES)
    splits = problems.make_splits({"heldout": 4 * count, "label": 4 * count, "train": 4 * count})
    rows = [row for rows in splits.values() for row in rows]
    assert {name: len(rows) for name, rows in splits.items()} == dict.fromkeys(splits, 4 * count)
    assert len({(row["template"], row["answer"]) for row in rows}) == len({row["id"] for row in rows}) == 12 * count
    assert not any(problems.ENDING in row["question"] for row in rows)
    for own in splits.values():
        assert sorted(row["template"] for row in own) == sorted(problems.TEMPLATES * 4)
    with pytest.raises(ValueError, match="a template has too few facts"):
        problems.make_splits({"heldout": 60 * count})


def test_seeds_of_splits_never_meet():
    ranges = sorted((problems.SEEDS[name], 200 + 40 * size) for name, size in problems.SPLITS.items())
    assert all(first + size < second for (first, size), (second, _) in zip(ranges, ranges[1:], strict=False))


def test_the_generators_own_solutions_are_right_in_every_line():
    pytest.importorskip("reasoning_gym", reason="reasoning_gym lies in an environment of its own: recipes/smollm2")
    verifier = RuleVerifier()
    for row in problems.generated(first_seed=9_000_000, size=2_000):
        assert verifier.verify(extract_answer(row["solution"]), row["answer"]) is Verdict.CORRECT
        for line in row["solution"].split("\n\n"):
            for left, right in equations(line):
                assert left == pytest.approx(right, abs=1e-9), row["solution"]  # a sum of a few decimals


def equations(line):
    """The two sides of every "expression = number" in a line, words and currencies left out."""
    plain = re.sub(r"/ ?[a-z]+", "", line)
    plain = re.sub(r"[^0-9+\-*/=x.() ]|(?<![0-9 ])x|\.(?!\d)", " ", plain).replace("x", "*")
    for left, right in re.findall(r"((?:\d[\d.]*[ ]*[-+*/][ ]*)+\d[\d.]*)[ ]*=[ ]*(\d[\d.]*)", plain):
        yield eval(left), float(right)  # digits and operators only
