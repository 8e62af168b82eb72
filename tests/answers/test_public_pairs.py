"""Agreement with adjudicated labels of public model answers; the files lie beside the repository, or are absent."""

import json

import pytest
from support.layout import SHARED

from mmprm_hf.answers import RuleVerifier
from mmprm_hf.data import Verdict

pytestmark = pytest.mark.results


@pytest.mark.parametrize("name", ["answers_pairs.jsonl", "cc_by_sa/answers_pairs_mathvista.jsonl"])
def test_rules_agree_with_people_and_call_nothing_wrong_right(name):
    path = SHARED / "data" / name
    if not path.is_file():
        pytest.skip(f"{name} is not there: shared/ is absent beside the repository")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    num_agreeing, false_positives = 0, []
    for row in rows:
        answer_type = "choice" if row["question_type"] == "multi_choice" else "number"
        verdict = RuleVerifier().verify(
            row["answer_text"], row["gold"], answer_type=answer_type, options=row["options"] or ()
        )
        num_agreeing += verdict == ("correct" if row["label"] else "incorrect")
        if verdict is Verdict.CORRECT and not row["label"]:
            false_positives.append(row["pair_id"])
    assert num_agreeing >= 0.99 * len(rows)  # undecided is disagreement
    assert false_positives == []
