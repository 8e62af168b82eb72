"""Tokens per second of a core of `TransformersEngine` beside vLLM's, on SmolLM2-135M-Instruct.

    python recipes/bench/generate_real_bench.py --output recipes/bench/generate_real.json

Both draw 16 samples for each of the same word problems, in rounds that alternate. Seconds are those of the processor,
so that the ratio holds on a busy machine: of this process, and of vLLM's worker alone (its server and its scheduler
run beside it on another core). vLLM is started by recipes/real; `--profile` prints where this process spends its time.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import cProfile
import functools
import json
import os
import pstats
import signal
import socket
import statistics
import subprocess
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from mmprm_hf.data import Problem
from mmprm_hf.engines import (
    ChatClient,
    EndpointEngine,
    RolloutRequest,
    SamplingConfig,
    TransformersEngine,
    load_policy,
)
from mmprm_hf.files import write_json

REAL = Path(__file__).resolve().parents[1] / "real"
QUESTIONS = (
    "A box holds 12 pencils. How many pencils do 5 boxes hold?",
    "Mia has 17 stickers and gives 9 of them to her brother. How many stickers does she have left?",
)
NUM_SAMPLES = 16
SAMPLING = SamplingConfig(temperature=1.0, max_new_tokens=64)


def requests(seed: int) -> list[RolloutRequest]:
    """One round's work."""
    problems = [Problem(f"q{index}", question) for index, question in enumerate(QUESTIONS)]
    return [RolloutRequest(problem, num_samples=NUM_SAMPLES, seed=seed) for problem in problems]


def tokens_per_second(engine: Any, seed: int, clock: Callable[[], float] = time.process_time) -> float:
    """Tokens that one round draws, by its seconds on a clock."""
    start = clock()
    rollouts = asyncio.run(engine.generate(requests(seed)))
    seconds = clock() - start
    return sum(rollout.num_tokens for group in rollouts for rollout in group) / seconds


def start_server(model: str, dtype: str, *flags: str) -> tuple[subprocess.Popen[bytes], str]:
    """Start vLLM on a free port, with more flags; return its process and address once it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["bash", str(REAL / "serve.sh"), model, str(port), "smollm2", "--dtype", dtype, *flags]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT, start_new_session=True)
    url = f"http://127.0.0.1:{port}/v1"
    while server.poll() is None:
        try:
            urllib.request.urlopen(f"{url}/models", timeout=5).close()
            return server, url
        except OSError:
            time.sleep(0.5)
    raise RuntimeError("vLLM ended before it answered; start recipes/real/serve.sh by hand to see why.")


def worker_seconds(session: int) -> float:
    """Processor seconds so far of the process of a session that has used most of them: vLLM's worker."""
    ticks = [0]
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[3]) == session:
                ticks.append(int(fields[11]) + int(fields[12]))
    return max(ticks) / os.sysconf("SC_CLK_TCK")


def measure(model: str, dtype: str, num_rounds: int) -> dict[str, Any]:
    """The row of one dtype."""
    engine = local_engine(model, dtype)
    server, url = start_server(model, dtype)
    try:
        served = EndpointEngine(ChatClient(url, "smollm2"), sampling=SAMPLING, step_format="lines")
        clock = functools.partial(worker_seconds, server.pid)
        tokens_per_second(engine, -1), tokens_per_second(served, -1, clock)  # warm up
        rounds = [
            (tokens_per_second(engine, seed), tokens_per_second(served, seed, clock)) for seed in range(num_rounds)
        ]
    finally:
        os.killpg(server.pid, signal.SIGKILL)
    ours, theirs = (statistics.median(column) for column in zip(*rounds, strict=True))
    ratio = statistics.median(one / other for one, other in rounds)
    return {
        "name": "generate_real" if dtype == "bfloat16" else f"generate_real_{dtype}",
        "ours": round(ours, 1),
        "baseline": round(theirs, 1),
        "ratio": round(ratio, 3),
        "unit": "tokens/s",
        "detail": f"SmolLM2-135M, {dtype}, {len(QUESTIONS)} problems x {NUM_SAMPLES}, tokens per second of a core, "
        f"{num_rounds} rounds; baseline: the worker of vLLM 0.32.0",
    }


def local_engine(model: str, dtype: str) -> TransformersEngine:
    """SmolLM2 in this process, on one core."""
    torch.set_num_threads(1)
    policy, tokenizer = load_policy(model, dtype=getattr(torch, dtype))
    return TransformersEngine(policy, tokenizer, sampling=SAMPLING, step_format="lines")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("out/bench/generate_real.json"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--profile", action="store_true")
    args = parser.parse_args()
    made = subprocess.run(["bash", str(REAL / "make_smollm2.sh")], stdout=subprocess.PIPE, text=True, check=True)
    model = made.stdout.strip()
    if args.profile:
        for dtype in ("bfloat16", "float32"):
            engine = local_engine(model, dtype)
            tokens_per_second(engine, -1)
            with cProfile.Profile() as profile:
                print(dtype, round(tokens_per_second(engine, 0), 1), "tokens/s")
            pstats.Stats(profile).sort_stats("tottime").print_stats(12)
        return
    rows = [measure(model, dtype, args.rounds) for dtype in ("bfloat16", "float32")]
    print(json.dumps(rows, indent=2))
    write_json(args.output, rows)


if __name__ == "__main__":
    main()
