"""`AnswerReward`: 1.0, 0.0, or None where nobody can say."""

import pickle

import pytest
from support.reward_cases import chat

from mmprm_hf.data import Verdict
from mmprm_hf.rewards import AnswerReward
from mmprm_hf.steps import TAGGED, TaggedFormat


def say(answer):
    return [{"role": "assistant", "content": TAGGED.render(("x = 5",), answer)}]


def test_right_wrong_malformed_and_unknown():
    completions = [say("5"), say("6"), "5", say("5")[0]["content"][:-1], say("5"), say("5"), say("70-75")]
    gold = ["5", "5", "5", "5", None, " ", "72"]
    rewards = AnswerReward()([chat("What is x?")] * 7, completions, answer=gold)
    assert rewards == [1.0, 0.0, 0.0, 0.0, None, None, None]


def test_a_missing_figure_and_an_empty_cell():
    prompt = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is x?"}]}]
    assert AnswerReward()([prompt] * 2, [say("5")] * 2, answer=["5", float("nan")]) == [1.0, None]


def test_choices_other_columns_and_other_tags():
    columns = {"options": [["4", "5"], ["4", "5"]], "answer_type": ["choice"] * 2, "gold": ["B", "B"]}
    reward = AnswerReward(answer_column="gold", name="right")
    assert reward([chat("What is x?")] * 2, [say("(B) 5"), say("A")], **columns) == [1.0, 0.0]
    assert reward.__name__ == "right"
    tags = TaggedFormat("[s]", "[/s]", "[a]", "[/a]")
    text = "[s]x = 5[/s][a]5[/a]"
    assert AnswerReward(step_format=tags)([chat("What is x?")], [text], answer=["5"]) == [1.0]
    assert AnswerReward()([chat("What is x?")], [text], answer=["5"]) == [0.0]


def test_a_verifier_of_ones_own_sees_the_problem():
    class Judge:
        async def judge(self, problem, answer):
            seen.append((problem.question, problem.answer, answer))
            return Verdict.UNDECIDED if answer == "7" else Verdict.CORRECT

    seen = []
    rewards = AnswerReward(Judge())([chat("What is x?")] * 2, [say("5"), say("7")], answer=[5, 5])
    assert rewards == [1.0, None]
    assert seen == [("What is x?", "5", "5"), ("What is x?", "5", "7")]


def test_no_gold_column_is_an_error():
    with pytest.raises(ValueError, match="no column 'answer' of gold answers among 'images', 'solution'"):
        AnswerReward()([chat("What is x?")], [say("5")], images=[None], solution=["5"])


def test_it_pickles():
    reward = pickle.loads(pickle.dumps(AnswerReward()))
    assert reward([chat("What is x?")], [say("$5$")], answer=["5"]) == [1.0]
