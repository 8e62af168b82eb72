"""A run whose rollouts depend on the request alone, and processes of it that kill themselves. No torch.

As a program it starts a process for each line of its input, a JSON list of folder, log, fuse and search. The process
labels, and kills itself (SIGKILL) at write, sync, rename or deletion number `fuse`; 0 is never. The program answers
with a line: how many of these events there were, or null after a kill.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import traceback
from pathlib import Path

from mmprm_hf.answers.verifier import RuleVerifier
from mmprm_hf.data import Problem, Rollout, content_hash
from mmprm_hf.labelling import FaultTolerance, LabelRun, TreeFile, flat_mc, label_problems, omegaprm

PROBLEMS = [Problem(f"p{i}", f"question {i}", answer="7") for i in range(8)]
CONFIG = omegaprm.OmegaPRMConfig(num_rollouts=4, max_rollouts=40, reuse_rollouts=False)
FLAT = flat_mc.FlatMCConfig(num_responses=2, num_rollouts=3, max_rollouts=40, reuse_rollouts=False)
SEARCHES = {"omegaprm": {}, "flat_mc": {"search": flat_mc.search, "config": FLAT}}


def pure_rollout(problem, prefix, seed, sample_index):
    """Five steps, each wrong for good at 1 in 5; 7, or 8 after a wrong step; 1 in 20 is cut."""
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
    """Logs the beginning of every generation, lets other searches run, and answers.

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


def pure_run(folder, engine=None, **options):
    """The run of these tests, with other options where they are given."""
    defaults = {
        "verifier": RuleVerifier(),
        "search": omegaprm.search,
        "config": CONFIG,
        "max_in_flight": 5,
        "tolerance": FaultTolerance(pause_seconds=0),
        "progress": False,
    }
    return LabelRun(engine=engine or PureEngine(), output_dir=folder, **{**defaults, **options})


def label(folder, engine=None, problems=PROBLEMS, **options):
    """Label the problems into a folder, and return the summary."""
    return label_problems(problems, pure_run(folder, engine, **options))


def read_trees(folder):
    """The trees of a run folder, in file order."""
    return list(TreeFile(folder / "trees.jsonl"))


def burn(fuse: int) -> list[int]:
    """Kill this process at event number `fuse`, in the middle of it if it is a write; return the running count."""
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


def label_in_child(folder: str, log: str, fuse: int, search: str) -> int | None:
    """Label in a forked process that may kill itself; return the number of events, None after a kill."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        random.seed(fuse)
        count = burn(fuse)
        try:
            label(Path(folder), PureEngine(Path(log)), **SEARCHES[search])
        except Exception:  # noqa: BLE001 (shown, for the process ends here)
            traceback.print_exc()
            os._exit(1)
        with os.fdopen(writer, "w") as file:
            file.write(str(count[0]))
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as file:
        answer = file.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return None
    assert status == 0, f"the child ended with status {status}"
    return int(answer)


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(label_in_child(*json.loads(line))), flush=True)
