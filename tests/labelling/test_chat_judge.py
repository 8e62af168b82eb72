"""A chat model as step judge: what it is shown, what its replies mean, what failures mean."""

from __future__ import annotations

import asyncio

import pytest

from mmprm_hf.data import Problem, Verdict
from mmprm_hf.engines.chat import ChatChoice, ChatReply
from mmprm_hf.errors import EngineUnavailableError, ProblemInputError, RequestRefusedError
from mmprm_hf.labelling.chat_judge import ChatStepJudge

RIGHT, WRONG, OPEN = Verdict.CORRECT, Verdict.INCORRECT, Verdict.UNDECIDED
SOLUTION = ("a = {1}", "b = 2 \\boxed{0}", "c = 3")


class Chat:
    """Answers with one text, or raises."""

    identity = {"model": "critic"}

    def __init__(self, answer, finish_reason="stop"):
        self.answer, self.finish_reason = answer, finish_reason
        self.asked = []

    async def complete(self, messages, **settings):
        self.asked.append((messages, settings))
        if isinstance(self.answer, Exception):
            raise self.answer
        return ChatReply((ChatChoice(self.answer, self.finish_reason),))


def judge(chat, problem, solutions=(SOLUTION,), **options):
    return asyncio.run(ChatStepJudge(chat, **options).judge_steps(problem, solutions))


@pytest.mark.parametrize(
    ("answer", "verdicts"),
    [
        ("All fine. \\boxed{-1}", (RIGHT, RIGHT, RIGHT)),
        ("Step 1 misreads b. \\boxed{1}", (RIGHT, WRONG, OPEN)),
        ("\\boxed{2} is what I thought, but \\boxed{ 0 }", (WRONG, OPEN, OPEN)),
        ("\\boxed{3}", (OPEN, OPEN, OPEN)),
        ("\\boxed{-2}", (OPEN, OPEN, OPEN)),
        ("step 1 is wrong", (OPEN, OPEN, OPEN)),
        ("", (OPEN, OPEN, OPEN)),
        (RequestRefusedError(413, "too long"), (OPEN, OPEN, OPEN)),
    ],
)
def test_what_a_reply_means(answer, verdicts):
    assert judge(Chat(answer), Problem("p", "q")) == [verdicts]


def test_a_server_that_is_gone_is_no_verdict():
    with pytest.raises(EngineUnavailableError, match="gone"):
        judge(Chat(EngineUnavailableError("the server is gone")), Problem("p", "q"))


def test_a_cut_reply_means_nothing():
    assert judge(Chat("\\boxed{-1}", "length"), Problem("p", "q")) == [(OPEN, OPEN, OPEN)]


def test_it_is_shown_question_figures_and_numbered_steps(figures):
    chat = Chat("\\boxed{-1}")
    problem = Problem("p", "What is {x}?", tuple(figures[:2]))
    assert judge(chat, problem, [SOLUTION, ("d",)], max_new_tokens=77) == [(RIGHT,) * 3, (RIGHT,)]
    (first, settings), _ = chat.asked
    assert settings == {"max_new_tokens": 77, "temperature": 0.0}
    *images, text = first[0]["content"]
    assert [part["image_url"]["url"][:22] for part in images] == ["data:image/png;base64,"] * 2
    assert "What is {x}?" in text["text"]
    assert "[0] a = {1}\n[1] b = 2 \\boxed{0}\n[2] c = 3" in text["text"]
    judge(chat, problem, send_images=False)
    assert isinstance(chat.asked[-1][0][0]["content"], str)


def test_a_missing_figure_is_the_problems_fault(tmp_path):
    with pytest.raises(ProblemInputError, match="'p': its figure .* does not exist"):
        judge(Chat("\\boxed{-1}"), Problem("p", "q", (tmp_path / "none.png",)))


def test_identity_tells_what_verdicts_depend_on():
    first, second = ChatStepJudge(Chat("")), ChatStepJudge(Chat(""), send_images=False)
    assert first.identity != second.identity
    assert first.identity["model"] == {"model": "critic"}
