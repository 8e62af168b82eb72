"""Rows, options and trainers of small trainings, and what tests compare of two of them."""

from __future__ import annotations

import copy
import math
import random

import torch

from mmprm_hf.models import MMPRMModel, MMPRMProcessor
from mmprm_hf.training import PRMConfig, PRMTrainer


def make_args(folder, **options):
    """Options of a training on the CPU that writes and prints nothing."""
    quiet = {"report_to": "none", "use_cpu": True, "disable_tqdm": True, "save_strategy": "no"}
    return PRMConfig(output_dir=str(folder), **{**quiet, **options})


def make_trainer(prm_dir, args, rows, **options):
    """A trainer of a saved PRM."""
    model, processor = MMPRMModel.from_pretrained(prm_dir), MMPRMProcessor.from_pretrained(prm_dir)
    return PRMTrainer(model, args, train_dataset=rows, processing_class=processor, **options)


def problem_rows(problem_id, figure, seed, num_paths=6):
    """Paths of a random tree of steps; the label of a prefix differs between the rows that share it."""
    rng = random.Random(seed)
    rows = []
    for path in range(num_paths):
        steps = ["start"]
        while len(steps) < rng.randint(2, 5):
            steps.append(f"{'abc'[rng.randrange(3)]} {len(steps)}")
        counts = [[rng.randint(0, 4), 4] for _ in steps]
        counts[rng.randrange(len(steps))] = [0, 0]
        rows.append(
            {
                "prompt": f"What is {problem_id}?",
                "completions": steps,
                "label_counts": counts,
                "label_weights": [rng.choice([0.25, 0.5, 1.0]) for _ in steps],
                "images": [] if figure is None else [figure],
                "problem_id": problem_id,
                "path_id": f"{problem_id} {path}",
            }
        )
    return rows


def logged_losses(trainer):
    """The training loss of every logged step."""
    return [log["loss"] for log in trainer.state.log_history if "loss" in log]


def step_gradients(model, processor, rows, args):
    """The trainer, and the gradient of every parameter in its first optimizer step, read off a plain SGD step of 1."""
    model = copy.deepcopy(model)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    sgd = torch.optim.SGD(model.parameters(), lr=1.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(sgd, lambda _: 1.0)
    args.max_steps, args.max_grad_norm, args.learning_rate = 1, 0.0, 1.0
    trainer = PRMTrainer(model, args, train_dataset=rows, processing_class=processor, optimizers=(sgd, schedule))
    trainer.train()
    return trainer, {name: before[name] - p.detach() for name, p in model.named_parameters()}


def distance(gradients, reference):
    """Relative distance of two sets of gradients, by global norm."""
    difference = math.sqrt(sum(float((gradients[name] - reference[name]).pow(2).sum()) for name in reference))
    return difference / math.sqrt(sum(float(value.pow(2).sum()) for value in reference.values()))
