"""One trajectory, however an optimizer step is cut: 8 rows at once, 4 x 2 accumulated, 2 processes x 4 (gloo)."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support import equal_batches

from mmprm_hf.models import MMPRMModel

SCRIPT = Path(equal_batches.__file__)


@pytest.fixture(scope="module")
def rows_path(tmp_path_factory, figures):
    """128 rows of one to five steps, some of them without a label; four rows a problem, each third without a figure."""
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    for number, figure in enumerate(figures):
        figure.save(path.with_name(f"{number}.png"))
    with path.open("w", encoding="utf-8") as file:
        for index in range(128):
            problem, num_steps = index // 4, 1 + (index * 7) % 5
            labels = [((index * 5 + step * 3) % 9) / 8 for step in range(num_steps)]
            row = {
                "prompt": f"What is {problem} + x?",
                "completions": [f"step {step}" + "." * (index % 4) for step in range(num_steps)],
                "labels": [-100.0 if (index + step) % 3 == 0 else label for step, label in enumerate(labels)],
                "label_weights": [0.5 + (index % 3) / 4] * num_steps,
                "images": [] if problem % 3 == 0 else [str(path.with_name(f"{problem % 4}.png"))],
                "problem_id": f"p{problem}",
            }
            file.write(json.dumps(row) + "\n")
    return path


def train_on_two(prm, rows_path, output, size, accumulation, **options):
    """`equal_batches.train` by `accelerate launch` on two processes."""
    launch = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"]
    launch += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    arguments = [str(part) for part in (SCRIPT, prm, rows_path, output, size, accumulation, json.dumps(options))]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, *launch, *arguments]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize("packing", [False, True], ids=["rows", "packed"])
def test_one_trajectory_however_a_step_is_cut(tmp_path, tiny_prm_dir, rows_path, packing):
    equal_batches.train(tiny_prm_dir, rows_path, tmp_path / "8 x 1", 8, 1, packing=packing)
    equal_batches.train(tiny_prm_dir, rows_path, tmp_path / "4 x 2", 4, 2, packing=packing)
    # Packed, in some steps one process has no figure, and DDP waits for its projector all the same.
    waits = {"ddp_find_unused_parameters": False, "gradient_checkpointing": True} if packing else {}
    train_on_two(tiny_prm_dir, rows_path, tmp_path / "2 x 4", 4, 1, packing=packing, **waits)
    whole = torch.load(tmp_path / "8 x 1")
    assert len(whole["losses"]) == 4 and all(map(math.isfinite, whole["losses"]))
    start = dict(MMPRMModel.from_pretrained(tiny_prm_dir).named_parameters())
    for cut in ("4 x 2", "2 x 4"):
        other = torch.load(tmp_path / cut)
        assert other["losses"] == pytest.approx(whole["losses"], rel=2e-4), cut
        moved = difference = 0.0
        for name, weight in whole["weights"].items():
            moved += float((weight - start[name].detach()).pow(2).sum())
            difference += float((weight - other["weights"][name]).pow(2).sum())
        assert math.sqrt(difference / moved) < 1e-2, cut  # Adam blows up the rounding of gradients near zero
