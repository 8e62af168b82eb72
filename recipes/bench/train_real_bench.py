"""Training SmolLM2, cut to 8 layers, in float32: TRL's own `PRMTrainer` beside ours, unpacked and packed.

    python recipes/bench/train_real_bench.py --output recipes/bench/train_real.json

TRL 1.12.0 has an environment of its own (`--environment`), made on first use. All three train the same weights on the
same rows in the same order, one whole trainer in a process each, and take turns step by step. Losses are equal, which
is checked. Seconds are those of the processor, on one core; memory is the peak of a step above weights and optimizer
states.

Rows are drawn as a search draws: each solution leaves an earlier one of its problem after a step drawn evenly. TRL's
defaults of bf16 and gradient checkpointing are off in all three.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from score_real_bench import WORDS, smollm2_folder
from train_real_worker import REPORT

from mmprm_hf.files import write_json, write_jsonl
from mmprm_hf.models import MMPRMProcessor
from mmprm_hf.scoring import pack_prefix_tree

NUM_LAYERS = 8
NUM_PROMPT_WORDS, NUM_STEPS, NUM_STEP_WORDS = 150, 8, 8
TRAINERS = ("packed", "rows", "trl")
PAIRS = {("packed", "trl"): "", ("rows", "trl"): "_unpacked", ("packed", "rows"): "_packing"}
TOLERANCE = 1e-5  # of losses, relative
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "mmprm-bench"


@dataclasses.dataclass(frozen=True)
class Case:
    """One row: `num_problems` problems of `num_paths` solutions each in every optimizer step."""

    num_paths: int
    num_problems: int


CASES = {"train_real": Case(32, 1), "train_real_few": Case(5, 2)}


def make_environment(folder: Path) -> Path:
    """The python of an environment with TRL, made on first use."""
    python = folder / "bin" / "python"
    if not (folder / ".ready").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "torch==2.13.0"], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "trl==1.12.0", "transformers==5.24.0"], check=True)
        (folder / ".ready").touch()
    return python


def make_start(model: str, folder: Path, num_layers: int = NUM_LAYERS) -> MMPRMProcessor:
    """Save the token classifier that all trainers start from: the model's first layers, and a head from Yes and No."""
    import torch
    from transformers import AutoConfig, AutoModelForTokenClassification

    from mmprm_hf.models import MMPRMModel

    processor = MMPRMProcessor.from_policy(model)
    prm = MMPRMModel.from_policy(model, processor, dtype=torch.float32)
    config = AutoConfig.from_pretrained(
        model, num_labels=2, num_hidden_layers=num_layers, vocab_size=len(prm.vlm.embed_tokens.weight)
    )
    classifier = AutoModelForTokenClassification.from_config(config, dtype=torch.float32)
    layers = tuple(f"layers.{index}." for index in range(num_layers))
    weights = prm.vlm.state_dict()
    kept = {k: v for k, v in weights.items() if k.startswith(layers) or not k.startswith("layers.")}
    classifier.model.load_state_dict(kept)
    with torch.no_grad():
        classifier.score.weight.copy_(prm.score.weight.flip(0))
        classifier.score.bias.copy_(torch.tensor([-0.01, 0.01]))  # ours leaves out a bias of zero
    classifier.save_pretrained(folder)
    processor.tokenizer.save_pretrained(folder)
    processor.save_pretrained(folder / "processor")
    return processor


def drawn_rows(case: Case, num_steps: int, processor: MMPRMProcessor) -> list[dict[str, Any]]:
    """Rows of all optimizer steps in order, with their token ids and token labels."""
    rng = random.Random(0)

    def words(count: int) -> str:
        return " ".join(rng.choices(WORDS, k=count))

    rows = []
    for index in range(num_steps * case.num_problems):
        prompt = words(NUM_PROMPT_WORDS)
        paths = [[(words(NUM_STEP_WORDS), rng.randrange(2)) for _ in range(NUM_STEPS)]]
        while len(paths) < case.num_paths:
            shared = rng.choice(paths)[: rng.randrange(NUM_STEPS)]
            own = [(words(NUM_STEP_WORDS), rng.randrange(2)) for _ in range(NUM_STEPS - len(shared))]
            paths.append([*shared, *own])
        texts = [[text for text, _ in path] for path in paths]
        (encoded,), _ = processor.encode_solutions([prompt], [()], [texts])
        for path, (start, *steps) in zip(paths, encoded, strict=True):
            ids, labels = list(start), [-100] * len(start)
            for (_, label), step in zip(path, steps, strict=True):
                ids += step
                labels += [-100] * (len(step) - 1) + [label]
            row = {"problem_id": f"q{index}", "prompt": prompt, "completions": [text for text, _ in path]}
            rows.append(
                {**row, "labels": [float(label) for _, label in path], "input_ids": ids, "token_labels": labels}
            )
    return rows


class Worker:
    """One trainer in its process.

    Args:
        python: The interpreter of its environment.
        arguments: Those of `train_real_worker.py`.
    """

    def __init__(self, python: str | Path, *arguments: Any) -> None:
        script = Path(__file__).with_name("train_real_worker.py")
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
        command = [str(python), str(script), *map(str, arguments)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def step(self) -> dict[str, float]:
        """Let it take one optimizer step: its loss, processor seconds and peak of memory."""
        print(file=self.process.stdin, flush=True)
        for line in self.process.stdout:
            if line.startswith(REPORT):
                return json.loads(line.removeprefix(REPORT))
        raise RuntimeError(f"{self.process.args[2:4]} ended with exit code {self.process.wait()}; see above.")

    def end(self) -> None:
        """It ends when its input does."""
        self.process.stdin.close()
        self.process.wait()


def take_turns(workers: dict[str, Worker], num_steps: int) -> dict[str, list[dict[str, float]]]:
    """Reports by trainer of all steps, the first of which warms up."""
    reports: dict[str, list[dict[str, float]]] = {name: [] for name in workers}
    for _ in range(num_steps):
        for name, worker in workers.items():
            reports[name].append(worker.step())
    return reports


def measure(name: str, model: str, trl: Path | None, num_rounds: int, num_layers: int = NUM_LAYERS) -> list[dict]:
    """Rows of one case, in speed and in memory; those of TRL are left out where its python is None."""
    case = CASES[name]
    trainers = [trainer for trainer in TRAINERS if trainer != "trl" or trl is not None]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        processor = make_start(model, folder, num_layers)
        rows = drawn_rows(case, num_rounds + 1, processor)
        write_jsonl(folder / "rows.jsonl", rows)
        workers = {}
        for trainer in trainers:
            num_items = case.num_problems if trainer == "packed" else case.num_problems * case.num_paths
            python = trl if trainer == "trl" else sys.executable
            workers[trainer] = Worker(python, trainer, folder, folder / "rows.jsonl", num_items)
            stack.callback(workers[trainer].end)
        reports = take_turns(workers, num_rounds + 1)
    difference = max(
        abs(one["loss"] / other["loss"] - 1)
        for trainer in trainers
        for one, other in zip(reports[trainer], reports["rows"], strict=True)
    )
    assert difference < TOLERANCE, f"losses differ by {difference:.1e}: {reports}"
    return table_rows(name, case, rows, reports, difference)


def table_rows(
    name: str, case: Case, rows: list[dict], reports: dict[str, list[dict]], difference: float
) -> list[dict]:
    """What is measured, as rows of the table."""
    size = case.num_paths * case.num_problems
    groups = [rows[start : start + case.num_paths] for start in range(0, len(rows), case.num_paths)]
    num_raw = sum(len(row["input_ids"]) for row in rows)
    num_distinct = sum(len(pack_prefix_tree([row["input_ids"] for row in group])) for group in groups)
    detail = (
        f"SmolLM2-135M cut to {NUM_LAYERS} layers, float32, {case.num_problems} problems x {case.num_paths} solutions "
        f"a step, {num_raw / num_distinct:.2f} x fewer tokens packed, {len(reports['rows']) - 1} steps, losses equal "
        f"to {difference:.0e}"
    )
    measured = {trainer: steps[1:] for trainer, steps in reports.items()}
    table = []
    for (ours, baseline), suffix in PAIRS.items():
        if baseline not in reports:
            continue
        seconds = [[step["seconds"] for step in measured[trainer]] for trainer in (ours, baseline)]
        peaks = [statistics.median(step["peak"] for step in measured[trainer]) / 2**20 for trainer in (ours, baseline)]
        table += [
            {
                "name": name + suffix,
                "ours": round(size / statistics.median(seconds[0]), 3),
                "baseline": round(size / statistics.median(seconds[1]), 3),
                "ratio": round(statistics.median(b / a for a, b in zip(*seconds, strict=True)), 3),
                "token_ratio": round(num_raw / num_distinct, 3) if ours == "packed" else 1.0,
                "unit": "rows/s",
                "detail": f"{detail}; rows per second of a core; baseline: {baseline}",
            },
            {
                "name": f"{name}{suffix}_memory",
                "ours": round(peaks[0], 1),
                "baseline": round(peaks[1], 1),
                "ratio": round(peaks[1] / peaks[0], 3),
                "unit": "MiB",
                "detail": f"{detail}; peak of a step above weights and optimizer states; baseline: {baseline}",
            },
        ]
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("out/bench/train_real.json"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--environment", type=Path, default=CACHE / "trl-1.12.0", help="of TRL; made where it is missing"
    )
    args = parser.parse_args()
    trl = make_environment(args.environment)
    model, rows = smollm2_folder(), []
    for name in CASES:
        rows += measure(name, model, trl, args.rounds)
        print(json.dumps(rows, indent=2))
        write_json(args.output, rows)


if __name__ == "__main__":
    main()
