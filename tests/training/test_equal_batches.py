"""One trajectory, however an optimizer step is cut: 8 rows at once, 4 x 2 accumulated, 2 processes x 4 (gloo)."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys

import pytest
import torch
from support import equal_batches

from mmprm_hf.models import MMPRMModel

# Packed, in some steps one process has no figure, and DDP waits for its projector all the same.
WAITING = {"ddp_find_unused_parameters": False, "gradient_checkpointing": True}


@pytest.fixture(scope="module")
def rows_path(tmp_path_factory, figures):
    """128 rows of one to five steps, four a problem; some steps have no label, a third of the problems no figure."""
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
                "images": [] if problem // 4 % 3 == 0 else [str(path.with_name(f"{problem % 4}.png"))],
                "problem_id": f"p{problem}",
            }
            file.write(json.dumps(row) + "\n")
    return path


@pytest.mark.processes
def test_one_trajectory_however_a_step_is_cut(tmp_path, tiny_prm_dir, rows_path):
    jobs = [
        (tiny_prm_dir, str(rows_path), str(tmp_path / f"2 x 4, {name}"), 4, 1, {"packing": name == "packed", **options})
        for name, options in (("rows", {}), ("packed", WAITING))
    ]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, equal_batches.__file__, json.dumps(jobs)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    start = dict(MMPRMModel.from_pretrained(tiny_prm_dir).named_parameters())
    for name in ("rows", "packed"):
        for size, accumulation in ((8, 1), (4, 2)):
            output = tmp_path / f"{size} x {accumulation}, {name}"
            equal_batches.train(tiny_prm_dir, rows_path, output, size, accumulation, {"packing": name == "packed"})
        whole = torch.load(tmp_path / f"8 x 1, {name}")
        assert len(whole["losses"]) == 4 and all(map(math.isfinite, whole["losses"]))
        for cut in ("4 x 2", "2 x 4"):
            other = torch.load(tmp_path / f"{cut}, {name}")
            assert other["num_processes"] == (2 if cut == "2 x 4" else 1)
            # Four steps of Adam, which blows up the rounding of gradients near zero (float32).
            assert other["losses"] == pytest.approx(whole["losses"], rel=2e-4), (cut, name)
            moved = difference = 0.0
            for parameter, weight in whole["weights"].items():
                moved += float((weight - start[parameter].detach()).pow(2).sum())
                difference += float((weight - other["weights"][parameter]).pow(2).sum())
            assert math.sqrt(difference / moved) < 1e-2, (cut, name)
