"""Evaluation: 500 problems x 16 candidates scored, judged and tabulated with the nano PRM.

    python recipes/bench/evaluate_bench.py

Candidates are written by the nano world's own solver with errors, as many of them distinct as a policy's.
"""

from __future__ import annotations

import json
import random
import time

NUM_PROBLEMS, NUM_CANDIDATES = 500, 16
LIMIT_SECONDS = 60.0


def throughput_row() -> dict:
    """Seconds for scoring, verdicts, table, curves and diagnosis, against the limit for two cores."""
    from mmprm_hf.data import Candidate
    from mmprm_hf.evaluation import best_of_n_curves, best_of_n_report, diagnose
    from mmprm_hf.nano import Noise, nano_problems
    from mmprm_hf.rerank import scored_candidates
    from mmprm_hf.stages import load_models
    from mmprm_hf.stages.candidate_rows import judged_row

    models, nano = load_models(), nano_problems("test", NUM_PROBLEMS)
    noise = Noise(misread=0.1, slip=0.05, wrong_plan=0.1)
    targets, candidates = [problem.to_problem() for problem in nano], []
    for index, problem in enumerate(nano):
        rng = random.Random(index)
        solutions = [problem.solve(rng, noise) for _ in range(NUM_CANDIDATES)]
        candidates.append([Candidate(steps, answer=steps[-1].rpartition("=")[2]) for steps in solutions])
    scorer = models.scorer
    scorer.score_many(targets[:4], candidates[:4])  # warm up

    start = time.perf_counter()
    scored = scorer.score_many(targets, candidates)
    scored_seconds = time.perf_counter() - start
    rows = [
        {
            "problem_id": problem.id,
            "greedy": None,
            "candidates": [judged_row(candidate, problem) for candidate in scored_candidates(solutions, "min")],
        }
        for problem, solutions in zip(targets, scored, strict=True)
    ]
    report = best_of_n_report(rows)
    best_of_n_curves(rows)
    diagnose(rows)
    seconds = time.perf_counter() - start
    distinct = sum(len({candidate.steps for candidate in solutions}) for solutions in candidates) / len(candidates)
    return {
        "name": "evaluate_500x16",
        "ours": round(seconds, 2),
        "baseline": LIMIT_SECONDS,
        "ratio": round(LIMIT_SECONDS / seconds, 3),
        "unit": "s",
        "detail": f"{NUM_PROBLEMS} problems x {NUM_CANDIDATES} candidates ({distinct:.1f} distinct) scored "
        f"({scored_seconds:.1f} s), judged, tabulated, curves and diagnosis; best-of-16 "
        f"{report['metrics']['best_of_n']['value']:.3f}; baseline: the limit",
    }


def evaluate_rows() -> list[dict]:
    """All rows of this file."""
    return [throughput_row()]


if __name__ == "__main__":
    for row in evaluate_rows():
        print(json.dumps(row))
