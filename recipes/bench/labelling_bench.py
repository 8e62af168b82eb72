"""Labelled problems per minute of the driver, and rollouts that early stopping and free samples save.

    python recipes/bench/labelling_bench.py

`label_driver` runs the same OmegaPRM search twice through the driver: with many problems in flight, and one at a time.
Once on the shipped nano policy in this process, once on a simulated server whose decoding step takes the same time for
1 to 256 sequences (`simulated_server.py`), where the share of busy slots is printed too.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from adaptive_bench import curve, fixed_rollouts_for, load_truth, nano_engine, print_curve
from simulated_server import SimulatedServer
from simulated_server import problems as simulated_problems

from mmprm_hf.answers import RuleVerifier
from mmprm_hf.data import Problem
from mmprm_hf.engines import RolloutEngine
from mmprm_hf.labelling import LabelRun, label_problems, omegaprm
from mmprm_hf.labelling.omegaprm import OmegaPRMConfig
from mmprm_hf.nano import nano_problems

NANO_CONFIG = OmegaPRMConfig(num_rollouts=8, max_rollouts=40, num_searches=4)  # recipes/nano/label.yaml
SERVER_CONFIG = OmegaPRMConfig(num_rollouts=16, max_rollouts=200)


def _per_minute(
    problems: Sequence[Problem], engine: RolloutEngine, config: OmegaPRMConfig, max_in_flight: int
) -> tuple[float, float]:
    """(labelled problems, rollouts) per minute of a fresh run."""
    with tempfile.TemporaryDirectory() as folder:
        run = LabelRun(
            engine,
            RuleVerifier(),
            omegaprm.search,
            config,
            Path(folder) / "run",
            max_in_flight=max_in_flight,
            progress=False,
        )
        summary = label_problems(problems, run)
    assert summary.num_trees == len(problems), f"{summary.num_failed} problems failed"
    return 60 * summary.num_trees / summary.seconds, 60 * summary.num_rollouts / summary.seconds


def _row(name: str, many: tuple[float, float], one: tuple[float, float], detail: str) -> dict[str, Any]:
    return {
        "name": name,
        "ours": round(many[0], 1),
        "baseline": round(one[0], 1),
        "ratio": round(many[0] / one[0], 3),
        "unit": "/min",
        "detail": f"{detail}; {many[1] / 60:.0f} rollouts/s; baseline: one problem at a time",
    }


def label_driver_nano(num_many: int = 96, num_one: int = 12) -> dict[str, Any]:
    """The nano policy in this process."""
    engine = nano_engine()
    targets = [problem.to_problem() for problem in nano_problems("train", num_many + 4, 3)]
    _per_minute(targets[:4], engine, NANO_CONFIG, 4)  # warm up
    one = _per_minute(targets[4 : 4 + num_one], engine, NANO_CONFIG, 1)
    many = _per_minute(targets[4:], engine, NANO_CONFIG, num_many)
    return _row("label_driver", many, one, f"nano policy, {num_many} problems in flight")


def label_driver_simulated(num_many: int = 240, num_one: int = 4, max_in_flight: int = 64) -> dict[str, Any]:
    """The simulated server."""
    one = _per_minute(simulated_problems(num_one), SimulatedServer(), SERVER_CONFIG, 1)
    server = SimulatedServer()
    many = _per_minute(simulated_problems(num_many), server, SERVER_CONFIG, max_in_flight)
    busy = f"simulated server, {max_in_flight} in flight, {100 * server.occupancy:.1f} % of 256 slots busy"
    return _row("label_driver_server", many, one, busy)


def adaptive_rollouts(repeats: int = 2) -> dict[str, Any]:
    """Rollouts per prefix at equal mean absolute label error, against a fixed number; prints the curve."""
    points = curve(nano_engine(), load_truth(), repeats)
    print_curve(points)
    best = points["both"][1]
    needed = fixed_rollouts_for(best.error, points["fixed"])
    alone = ", ".join(
        f"{name} alone {points[name][1].rollouts / fixed_rollouts_for(points[name][1].error, points['fixed']):.2f}"
        for name in ("free samples", "early stopping")
    )
    return {
        "name": "adaptive_rollouts",
        "ours": round(best.rollouts, 2),
        "baseline": round(needed, 2),
        "ratio": round(needed / best.rollouts, 3),
        "unit": "n",
        "detail": f"rollouts per prefix at mean |error| {best.error:.3f}: share {best.rollouts / needed:.2f}; {alone}",
    }


def labelling_rows() -> list[dict[str, Any]]:
    """All rows of the bench about labelling."""
    return [label_driver_nano(), label_driver_simulated(), adaptive_rollouts()]


if __name__ == "__main__":
    for row in labelling_rows():
        print(row)
