"""The imperfect corpus that the nano policy imitates: solutions as people write them, errors included.

Solutions from the wild hold slips (spread thinly everywhere) and misconceptions (wrong in the same way each time). A
policy that imitates them samples both. The majority outvotes slips but not common misconceptions: only a PRM helps.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from mmprm_hf.nano import NanoProblem, Noise, nano_problems
from mmprm_hf.steps import TAGGED

SLIPS = {"misread": 0.04, "slip": 0.04}
RARE_MISCONCEPTION = 0.06
COMMON_MISCONCEPTIONS = {"right_corner": 0.55, "trapezoid": 0.55, "number_line": 0.55}


def corpus_noise(family: str) -> Noise:
    """Return how often the corpus errs in a family, per value read, per result and per solution."""
    return Noise(**SLIPS, wrong_plan=COMMON_MISCONCEPTIONS.get(family, RARE_MISCONCEPTION))


def corpus_solution(problem: NanoProblem, rng: random.Random) -> str:
    """Return one tagged solution of the corpus; its answer is what its last step states."""
    steps = problem.solve(rng, corpus_noise(problem.family))
    return TAGGED.render(steps, steps[-1].split("=")[-1])


def corpus_rows(num_problems: int, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Yield rows ``prompt, completion, images`` of train problems in TRL's conversational form."""
    rng = random.Random(f"corpus/{seed}")
    for problem in nano_problems("train", num_problems, seed):
        content = [{"type": "image"}, {"type": "text", "text": problem.question}]
        solution = [{"type": "text", "text": corpus_solution(problem, rng)}]
        yield {
            "prompt": [{"role": "user", "content": content}],
            "completion": [{"role": "assistant", "content": solution}],
            "images": [problem.figure()],
        }
