"""One trainer of `train_real_bench.py`, in a process and an environment of its own.

Before every optimizer step it waits for a line on its input; after the step it prints what the step took. It imports
either TRL or `mmprm_hf`, whose environments differ. The tensors of a batch are the same in both.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForTokenClassification, AutoTokenizer, TrainerCallback

REPORT = "step: "
COMMON = {
    "report_to": "none",
    "use_cpu": True,
    "disable_tqdm": True,
    "gradient_checkpointing": False,
    "bf16": False,
    "max_length": None,
    "learning_rate": 1e-5,
    "num_train_epochs": 1,
    "train_sampling_strategy": "sequential",
    "save_strategy": "no",
}


def status_bytes(name: str) -> int:
    """An entry of this process's memory (Linux)."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


class Turns(TrainerCallback):
    """Waits for its turn before every step and reports after it: loss, processor seconds, and the peak of memory above
    what the process held before (after the first step: weights and optimizer states, without gradients)."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self._wait()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        step = {
            "loss": self.losses[-1],
            "seconds": time.process_time() - self.start,
            "peak": status_bytes("VmHWM") - self.before,
        }
        print(REPORT + json.dumps(step), flush=True)
        self._wait()

    def _wait(self) -> None:
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak so far is forgotten
        self.before = status_bytes("VmRSS")
        if not sys.stdin.readline():
            sys.exit(0)
        self.start = time.process_time()


def make_trainer(name: str, folder: Path, rows: list[dict], num_items: int, output: str, turns: Turns) -> Any:
    """The trainer of a name: "trl", or ours on "rows" or "packed"; `num_items` rows or packed problems a batch."""
    model = AutoModelForTokenClassification.from_pretrained(folder)
    options = {**COMMON, "output_dir": output, "per_device_train_batch_size": num_items}
    if name == "trl":
        from datasets import Dataset
        from trl.experimental.prm import PRMConfig, PRMTrainer

        data = Dataset.from_list([{"input_ids": row["input_ids"], "labels": row["token_labels"]} for row in rows])
        tokenizer = AutoTokenizer.from_pretrained(folder)
        return PRMTrainer(model, PRMConfig(**options), None, data, processing_class=tokenizer, callbacks=[turns])
    from mmprm_hf import PRMConfig, PRMTrainer
    from mmprm_hf.models import MMPRMProcessor

    data = [{key: row[key] for key in ("problem_id", "prompt", "completions", "labels")} for row in rows]
    args = PRMConfig(**options, packing=name == "packed")
    processor = MMPRMProcessor.from_pretrained(folder / "processor")
    return PRMTrainer(model, args, None, data, processing_class=processor, callbacks=[turns])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=("trl", "rows", "packed"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("rows", type=Path)
    parser.add_argument("num_items", type=int)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = [json.loads(line) for line in args.rows.read_text(encoding="utf-8").splitlines()]
    turns = Turns()
    with tempfile.TemporaryDirectory() as output:
        trainer = make_trainer(args.name, args.folder, rows, args.num_items, output, turns)
        compute_loss = trainer.compute_loss

        def recorded(*arguments: Any, **options: Any) -> Any:
            result = compute_loss(*arguments, **options)
            turns.losses.append((result[0] if isinstance(result, tuple) else result).item())
            return result

        trainer.compute_loss = recorded
        trainer.train()


if __name__ == "__main__":
    main()
