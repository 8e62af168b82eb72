"""Which problems a model solves without their figure: answers of a chat model that is shown the text alone.

Answers are kept in a file as they come, so that a run that was stopped asks nothing twice.
"""

from __future__ import annotations

import asyncio
import string
from collections.abc import Sequence
from pathlib import Path

from ..answers import RuleVerifier, extract_answer
from ..data import Problem, Verdict, content_hash
from ..engines import ChatModel
from ..files import append_line, drop_torn_line, iter_jsonl

PROMPT = """\
Solve the problem. It came with a figure, which is not shown; if the text alone does not settle the answer, say so. \
End with a line "Answer: " and the answer alone{letter}.

{question}"""


async def solved_without_figure(
    problems: Sequence[Problem],
    chat: ChatModel,
    path: Path,
    *,
    num_samples: int = 4,
    max_new_tokens: int = 1024,
    max_in_flight: int = 32,
) -> dict[str, tuple[int, int]]:
    """Right answers and judged answers by problem id.

    Args:
        problems: Without figures.
        chat: The model.
        path: JSON lines, one per problem asked; those there are not asked again if question, gold answer, options,
            model and number of samples are the same.
        num_samples: Answers per problem; the first one greedy, the others at temperature 1.
        max_new_tokens: Of an answer.
        max_in_flight: Problems asked at a time.

    Raises:
        EngineUnavailableError: if the server is gone for good; what it has answered is kept.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    drop_torn_line(path)
    known = {row["key"]: (row["num_right"], row["num_judged"]) for row in iter_jsonl(path)}
    slots = asyncio.Semaphore(max_in_flight)

    async def ask(problem: Problem) -> tuple[int, int]:
        shown = [problem.question, problem.answer, list(problem.options)]
        key = content_hash(shown, chat.identity, num_samples, max_new_tokens, PROMPT)
        if key not in known:
            async with slots:
                texts = await _answers(problem, chat, num_samples, max_new_tokens)
            answers = [extract_answer(text) for text in texts]
            verdicts = [await RuleVerifier().judge(problem, answer) for answer in answers]
            known[key] = (
                sum(verdict is Verdict.CORRECT for verdict in verdicts),
                sum(verdict is not Verdict.UNDECIDED for verdict in verdicts),
            )
            row = {"key": key, "id": problem.id, "num_right": known[key][0], "num_judged": known[key][1]}
            append_line(path, row)
        return known[key]

    found = await asyncio.gather(*(ask(problem) for problem in problems))
    return {problem.id: counts for problem, counts in zip(problems, found, strict=True)}


async def _answers(problem: Problem, chat: ChatModel, num_samples: int, max_new_tokens: int) -> list[str]:
    """Texts of the model: one greedy, the others drawn."""
    options = "\n".join(
        f"{letter}. {text}" for letter, text in zip(string.ascii_uppercase, problem.options, strict=False)
    )
    question = f"{problem.question}\n{options}".rstrip()
    letter = " (of a choice its letter)" if problem.options else ""
    messages = [{"role": "user", "content": PROMPT.format(question=question, letter=letter)}]
    replies = [await chat.complete(messages, max_new_tokens=max_new_tokens)]
    if num_samples > 1:
        seeds = range(1, num_samples)
        replies.append(await chat.complete(messages, seeds=seeds, temperature=1.0, max_new_tokens=max_new_tokens))
    return [choice.text for reply in replies for choice in reply.choices]


__all__ = ["solved_without_figure"]
