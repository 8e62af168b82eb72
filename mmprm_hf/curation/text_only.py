"""Which problems a model solves without their figure: answers of a chat model that is shown the text alone.

Counts are appended to a file as they come, so that a run that was stopped asks nothing twice.
"""

from __future__ import annotations

import asyncio
import string
from collections.abc import Sequence
from pathlib import Path

from ..answers import RuleVerifier, extract_answer
from ..data import Problem, Verdict, content_hash
from ..engines import ChatModel, gather_or_cancel
from ..files import append_line, open_log, read_records, sealed

_PROMPT = """\
Solve the problem. It came with a figure, which is not shown; if the text alone does not settle the answer, say so. \
End with a line "Answer: " and the answer alone{letter}.

{question}"""
_NUM_SAMPLES = 4  # per problem: one greedy, the others at temperature 1
_MAX_NEW_TOKENS = 1024
_MAX_IN_FLIGHT = 32  # problems asked at a time


async def solved_without_figure(problems: Sequence[Problem], chat: ChatModel, path: Path) -> dict[str, tuple[int, int]]:
    """Return right answers and judged answers, of four, by problem id.

    Args:
        problems: Problems, of which only the texts are shown.
        chat: The model.
        path: JSON-lines file with a line per problem asked. What it has is not asked again if question, gold answer,
            options, model and prompt are the same.

    Raises:
        EngineUnavailableError: if the server is gone for good; what it has answered is kept.
    """
    open_log(path)
    counts = {row["key"]: (row["num_right"], row["num_judged"]) for row in read_records(path, "key")}
    slots, verifier = asyncio.Semaphore(_MAX_IN_FLIGHT), RuleVerifier()

    async def ask(problem: Problem) -> tuple[int, int]:
        content = [problem.question, problem.answer, list(problem.options)]
        key = content_hash(content, chat.identity, _NUM_SAMPLES, _MAX_NEW_TOKENS, _PROMPT)
        if key not in counts:
            async with slots:
                texts = await _sample(problem, chat)
            verdicts = [await verifier.judge(problem, extract_answer(text)) for text in texts]
            num_right, num_undecided = verdicts.count(Verdict.CORRECT), verdicts.count(Verdict.UNDECIDED)
            counts[key] = num_right, len(verdicts) - num_undecided
            row = {"key": key, "id": problem.id, "num_right": counts[key][0], "num_judged": counts[key][1]}
            append_line(path, sealed(row))
        return counts[key]

    return dict(zip([problem.id for problem in problems], await gather_or_cancel(map(ask, problems)), strict=True))


async def _sample(problem: Problem, chat: ChatModel) -> list[str]:
    """Texts of the model: one greedy, the others drawn."""
    pairs = zip(string.ascii_uppercase, problem.options, strict=False)
    question = "\n".join([problem.question, *(f"{letter}. {text}" for letter, text in pairs)]).rstrip()
    letter = " (of a choice its letter)" if problem.options else ""
    messages = [{"role": "user", "content": _PROMPT.format(question=question, letter=letter)}]
    replies = [await chat.complete(messages, max_new_tokens=_MAX_NEW_TOKENS)]
    seeds = range(1, _NUM_SAMPLES)
    replies.append(await chat.complete(messages, seeds=seeds, temperature=1.0, max_new_tokens=_MAX_NEW_TOKENS))
    return [choice.text for reply in replies for choice in reply.choices]
