"""Which problems a chat model solves without their figure."""

from __future__ import annotations

import asyncio

from mmprm_hf.curation import solved_without_figure
from mmprm_hf.data import Problem
from mmprm_hf.engines.chat import ChatChoice, ChatReply

PROBLEMS = [
    Problem("a", "Solved one", answer="5"),
    Problem("b", "Failed one", answer="6"),
    Problem("c", "Which one is lettered?", answer="B", answer_type="choice", options=("1", "2")),
    Problem("d", "In another language", answer="红色"),  # rules do not translate
]


class Chat:
    """Answers by words of the question, and counts the requests."""

    def __init__(self, name="stub"):
        self.identity, self.num_asked = {"model": name}, 0

    async def complete(self, messages, *, seeds=(0,), temperature=0.0, max_new_tokens=512, **_):
        self.num_asked += 1
        question = messages[0]["content"]
        assert "not shown" in question and (temperature == 0.0) == (tuple(seeds) == (0,))
        answers = {"Solved": "5", "Failed": "7", "another language": "red", "A. 1\nB. 2": "(B)"}
        answer = next(answer for words, answer in answers.items() if words in question)
        return ChatReply(tuple(ChatChoice(f"So.\nAnswer: {answer}", "stop") for _ in seeds))


def test_right_and_judged_answers_are_counted_and_nothing_is_asked_twice(tmp_path):
    def ask(chat):
        return asyncio.run(solved_without_figure(PROBLEMS, chat, tmp_path / "new" / "counts.jsonl"))

    chat = Chat()
    counts = {"a": (4, 4), "b": (0, 4), "c": (4, 4), "d": (0, 0)}
    assert ask(chat) == counts and chat.num_asked == 8  # per problem a greedy answer, and three drawn ones
    path = tmp_path / "new" / "counts.jsonl"
    path.write_bytes(path.read_bytes()[:-9])  # a kill in the middle of a line
    assert ask(chat) == counts and chat.num_asked == 10
    assert ask(chat) == counts and chat.num_asked == 10
    other = Chat("another model")
    ask(other)
    assert other.num_asked == 8
