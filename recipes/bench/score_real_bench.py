"""Seconds of a core to score 16 candidates with SmolLM2-135M in bf16, beside the published method and vLLM.

    python recipes/bench/score_real_bench.py --output recipes/bench/score_real.json

- plain: the published method: a row per candidate, four at a time, full-vocabulary logits, softmax over Yes and No;
- ours: `PRMScorer` with its default layout; chain: the same with the layout "chain";
- vllm, vllm_cached: pooling of vLLM 0.32.0 for CPUs on the same weights and token ids, prefix caching off and on.

The methods take turns, and every round has another problem, so that no cache holds what an earlier round left. Seconds
are those of the processor, of this process or of vLLM's worker alone, so that ratios hold on a busy machine. The first
round's scores are held against float32 row by row. Without vLLM its rows are skipped. SmolLM2 is its own PRM;
nothing has been trained.
"""

from __future__ import annotations

import argparse
import cProfile
import dataclasses
import functools
import json
import os
import pstats
import random
import signal
import statistics
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from generate_real_bench import REAL, start_server, worker_seconds
from safetensors.torch import save_file

from mmprm_hf.data import Problem
from mmprm_hf.engines import load_policy
from mmprm_hf.files import write_json
from mmprm_hf.models import MMPRMModel, MMPRMProcessor
from mmprm_hf.scoring import PRMScorer, pack_prefix_tree

NUM_CANDIDATES, NUM_STEPS, NUM_STEP_WORDS, MINIBATCH = 16, 8, 16, 4
TEXT = (
    "the of and to in is that for as with on by at from this be are it an each so we have two three four five six "
    "more less time number line side angle point circle area length sum part whole first second next then add take "
    "left right"
)
WORDS = TEXT.split()
POOLING = ("--runner", "pooling", "--convert", "classify", "--pooler-config", '{"task":"token_classify"}')
MADE = Path(os.environ.get("MMPRM_REAL", Path(tempfile.gettempdir()) / "mmprm-real"))  # as recipes/real/cache.sh
CACHING = {"vllm": "--no-enable-prefix-caching", "vllm_cached": "--enable-prefix-caching"}

Solutions = list[tuple[str, ...]]
Scores = list[tuple[float, ...]]


@dataclasses.dataclass(frozen=True)
class Case:
    """One row of work.

    Args:
        num_prompt_words: Words of the question.
        shared: Per level: how many neighbouring candidates share how many steps.
        methods: What is measured; the second is the baseline of the first.
    """

    num_prompt_words: int
    shared: tuple[tuple[int, int], ...] = ()
    methods: tuple[str, ...] = ("ours", "plain", "vllm", "vllm_cached")


CASES = {
    "score_real": Case(990),
    "score_real_short": Case(110),
    "score_real_tree": Case(110, ((4, 4), (2, 6)), ("ours", "chain", "plain")),
}


def drawn_work(case: Case, seed: int) -> tuple[Problem, Solutions]:
    """A problem and its candidates, of random words; of equal seeds the same."""
    rng = random.Random(seed)

    def words(count: int) -> str:
        return " ".join(rng.choices(WORDS, k=count))

    problem = Problem(f"q{seed}", words(case.num_prompt_words))
    solutions = [[words(NUM_STEP_WORDS) for _ in range(NUM_STEPS)] for _ in range(NUM_CANDIDATES)]
    for size, num_steps in case.shared:
        for index, steps in enumerate(solutions):
            steps[:num_steps] = solutions[index - index % size][:num_steps]
    return problem, [tuple(steps) for steps in solutions]


class Methods:
    """The ways to score, each a method from a problem and its solutions to their step scores.

    Args:
        prm: SmolLM2 as a PRM.
        processor: Its processor.
        head: The policy's output embeddings (vocabulary, hidden), which the published method needs.
    """

    def __init__(self, prm: MMPRMModel, processor: MMPRMProcessor, head: torch.Tensor) -> None:
        self.prm, self.processor, self.head = prm, processor, head
        self.scorers = {"ours": PRMScorer(prm, processor), "chain": PRMScorer(prm, processor, layout="chain")}
        self.servers: dict[str, tuple[str, Callable[[], float]]] = {}

    def clock(self, method: str) -> Callable[[], float]:
        """What measures a method's processor seconds."""
        return self.servers[method][1] if method in self.servers else time.process_time

    def score(self, method: str, problem: Problem, solutions: Solutions) -> Scores:
        """Step scores of one method."""
        if method in self.scorers:
            return self.scorers[method].score_solutions([problem], [solutions])[0]
        if method in self.servers:
            return self._pooled(self.servers[method][0], problem, solutions)
        return self._plain(problem, solutions)

    @torch.inference_mode()
    def _plain(self, problem: Problem, solutions: Solutions) -> Scores:
        columns = [self.processor.positive_token_id, self.processor.negative_token_id]
        scores: Scores = []
        for start in range(0, len(solutions), MINIBATCH):
            steps = [list(solution) for solution in solutions[start : start + MINIBATCH]]
            batch = self.processor(text=[problem.question] * len(steps), steps=steps, padding_side="left")
            states = self.prm.vlm(**batch, use_cache=False).last_hidden_state
            logits = torch.nn.functional.linear(states, self.head).float()  # (rows, tokens, vocabulary)
            at_markers = logits[batch["input_ids"] == self.processor.marker_token_id]
            values = at_markers[:, columns].softmax(-1)[:, 0].view(len(steps), -1)
            scores += [tuple(row) for row in values.tolist()]
        return scores

    def _pooled(self, url: str, problem: Problem, solutions: Solutions) -> Scores:
        rows = self.token_rows(problem, solutions)
        body = json.dumps({"model": "smollm2", "input": rows, "task": "token_classify"}).encode()
        request = urllib.request.Request(f"{url}/pooling", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=600) as response:
            pooled = sorted(json.load(response)["data"], key=lambda entry: entry["index"])
        marker = self.processor.marker_token_id
        return [
            tuple(values[0] for values, token in zip(entry["data"], row, strict=True) if token == marker)
            for entry, row in zip(pooled, rows, strict=True)
        ]

    def token_rows(self, problem: Problem, solutions: Solutions) -> list[list[int]]:
        """Token ids of each solution, prompt included."""
        (rows,), _ = self.processor.encode_solutions([problem.question], [problem.images], [solutions])
        return [[token for piece in pieces for token in piece] for pieces in rows]


def export(prm: MMPRMModel, processor: MMPRMProcessor, folder: Path) -> None:
    """Save a PRM as the classifier that a stock server pools: a causal LM's names, and the head as `score`."""
    config = prm.config.vlm_config.to_dict()
    config |= {"architectures": ["LlamaForCausalLM"], "num_labels": 2, "vocab_size": len(prm.vlm.embed_tokens.weight)}
    write_json(folder / "config.json", config)
    weights = {f"model.{name}": tensor.contiguous() for name, tensor in prm.vlm.state_dict().items()}
    weights["score.weight"] = prm.score.weight.detach()
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    processor.tokenizer.save_pretrained(folder)


@contextmanager
def servers(methods: Methods) -> Iterator[None]:
    """Start vLLM once for each setting of its prefix cache and end it; nothing where it is not installed."""
    if not (MADE / "vllm" / ".ready").exists():
        print("vLLM is left out: recipes/real/make_vllm.sh makes it.")
        yield
        return
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        export(methods.prm, methods.processor, folder)
        for name, flag in CACHING.items():
            server, url = start_server(str(folder), "bfloat16", *POOLING, flag)
            stack.callback(os.killpg, server.pid, signal.SIGKILL)
            methods.servers[name] = (url.removesuffix("/v1"), functools.partial(worker_seconds, server.pid))
        yield


def largest_difference(scores: Scores, exact: Scores) -> float:
    """Of a step score."""
    return max(abs(a - b) for one, other in zip(scores, exact, strict=True) for a, b in zip(one, other, strict=True))


def measure(name: str, methods: Methods, exact: PRMScorer, num_rounds: int) -> list[dict[str, Any]]:
    """Rows of one case: the first of its methods against each of the others."""
    case = CASES[name]
    measured = [method for method in case.methods if method not in CACHING or method in methods.servers]
    seconds: dict[str, list[float]] = {method: [] for method in measured}
    problem, solutions = drawn_work(case, -1)
    expected = exact.score_solutions([problem], [solutions])[0]
    differences = {}
    for method in measured:  # warm up
        differences[method] = largest_difference(methods.score(method, problem, solutions), expected)
    for seed in range(num_rounds):
        work = drawn_work(case, seed)
        for method in measured:
            clock = methods.clock(method)
            start = clock()
            methods.score(method, *work)
            seconds[method].append(clock() - start)
    rows = methods.token_rows(problem, solutions)
    prompt = len(os.path.commonprefix(rows))
    setting = (
        f"SmolLM2-135M, bfloat16, prompt of {prompt} tokens, {NUM_CANDIDATES} candidates x {NUM_STEPS} steps x "
        f"{NUM_STEP_WORDS} words, {sum(map(len, rows)):,} tokens become {len(pack_prefix_tree(rows)):,}, seconds of a "
        f"core, {num_rounds} rounds"
    )
    ours, *others = measured
    return [
        {
            "name": name if index == 0 else f"{name}_{other}",
            "ours": round(statistics.median(seconds[ours]), 3),
            "baseline": round(statistics.median(seconds[other]), 3),
            "ratio": round(statistics.median(b / a for a, b in zip(seconds[ours], seconds[other], strict=True)), 3),
            "unit": "s",
            "ours_difference": round(differences[ours], 4),
            "baseline_difference": round(differences[other], 4),
            "detail": f"{setting}; baseline: {other}; differences: largest of a score from float32 row by row",
        }
        for index, other in enumerate(others)
    ]


def smollm2_folder() -> str:
    """Where SmolLM2 lies; it is made on first use."""
    made = subprocess.run(["bash", str(REAL / "make_smollm2.sh")], stdout=subprocess.PIPE, text=True, check=True)
    return made.stdout.strip()


def load_prm(model: str, processor: MMPRMProcessor, dtype: str) -> MMPRMModel:
    """SmolLM2 as its own PRM."""
    return MMPRMModel.from_policy(model, processor, dtype=getattr(torch, dtype))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("out/bench/score_real.json"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", help="folder of SmolLM2; made by recipes/real where it is not given")
    parser.add_argument("--profile", choices=CASES, help="print where our time goes in one case")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = args.model or smollm2_folder()
    processor = MMPRMProcessor.from_policy(model)
    policy, _ = load_policy(model, dtype=torch.bfloat16)
    head = policy.get_output_embeddings().weight
    methods = Methods(load_prm(model, processor, "bfloat16"), processor, head)
    if args.profile:
        methods.score("ours", *drawn_work(CASES[args.profile], -1))
        with cProfile.Profile() as profile:
            methods.score("ours", *drawn_work(CASES[args.profile], 0))
        pstats.Stats(profile).sort_stats("tottime").print_stats(12)
        return
    exact = PRMScorer(load_prm(model, processor, "float32"), processor, layout="rows")
    with servers(methods):
        rows = []
        for name in CASES:
            rows += measure(name, methods, exact, args.rounds)
            print(json.dumps(rows, indent=2))
            write_json(args.output, rows)


if __name__ == "__main__":
    main()
