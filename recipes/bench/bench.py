"""The performance table: one row per claim, each measured against its baseline in the same run.

    make bench

Writes a list of ``{"name", "ours", "baseline", "ratio", "unit", "detail"}``; ratio = baseline / ours for times, so
larger is better. A row is a function below that returns such a dict; add one per speed figure.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

from evaluate_bench import evaluate_rows
from labelling_bench import labelling_rows
from rerank_bench import rerank_rows
from scoring_bench import score_16_candidates
from training_bench import training_rows

from mmprm_hf.files import write_json

NUM_PROBLEMS = 16
NUM_CANDIDATES = 16


def _row(name: str, ours: float, baseline: float | None, unit: str, detail: str) -> dict:
    ratio = None if baseline is None else round(baseline / ours, 3)
    baseline = None if baseline is None else round(baseline, 4)
    return {"name": name, "ours": round(ours, 4), "baseline": baseline, "ratio": ratio, "unit": unit, "detail": detail}


def _run_seconds(code: str, repeats: int = 5) -> float:
    """Median seconds that a fresh interpreter needs for `code`, above an empty one."""

    def once(program: str) -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", program], check=True)
        return time.perf_counter() - start

    return max(
        1e-4, statistics.median(once(code) for _ in range(repeats)) - statistics.median(once("") for _ in range(5))
    )


def import_seconds() -> list[dict]:
    """`import mmprm_hf` against the 0.3 s that a command-line tool may cost; torch must stay out."""
    loaded = "import sys, mmprm_hf; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    subprocess.run([sys.executable, "-c", loaded], check=True)
    return [_row("import_seconds", _run_seconds("import mmprm_hf"), 0.3, "s", "baseline: the limit; no torch imported")]


def demo_rows() -> list[dict]:
    """Generation against transformers' own `generate`, scoring against the unpacked scorer (every row by itself)."""
    import torch

    from mmprm_hf.nano import nano_problems
    from mmprm_hf.scoring import PRMScorer
    from mmprm_hf.stages import load_models
    from mmprm_hf.stages.demo_stage import MAX_NEW_TOKENS, solve_nano

    models, nano = load_models(), nano_problems("test", NUM_PROBLEMS)
    solve_nano(nano[:2], models, NUM_CANDIDATES, progress=False)  # warm up
    solved = solve_nano(nano, models, NUM_CANDIDATES, progress=False)
    targets = [problem.to_problem() for problem in nano]
    processor = models.policy_processor
    messages = [
        [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": problem.question}]}]
        for problem in targets
    ]
    text = [processor.apply_chat_template(m, tokenize=False, add_generation_prompt=True) for m in messages]
    images = [list(problem.images) for problem in targets]
    inputs = processor(images=images, text=text, return_tensors="pt", padding=True, padding_side="left")
    torch.manual_seed(0)
    start = time.perf_counter()
    models.policy.generate(
        **inputs, do_sample=True, num_return_sequences=NUM_CANDIDATES, max_new_tokens=MAX_NEW_TOKENS, top_k=0
    )
    stock_generate = time.perf_counter() - start
    plain = PRMScorer(models.scorer.model, models.scorer.processor, layout="rows")
    start = time.perf_counter()
    rows = plain.score_many(targets, solved.candidates)
    plain_score = time.perf_counter() - start
    pairs = [
        (a, b)
        for ours, theirs in zip(solved.candidates, rows, strict=True)
        for one, other in zip(ours, theirs, strict=True)
        for a, b in zip(one.step_scores or (), other.step_scores or (), strict=True)
    ]
    error = max(abs(a - b) for a, b in pairs)
    setting = f"{NUM_PROBLEMS} problems x {NUM_CANDIDATES} candidates"
    generate, score = solved.seconds["generate"], solved.seconds["score"]
    share = f"scoring is {100 * score / generate:.0f} % of generation"
    return [
        _row("demo_generate", generate, stock_generate, "s", f"{setting}; baseline: transformers generate, one batch"),
        _row(
            "demo_score",
            score,
            plain_score,
            "s",
            f"{setting}; baseline: row by row, max difference {error:.1e}; {share}",
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("out/bench/results.json"))
    args = parser.parse_args()
    rows = [
        *import_seconds(),
        *evaluate_rows(),
        *rerank_rows(),
        *demo_rows(),
        *score_16_candidates(),
        *labelling_rows(),
        *training_rows(),
    ]
    print(f"{'name':<20}{'ours':>10}{'baseline':>10}{'ratio':>8}  unit  detail")
    for row in rows:
        baseline = "-" if row["baseline"] is None else f"{row['baseline']:.3f}"
        ratio = "-" if row["ratio"] is None else f"{row['ratio']:.2f}"
        print(f"{row['name']:<20}{row['ours']:>10.3f}{baseline:>10}{ratio:>8}  {row['unit']:<5} {row['detail']}")
    write_json(args.output, rows)


if __name__ == "__main__":
    main()
