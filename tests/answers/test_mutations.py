"""A changed digit, sign, relation, case or name is never CORRECT, on golds of public sets; they lie beside, or not."""

import json
import random
import re

import pytest
from support.layout import SHARED

from mmprm_hf.answers import RuleVerifier, clean_answer, read_value

FILES = ("answers_peers/dev.jsonl", "mathvision/problems.jsonl")
SIGNS = {"-": "+", "+": "-", "<": ">", ">": "<", "\\le": "<", "\\ge": ">", "\\cup": "\\cap", "\\sin": "\\cos", "/": "+"}
SPOT = re.compile("|".join(map(re.escape, SIGNS)) + r"|\d|(?<![A-Za-z\\])[a-zA-Z](?![A-Za-z])")
EQUAL_ANYWAY = re.compile(r"boxed|\^\{0\}|\d x 10|\de-|p\.m\.|^\$*f\([a-z]\)=", re.IGNORECASE)
"""Golds of which another form is the same: powers of zero, X and E for x and e, P.M., the name of a variable."""


@pytest.mark.results
def test_a_changed_character_is_never_right():
    paths = [SHARED / "data" / name for name in FILES]
    if not all(path.is_file() for path in paths):
        pytest.skip("the pairs are not there: shared/ is absent beside the repository")
    rows = [json.loads(line) for path in paths for line in path.read_text(encoding="utf-8").splitlines()]
    golds = {row["gold"] if "gold" in row else row["answer"] for row in rows}
    golds = sorted(gold for gold in golds if gold and len(gold) < 50 and read_value(clean_answer(gold)) is not None)
    choose = random.Random(0)
    verify = RuleVerifier().verify
    num_mutations, survivors = 0, []
    for gold in golds:
        for spot in SPOT.finditer(gold):
            old = spot.group()
            digit = str((int(old) + choose.randint(1, 8)) % 10) if old.isdigit() else ""
            new = digit or SIGNS.get(old) or choose.choice([old.swapcase(), "k" if old != "k" else "w"])
            answer = gold[: spot.start()] + new + gold[spot.end() :]
            num_mutations += 1
            if "correct" in (verify(answer, gold), verify(gold, answer)) and not EQUAL_ANYWAY.search(gold):
                survivors.append((gold, answer))
    assert num_mutations > 3000
    assert survivors == []
