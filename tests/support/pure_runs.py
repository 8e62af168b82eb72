"""A run whose rollouts depend on the request alone, and a process of it that kills itself; no torch anywhere.

python pure_runs.py FOLDER LOG FUSE SEARCH    # SIGKILL at write, sync, rename or deletion number FUSE (0: never)
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from pathlib import Path

from mmprm_hf.answers.verifier import RuleVerifier
from mmprm_hf.data import Problem, Rollout, content_hash
from mmprm_hf.labelling import driver, flat_mc, omegaprm

PROBLEMS = [Problem(f"p{i}", f"question {i}", answer="7") for i in range(8)]
CONFIG = omegaprm.OmegaPRMConfig(num_rollouts=4, max_rollouts=40, reuse_rollouts=False)
FLAT = flat_mc.FlatMCConfig(num_responses=2, num_rollouts=3, max_rollouts=40, reuse_rollouts=False)
SEARCHES = {"omegaprm": {}, "flat_mc": {"search": flat_mc.search, "config": FLAT}}


def pure_rollout(problem, prefix, seed, sample_index):
    rng = random.Random(content_hash(problem.id, list(prefix), seed, sample_index))
    steps = list(prefix)
    while len(steps) < 5:
        steps.append(f"{'bad' if rng.random() < 0.2 else 'good'} {len(steps)}")
    is_right = not any(step.startswith("bad") for step in steps)
    complete = rng.random() < 0.95
    return Rollout(
        tuple(steps[len(prefix) :]),
        "7" if is_right else "8",
        complete=complete,
        finish_reason="stop" if complete else "length",
        num_tokens=10,
        num_prompt_tokens=20,
        text="" if complete else "cut in the mid",
    )


class PureEngine:
    """Notes the beginning of every generation in a file, lets other searches run, and answers.

    Args:
        log: File that gets a line per request, or None.
    """

    identity = {"engine": "pure"}

    def __init__(self, log: Path | None = None) -> None:
        self.log, self.num_live, self.most_live = log, 0, 0

    async def generate(self, requests):
        self.num_live += 1
        self.most_live = max(self.most_live, self.num_live)
        if self.log is not None:
            with self.log.open("a") as file:
                file.writelines(request_line(request) + "\n" for request in requests)
        for _ in range(random.Random(content_hash(request_line(requests[0]))).randrange(1, 5)):
            await asyncio.sleep(0)
        self.num_live -= 1
        return [
            tuple(pure_rollout(request.problem, request.prefix, request.seed, i) for i in range(request.num_samples))
            for request in requests
        ]


def request_line(request) -> str:
    return f"{request.problem.id}/{content_hash(list(request.prefix), request.num_samples, request.seed)}"


def label(folder, engine=None, problems=PROBLEMS, **changes):
    arguments = {
        "verifier": RuleVerifier(),
        "search": omegaprm.search,
        "config": CONFIG,
        "max_in_flight": 5,
        "tolerance": driver.FaultTolerance(pause_seconds=0),
        "progress": False,
    } | changes
    verifier, search, config = (arguments.pop(name) for name in ("verifier", "search", "config"))
    return driver.label_problems(problems, engine or PureEngine(), verifier, search, config, folder, **arguments)


def burn(fuse: int) -> list[int]:
    """Kill this process at event number `fuse`, in the middle of it if it is a write; returns the count so far."""
    count = [0]

    def watched(name, half=None):
        original = getattr(os, name)

        def call(*arguments, **options):
            count[0] += 1
            if count[0] == fuse:
                if half is not None:
                    half(original, *arguments)
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*arguments, **options)

        setattr(os, name, call)

    watched("write", lambda write, descriptor, data: write(descriptor, data[: random.randrange(len(data) + 1)]))
    for name in ("fsync", "replace", "unlink", "truncate"):
        watched(name)
    return count


if __name__ == "__main__":
    folder, log, fuse, name = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    random.seed(fuse)
    count = burn(fuse)
    label(folder, PureEngine(log), **SEARCHES[name])
    print(count[0])
