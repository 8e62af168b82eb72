"""How time and memory of the stages grow with their input: three sizes each, and the exponent of a power law.

    python recipes/bench/growth_bench.py --output recipes/bench/growth.json

Each row of the result has ``name``, ``sizes`` (what is counted stands in ``detail``), ``seconds``, ``mib`` (peak above
the start of the process, a process per size) and ``exponent``: the slope of log seconds over log size from the first
size to the last, so that 1 is linear. Sizes are chosen so that the smallest takes long enough to be measured.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmprm_hf.files import write_json

WORDS = [f"w{first}{second}" for first in "abcdefghij" for second in "abcdefghijklmnopqrst"]


def votes(num_answers: int) -> Callable[[], Any]:
    """Groups of answers of which half are formulas, a tenth of all distinct."""
    from mmprm_hf.answers import group_answers

    rng = random.Random(0)
    distinct = max(2, num_answers // 10)
    forms = ("{}", "\\frac{{{}}}{{7}}", "{}\\sqrt{{2}}", "{}.0")
    answers = [forms[rng.randrange(4)].format(rng.randrange(distinct)) for _ in range(num_answers)]
    return lambda: group_answers(answers)


def functions(num_answers: int) -> Callable[[], Any]:
    """Groups of functions that all differ."""
    from mmprm_hf.answers import group_answers

    answers = [f"f(x)={number}x" for number in range(1, num_answers + 1)]
    return lambda: group_answers(answers)


def sketches(texts: list[str]) -> Callable[[], Any]:
    """Pairs of near duplicates among problems of these texts, each with a figure of its own."""
    from mmprm_hf.curation.config import CurationConfig
    from mmprm_hf.curation.duplicates import Sketch, find_pairs
    from mmprm_hf.curation.figures import Figure
    from mmprm_hf.curation.text_similarity import tokens_of

    rng = random.Random(1)
    problems = [
        Sketch(
            tokens_of(text), str(rng.randrange(180)), False, (Figure((99, 99), f"{index:016x}", rng.getrandbits(256)),)
        )
        for index, text in enumerate(texts)
    ]
    config = CurationConfig(sources=("problems.jsonl",))
    return lambda: find_pairs(problems, config)


def one_question(num_problems: int) -> Callable[[], Any]:
    """One short question under many figures."""
    return sketches(["What is the size of the angle that is marked?"] * num_problems)


def small_vocabulary(num_problems: int) -> Callable[[], Any]:
    """Questions of twelve words out of two hundred."""
    rng = random.Random(2)
    return sketches([" ".join(rng.choices(WORDS, k=12)) for _ in range(num_problems)])


def one_large_tree(num_nodes: int) -> Callable[[], Any]:
    """Label rows of one search tree, eight segments deep."""
    from mmprm_hf.data import Node, Problem, SearchTree
    from mmprm_hf.labelling import LabelRowsConfig
    from mmprm_hf.labelling.label_rows import problem_rows, weigh_rows

    rng = random.Random(3)
    nodes, inner = [Node("root", None, (), 3, 8)], [(0, 0)]
    while len(nodes) < num_nodes:
        parent, start = rng.choice(inner)
        for depth in range(start + 1, 9):  # every path has eight segments, whatever the number of nodes
            nodes.append(Node(f"n{len(nodes)}", parent, (f"step {len(nodes)}",), rng.randint(0, 4), 4))
            parent = len(nodes) - 1
            if depth < 8:
                inner.append((parent, depth))
    problem, tree = Problem("p", "?", answer="1"), SearchTree("p", tuple(nodes))
    return lambda: weigh_rows(problem_rows(problem, [tree], LabelRowsConfig()))


def curves(num_problems: int) -> Callable[[], Any]:
    """Best-of-N curves of 16 candidates a problem, six answers and ten contents among them."""
    from mmprm_hf.evaluation import best_of_n_curves

    rng = random.Random(4)

    def candidate() -> dict[str, Any]:
        answer = rng.randrange(6)
        scores = [round(rng.random(), 3) for _ in range(3)]
        verdict = "correct" if answer == 0 else "incorrect"
        steps = [f"{answer}", f"{rng.randrange(2)}", "end"]
        return {"steps": steps, "answer": f"{answer}", "complete": True, "step_scores": scores, "verdict": verdict}

    rows = [
        {"problem_id": f"p{index}", "answer": "0", "candidates": [candidate() for _ in range(16)]}
        for index in range(num_problems)
    ]
    return lambda: best_of_n_curves(rows)


CASES: dict[str, tuple[Callable[[int], Callable[[], Any]], tuple[int, int, int], str]] = {
    "growth_votes": (votes, (256, 1024, 4096), "answers of one problem, a tenth of them distinct, half formulas"),
    "growth_functions": (functions, (1000, 3000, 10000), "answers of one problem, functions that all differ"),
    "growth_one_question": (one_question, (1000, 3000, 10000), "problems with one question and a figure each"),
    "growth_small_vocabulary": (small_vocabulary, (1000, 3000, 10000), "questions of 12 words out of 200"),
    "growth_one_tree": (one_large_tree, (2000, 6000, 20000), "nodes of one tree, label rows and weights"),
    "growth_curves": (curves, (250, 500, 1000), "problems of 16 candidates"),
}


def measure(name: str, size: int) -> dict[str, float]:
    """Seconds of one case at one size in this process, and the peak of memory above that before it."""
    run = CASES[name][0](size)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    run()
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "mib": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024}


def growth_row(name: str) -> dict[str, Any]:
    """One row of the result: a process per size, the faster one of two."""
    _, sizes, detail = CASES[name]
    points = []
    for size in sizes:
        command = [sys.executable, __file__, "--case", name, str(size)]
        tries = [
            json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout) for _ in range(2)
        ]
        points.append(min(tries, key=lambda measured: measured["seconds"]))
    exponent = math.log(points[-1]["seconds"] / points[0]["seconds"]) / math.log(sizes[-1] / sizes[0])
    return {
        "name": name,
        "sizes": list(sizes),
        "seconds": [round(point["seconds"], 3) for point in points],
        "mib": [round(point["mib"], 1) for point in points],
        "exponent": round(exponent, 2),
        "detail": detail,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("out/bench/growth.json"))
    parser.add_argument("--only", choices=CASES, nargs="+", default=list(CASES))
    parser.add_argument("--case", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.case:
        print(json.dumps(measure(args.case[0], int(args.case[1]))))
        return
    rows = []
    for name in args.only:
        rows.append(growth_row(name))
        print(json.dumps(rows[-1]), flush=True)
    write_json(args.output, rows)


if __name__ == "__main__":
    main()
