"""The process in which math-verify runs; `formula_pool` starts it and nothing imports it.

One JSON line in, one out. Time limits use a signal, which works in a main thread only; here it always is the main
thread. A signal cannot stop one huge multiplication, which holds the interpreter: the parent then kills the process,
and where the parent is gone, a limit on processor time ends it.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
import resource
import signal
import sys
from typing import Any

MEMORY_LIMIT_BYTES = 4 * 2**30
"""Towers of powers must not use up the machine's memory; sympy itself needs a few hundred MB of addresses."""


class _OutOfTime(BaseException):
    """Raised by the alarm; not an Exception, so that no handler inside sympy takes it for one of its own errors."""


def verify_formula(answer: str, gold: str, timeout_seconds: float) -> str:
    """Return "correct", "incorrect" or "undecided" (an unreadable gold, no time left, an error inside math-verify)."""
    from math_verify import verify

    # One alarm of our own: those of math-verify take whole seconds per call, and it reports them as False or [].
    signal.setitimer(signal.ITIMER_REAL, timeout_seconds)
    try:
        gold_parsed, answer_parsed = _parse(gold), _parse(answer)
        if not gold_parsed:
            return "undecided"
        return "correct" if verify(gold_parsed, answer_parsed, timeout_seconds=None) else "incorrect"
    except _OutOfTime:
        return "undecided"
    except (ArithmeticError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError, ValueError):
        return "undecided"  # what sympy and the parser raise on text that is not a formula
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


@functools.lru_cache(maxsize=2048)  # an answer is compared with all options, a gold with all answers
def _parse(text: str) -> list[Any]:
    from math_verify import parse

    return parse(f"${text}$", fallback_mode="no_fallback", parsing_timeout=None)


def _raise_out_of_time(*_: object) -> None:
    raise _OutOfTime


def main() -> None:
    """Answer questions until standard input closes."""
    # Answers have their own descriptor: what libraries print cannot get between them.
    questions, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb", buffering=0)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the parent decides what it means
    signal.signal(signal.SIGALRM, _raise_out_of_time)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # ends the process even inside one long multiplication
    logging.disable(logging.CRITICAL)
    with contextlib.suppress(ValueError, OSError):  # macOS has no limit on addresses
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT_BYTES, resource.getrlimit(resource.RLIMIT_AS)[1]))
    verify_formula("\\sqrt{8}", "2\\sqrt{2}", 60)  # the first call builds the tables of the parser and of sympy
    answers.write(b'{"ready": true}\n')
    for line in questions:
        question = json.loads(line)
        signal.setitimer(signal.ITIMER_PROF, question["timeout_seconds"] + 2)
        verdict = verify_formula(question["answer"], question["gold"], question["timeout_seconds"])
        signal.setitimer(signal.ITIMER_PROF, 0)
        answers.write(json.dumps({"id": question["id"], "verdict": verdict}).encode() + b"\n")


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        main()
    sys.stdout = sys.stderr = None  # nothing is left to flush
