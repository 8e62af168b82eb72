"""How a prefix opens a turn at a server whose tokenizer joins line breaks at the end of a text, as GPT-2's do."""

from __future__ import annotations

import asyncio
import re

from mmprm_hf.data import Problem
from mmprm_hf.engines import EndpointEngine, RolloutRequest, SamplingConfig
from mmprm_hf.engines.chat import ChatChoice, ChatReply
from mmprm_hf.steps import NUMBERED, PARAGRAPHS

PROBLEM = Problem("p", "How many apples are there?")


class JoiningChat:
    """Answers one text after each opened turn, and cuts turns as GPT-2 does: line breaks join at a text's end only."""

    identity = {"model": "joining"}

    def __init__(self, text):
        self.text, self.turns = text, []

    async def complete(self, messages, *, seeds=(0,), **options):
        is_open = options.get("continue_final_message", False)
        if is_open:
            self.turns.append(messages[-1]["content"])
        num_tokens = len(self._ids(messages[-1]["content"])) + (0 if is_open else 4)
        return ChatReply(tuple(ChatChoice(self.text, "stop", 3, "") for _ in seeds), num_tokens)

    async def tokenize(self, messages):
        return self._ids(messages[-1]["content"])

    @staticmethod
    def _ids(text):
        return [hash(token) for token in re.findall(r"\n+\Z|\s|\w+|[^\w\s]", text)]


def continued(text, step_format, prefix):
    chat = JoiningChat(text)
    engine = EndpointEngine(chat, sampling=SamplingConfig(), step_format=step_format, prefill="continue")
    ((rollout,),) = asyncio.run(engine.generate([RolloutRequest(PROBLEM, prefix)]))
    return rollout, chat.turns[-1]


def test_a_turn_ends_where_the_policys_tokens_do_and_the_rest_is_taken_off():
    rollout, turn = continued("\nSo there are 5.\n\nAnswer: 5", PARAGRAPHS, ("Add 2 and 3.",))
    assert turn == "Add 2 and 3.\n"
    assert (rollout.steps, rollout.answer, rollout.complete) == (("So there are 5.",), "5", True)


def test_what_changes_the_last_step_of_the_prefix_is_no_sample_of_it():
    rollout, _ = continued("So there are 5.\n\nAnswer: 5", PARAGRAPHS, ("Add 2 and 3.",))
    assert (rollout.complete, rollout.finish_reason) == (False, "other_prefix")


def test_a_numbered_step_on_the_next_line_leaves_the_prefix_as_it_is():
    rollout, turn = continued("Step 2: So there are 5.\nAnswer: 5", NUMBERED, ("Add 2 and 3.",))
    assert turn == "Step 1: Add 2 and 3.\n"
    assert (rollout.steps, rollout.answer, rollout.complete) == (("So there are 5.",), "5", True)
    rollout, _ = continued("and 4.\n\nStep 2: So there are 9.\nAnswer: 9", NUMBERED, ("Add 2 and 3.",))
    assert (rollout.complete, rollout.finish_reason) == (False, "other_prefix")
