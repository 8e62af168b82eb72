"""Asks a chat model to restructure solutions, checks its replies, and asks once more where a check fails.

A server that is gone stops the run and never causes a rejection; the journal keeps what was paid for. The first attempt
is greedy. Imports no torch.
"""

from __future__ import annotations

import asyncio
import dataclasses
import weakref
from collections.abc import Callable, Sequence

from ..data import Problem, content_hash
from ..engines import ChatModel, gather_or_cancel, image_part, message_content, question_parts
from ..errors import RequestRefusedError
from ..models import figures_lead, load_image, split_question
from ..rows import problem_fingerprint
from ..steps import ParsedResponse, read_step_format
from .checks import UNREPAIRABLE, Rejection, check_restructured, check_writable
from .config import CheckConfig, RestructureConfig
from .journal import Reply, ReplyJournal
from .prompt import question_in_prompt, read_reply, write_prompt
from .rows import FreeFormRow, Outcome

RUN_REASONS = {
    "no_question": "the row has no question",
    "no_solution": "the row has no solution",
    "unreadable_figure": "a figure is missing or broken",
    "unreadable_row": "a value has the wrong type, or a figure may not be read",
    "refused": "the server refused the request",
}
"""Reasons of the run, beside those of the checks; nothing is paid for these rows."""
_DEFAULT_CONCURRENCY = 16


async def restructure(
    rows: Sequence[FreeFormRow],
    chat: ChatModel,
    journal: ReplyJournal,
    *,
    config: RestructureConfig | None = None,
    checks: CheckConfig | None = None,
    show_figure: bool = False,
    on_done: Callable[[Outcome], None] | None = None,
) -> list[Outcome]:
    """Return the outcome of each row, in order.

    Args:
        rows: The rows; each is read when its turn comes.
        chat: The model; its `max_concurrency` is the number of rows in progress at a time.
        journal: Replies that it has are not asked for again; new ones are added.
        config: How the model is asked; None takes the defaults.
        checks: Thresholds of the checks; None takes the defaults.
        show_figure: Send the rows' figures along.
        on_done: Called after each row.

    Raises:
        EngineUnavailableError: if the server is gone; the same run resumes from the journal.
        StorageFailedError: if the journal cannot be written.
    """
    if hasattr(chat, "prepare"):
        await chat.prepare()  # only now does its identity name the model
    run = _Run(chat, journal, config or RestructureConfig(), checks or CheckConfig(), show_figure)
    outcomes: list[Outcome | None] = [None] * len(rows)
    indices = iter(range(len(rows)))

    async def work() -> None:
        for index in indices:  # shared: each worker takes the next one
            try:
                row = rows[index]
            except ValueError as error:
                outcome = Outcome(Rejection("unreadable_row", str(error)))
            else:
                outcome = await run.restructure_row(row)
            outcomes[index] = outcome
            if on_done is not None:
                on_done(outcome)

    num_workers = min(len(rows), getattr(chat, "max_concurrency", _DEFAULT_CONCURRENCY))
    await gather_or_cancel(work() for _ in range(num_workers))
    return [outcome for outcome in outcomes if outcome is not None]


@dataclasses.dataclass(frozen=True, eq=False)
class _Run:
    """What all rows share."""

    chat: ChatModel
    journal: ReplyJournal
    config: RestructureConfig
    checks: CheckConfig
    show_figure: bool
    # Of equal rows in progress, the second waits for the first one's reply.
    locks: weakref.WeakValueDictionary[str, asyncio.Lock] = dataclasses.field(
        default_factory=weakref.WeakValueDictionary
    )

    async def restructure_row(self, row: FreeFormRow) -> Outcome:
        has_figure = bool(row.images)
        for name in ("question", "solution"):
            if not getattr(row, name).strip():
                return Outcome(Rejection(f"no_{name}"), has_figure=has_figure)
        try:
            # Read even if they are not shown: a corpus with a broken figure would stop a training run half-way.
            figures = await asyncio.to_thread(lambda: [load_image(image) for image in row.images])
        except ValueError as error:
            return Outcome(Rejection("unreadable_figure", str(error)), has_figure=has_figure)
        try:
            problem = Problem(row.id, row.question, tuple(figures) if self.show_figure else (), options=row.options)
            parts = split_question(row.question, len(row.images))  # the corpus shows them in any case
            if self.show_figure:  # otherwise placeholders are text to the model that is asked
                question_parts(dataclasses.replace(problem, question=question_in_prompt(problem)))
        except ValueError as error:
            return Outcome(Rejection("unreadable_row", str(error)), has_figure=has_figure)
        text = write_prompt(problem, row.solution, bool(problem.images))
        fingerprint = await asyncio.to_thread(problem_fingerprint, text, problem.images)
        rejections: list[Rejection] = []
        replies: list[Reply] = []
        while len(rejections) < self.config.max_attempts:
            try:
                key, reply = await self.ask(problem, text, fingerprint, len(rejections))
            except RequestRefusedError as error:
                rejections.append(Rejection("refused", str(error)))
                break
            replies.append(reply)
            parsed = read_reply(reply.text, reply.finish_reason)
            rejection = await self.check(row, reply, parsed)
            if rejection is None:
                steps_hash = content_hash(list(parsed.steps), parsed.answer)
                counts = (len(replies), len(parsed.steps), steps_hash, *_tokens(replies))
                return Outcome(None, key, has_figure, *counts, not figures_lead(parts))
            rejections.append(rejection)
            if rejection.reason in UNREPAIRABLE:
                break
        first, *later = rejections
        detail = "; then ".join([first.detail, *(rejection.reason for rejection in later)])
        return Outcome(Rejection(first.reason, detail), "", has_figure, len(replies), 0, "", *_tokens(replies))

    async def ask(self, problem: Problem, text: str, fingerprint: str, attempt: int) -> tuple[str, Reply]:
        """The reply to one attempt and its key, a hash of everything that the reply depends on."""
        temperature = self.config.temperature if attempt else 0.0
        max_new_tokens = self.config.max_new_tokens
        key = content_hash(fingerprint, self.chat.identity, temperature, attempt, max_new_tokens, length=24)
        async with self.locks.setdefault(key, asyncio.Lock()):
            reply = self.journal.get(key)
            if reply is None:
                figures = await asyncio.to_thread(lambda: [image_part(image) for image in problem.images])
                content = message_content(text, problem, figures, question_in_prompt(problem)) if figures else text
                completion = await self.chat.complete(
                    [{"role": "user", "content": content}],
                    seeds=(attempt,),
                    temperature=temperature,
                    max_new_tokens=max_new_tokens,
                )
                (choice,) = completion.choices
                reply = Reply(choice.text, choice.finish_reason, completion.num_prompt_tokens, choice.num_tokens)
                self.journal.add(key, reply)
        return key, reply

    async def check(self, row: FreeFormRow, reply: Reply, parsed: ParsedResponse) -> Rejection | None:
        """The checks, in a thread, because formulas take their time; and whether the steps can be written."""
        rejection = await asyncio.to_thread(
            check_restructured,
            row.solution,
            parsed,
            row.answer,
            question=row.question,
            answer_type=row.answer_type,
            options=row.options,
            config=self.checks,
        )
        if rejection is None:
            return check_writable(parsed, read_step_format(self.config.step_format))
        if rejection.reason == "format" and reply.finish_reason != "stop":
            return Rejection("format", f"cut off at {reply.tokens_out} tokens (max_new_tokens); {rejection.detail}")
        return rejection


def _tokens(replies: Sequence[Reply]) -> tuple[int, int]:
    return sum(reply.tokens_in for reply in replies), sum(reply.tokens_out for reply in replies)
