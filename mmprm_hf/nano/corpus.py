"""The imperfect corpus that the nano policy imitates: solutions as people write them, errors included.

A corpus of solutions from the wild holds slips (spread thinly everywhere) and misconceptions (wrong in the same way
again and again). A policy that imitates it samples both. Slips are outvoted by majority; common misconceptions are
not: there only a model trained on outcomes, a PRM, helps. Rates stand here, in the open.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from ..steps import render_solution
from .solver import Noise
from .world import NanoProblem, problems

SLIPS = {"misread": 0.04, "slip": 0.04}
RARE_MISCONCEPTION = 0.06
COMMON_MISCONCEPTIONS = {"right_corner": 0.55, "trapezoid": 0.55, "number_line": 0.55}


def corpus_noise(family: str) -> Noise:
    """How often the corpus errs in a family, per value read, per result and per solution."""
    return Noise(**SLIPS, wrong_plan=COMMON_MISCONCEPTIONS.get(family, RARE_MISCONCEPTION))


def corpus_solution(problem: NanoProblem, rng: random.Random) -> str:
    """One tagged solution of the corpus; its answer is what its last step states."""
    steps = problem.solve(rng, corpus_noise(problem.family))
    return render_solution(steps, steps[-1].split("=")[-1])


def corpus_rows(num_problems: int, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Rows ``prompt, completion, images`` (conversational, as TRL's ``SFTTrainer`` takes them) over train problems."""
    rng = random.Random(f"corpus/{seed}")
    for problem in problems("train", num_problems, seed):
        content = [{"type": "image"}, {"type": "text", "text": problem.question}]
        solution = [{"type": "text", "text": corpus_solution(problem, rng)}]
        yield {
            "prompt": [{"role": "user", "content": content}],
            "completion": [{"role": "assistant", "content": solution}],
            "images": [problem.figure()],
        }
