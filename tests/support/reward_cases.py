"""Prompts, completions and a scripted scorer for the tests of rewards."""

import copy
import random

from mmprm_hf.nano.solver import Noise
from mmprm_hf.nano.world import nano_problems
from mmprm_hf.scoring.scorer import PRMScorer
from mmprm_hf.steps import TAGGED

DEFAULT = TAGGED.render(("A=47",), "47")


def chat(text):
    return [{"role": "user", "content": text}]


def nano_rows(num_problems, num_generations):
    """(prompts, columns, problems) as `GRPOTrainer` repeats them; every row has its own figure object."""
    problems = nano_problems("train", num_problems)
    repeated = [nano for nano in problems for _ in range(num_generations)]
    figures = [nano.figure() for nano in repeated]
    prompts = [
        [{"role": "user", "content": [{"type": "image", "image": figure}, {"type": "text", "text": nano.question}]}]
        for nano, figure in zip(repeated, figures, strict=True)
    ]
    columns = {"images": [[figure] for figure in figures], "answer": [nano.answer for nano in repeated]}
    return prompts, columns, problems


def completions_of(problems, num_generations):
    """As many completions per problem: the right one, then noisy ones."""
    rng = random.Random(0)
    noise = [Noise(), *[Noise(misread=0.4, slip=0.4)] * (num_generations - 1)]
    completions = []
    for nano in problems:
        for kind in noise:
            steps = nano.solve(rng, kind)
            text = TAGGED.render(steps, steps[-1].split("=")[-1])
            completions.append([{"role": "assistant", "content": text}])
    return completions


def answer_of(completion):
    return TAGGED.parse(completion[0]["content"])


class _ScriptedScorer(PRMScorer):
    """Step scores from a table by the step's text; 0.5 for others."""

    table: dict

    def score_solutions(self, problems, solutions, progress=False):
        return [[tuple(self.table.get(step, 0.5) for step in steps) for steps in row] for row in solutions]


def scripted(scorer, table):
    """A scorer that knows scores by heart, with the processor of a real one."""
    scripted_scorer = copy.copy(scorer)
    scripted_scorer.__class__ = _ScriptedScorer
    scripted_scorer.table = table
    return scripted_scorer
