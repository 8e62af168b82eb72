"""Judges of steps: what a chat model is asked, what its replies mean, what its failures mean; a PRM as the judge."""

from __future__ import annotations

import asyncio

import pytest

from mmprm_hf.data import Candidate, Problem, Verdict
from mmprm_hf.engines.chat import ChatChoice, ChatReply
from mmprm_hf.errors import EngineUnavailableError, ProblemInputError, RequestRefusedError
from mmprm_hf.labelling import ChatStepJudge, PRMStepJudge
from mmprm_hf.scoring.scorer import PRMScorer

CORRECT, INCORRECT, UNDECIDED = Verdict.CORRECT, Verdict.INCORRECT, Verdict.UNDECIDED
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


def test_the_last_boxed_number_names_the_first_wrong_step():
    verdicts = {
        "All fine. \\boxed{-1}": (CORRECT, CORRECT, CORRECT),
        "Step 1 misreads b. \\boxed{1}": (CORRECT, INCORRECT, UNDECIDED),
        "\\boxed{2} is what I thought, but \\boxed{ 0 }": (INCORRECT, UNDECIDED, UNDECIDED),
    }
    for reply, expected in verdicts.items():
        assert judge(Chat(reply), Problem("p", "q")) == [expected], reply


def test_a_reply_that_names_no_step_of_the_solution_a_cut_one_and_a_refusal_leave_it_undecided():
    for reply in ("\\boxed{3}", "\\boxed{-2}", "step 1 is wrong", "", RequestRefusedError(413, "too long")):
        assert judge(Chat(reply), Problem("p", "q")) == [(UNDECIDED,) * 3], reply
    assert judge(Chat("\\boxed{-1}", "length"), Problem("p", "q")) == [(UNDECIDED,) * 3]


def test_a_server_that_is_gone_is_not_a_verdict():
    with pytest.raises(EngineUnavailableError, match="gone"):
        judge(Chat(EngineUnavailableError("the server is gone")), Problem("p", "q"))


def test_the_model_reads_question_figures_and_numbered_steps(figures):
    chat = Chat("\\boxed{-1}")
    problem = Problem("p", "What is {x}?", tuple(figures[:2]))
    assert judge(chat, problem, [SOLUTION, ("d",)], max_new_tokens=77) == [(CORRECT,) * 3, (CORRECT,)]
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


def test_the_identity_contains_all_that_verdicts_depend_on():
    first, second = ChatStepJudge(Chat("")), ChatStepJudge(Chat(""), send_images=False)
    assert first.identity != second.identity
    assert first.identity["model"] == {"model": "critic"}


def test_a_prm_is_a_judge_whose_thresholds_leave_the_scores_between_them_undecided(tiny_prm_dir, figures):
    scorer = PRMScorer.from_pretrained(tiny_prm_dir)
    problem = Problem("p", "What is x?", (figures[0],))
    solutions = [("a", "b"), ("a", "c", "d")]
    scored = scorer.score(problem, [Candidate(steps=solution) for solution in solutions])
    scores = sorted({score for candidate in scored for score in candidate.step_scores})
    low, high = scores[1], scores[-2]
    prm_judge = PRMStepJudge(scorer, correct_above=high, incorrect_below=low)
    verdicts = asyncio.run(prm_judge.judge_steps(problem, solutions))
    expected = [
        tuple(CORRECT if s > high else INCORRECT if s < low else UNDECIDED for s in candidate.step_scores)
        for candidate in scored
    ]
    assert verdicts == expected
    assert {CORRECT, INCORRECT, UNDECIDED} == {verdict for row in verdicts for verdict in row}
    with pytest.raises(ValueError, match=r"incorrect_below=0\.6 and correct_above=0\.5"):
        PRMStepJudge(scorer, correct_above=0.5, incorrect_below=0.6)
