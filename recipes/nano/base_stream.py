"""The problems that the base is pretrained on: an endless stream, of which a step of training is a pure function.

`pretrain_base.py` trains on it; `twins.py` walks it to count what the base has seen of other problems.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator, Sequence

from mmprm_hf.nano import FAMILIES, NanoProblem, Noise, make_problem
from mmprm_hf.nano.solver import write_solution

NUM_STEPS, NUM_JUDGE_STEPS = 4_800, 650  # of run.sh: the base, and what makes the judge of it
FAVOURED = ("clock", "pictogram", "number_line", "bar_chart", "grid_path")  # drawn three times as often for the judge


@dataclasses.dataclass(frozen=True)
class Sample:
    """One problem of a training step.

    Args:
        problem: The problem.
        style_seed: Of the figure's style.
        solutions: Steps in pieces of the right solution and of two noisy ones.
        is_written_out: Whether the right solution is also trained on as tagged text.
    """

    problem: NanoProblem
    style_seed: int
    solutions: list
    is_written_out: bool


def families(favoured: Sequence[str] = ()) -> list[str]:
    """Families to draw from; a favoured one stands in it three times."""
    return [*FAMILIES, *favoured, *favoured]


def samples(step: int, batch_size: int, seed: int, names: Sequence[str]) -> Iterator[Sample]:
    """The samples of one training step."""
    rng = random.Random(f"pretrain/{seed}/{step}")
    num_left = batch_size
    while num_left:
        problem = make_problem(rng.choice(names), rng.getrandbits(40))
        if problem.split != "train":
            continue
        num_left -= 1
        style_seed = rng.getrandbits(40)
        solutions = [write_solution(problem.blueprint, problem.facts, rng)]
        for _ in range(2):
            draw = rng.random()
            noise = Noise(misread=0.35) if draw < 0.5 else Noise(slip=0.35) if draw < 0.75 else Noise(0.1, 0.1, 0.7)
            solutions.append(write_solution(problem.blueprint, problem.facts, rng, noise))
        yield Sample(problem, style_seed, solutions, rng.random() < 0.35)


def shipped_problems(batch_size: int = 32, seed: int = 0) -> Iterator[NanoProblem]:
    """Every problem that the commands of `run.sh` show to base and judge, in order, repeats included."""
    for steps, names in (
        (range(NUM_STEPS), families()),
        (range(NUM_STEPS, NUM_STEPS + NUM_JUDGE_STEPS), families(FAVOURED)),
    ):
        for step in steps:
            for sample in samples(step, batch_size, seed, names):
                yield sample.problem
