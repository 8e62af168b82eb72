"""Label quality of all searches at equal budgets, against the nano world's exact step checker.

    python recipes/nano/label_quality.py --output recipes/nano/results/label_quality.json

Each search labels the same train problems with the shipped policy within the same budget of rollouts. Columns:

- rollouts: spent per problem, as counted by the engine (the published search may pass the budget).
- labels: distinct labelled prefixes per problem; steps %: labelled steps of all steps on the paths.
- AUROC: the label against "this step and all before it are right", over distinct labelled prefixes.
- hard %: hard labels (above 0) that agree with it.
- |error|: mean absolute difference between labels that are estimates (two per problem on the first 40 problems, drawn
  by hash) and the share of 128 fresh rollouts that end right; bias: its mean with sign; bound: |error| of labels that
  are borrowed by a bound from elsewhere on the path (one per problem).
- first error: over the paths, the first step labelled 0 (or none) is the first wrong step: share among paths with a
  wrong step, among paths without, and their harmonic mean.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from transformers import AutoModelForImageTextToText, AutoProcessor

from mmprm_hf.answers.verifier import RuleVerifier
from mmprm_hf.data import LabelledPath, SearchTree, Verdict, content_hash
from mmprm_hf.engines import RolloutRequest, SamplingConfig, TransformersEngine
from mmprm_hf.files import write_json
from mmprm_hf.labelling import flat_mc, omegaprm, omegaprm_reference
from mmprm_hf.labelling.consensus import ConsensusSearch, PRMStepJudge
from mmprm_hf.labelling.flat_mc import FlatMCConfig
from mmprm_hf.labelling.labels import tree_to_paths
from mmprm_hf.labelling.omegaprm import OmegaPRMConfig
from mmprm_hf.metrics import auroc
from mmprm_hf.models import MMPRMModel, MMPRMProcessor
from mmprm_hf.nano import POLICY_PATH
from mmprm_hf.nano.world import NanoProblem, problems
from mmprm_hf.scoring.scorer import PRMScorer
from mmprm_hf.stages.demo_stage import MAX_NEW_TOKENS

PROBLEM_SEED = 2
NUM_TRUTH_ROLLOUTS = 128
NUM_TRUTH_PROBLEMS = 40
Labels = dict[tuple[str, ...], tuple[int, int]]


@dataclasses.dataclass(frozen=True)
class Way:
    """A search, its configuration and how its trees become labels."""

    search: Any
    config: Any
    paths: dict[str, Any]


def ways(budget: int) -> dict[str, Way]:
    """All searches within one budget of rollouts per problem."""
    omega = {"num_rollouts": 8, "max_rollouts": budget, "num_searches": 200}
    flat = {"num_rollouts": 8, "num_responses": 4, "max_rollouts": budget}
    more = {**flat, "num_responses": 8}
    early = {**more, "num_rollouts": 16, "round_size": 2, "max_posterior_std": 0.13}
    processor = MMPRMProcessor.from_policy(POLICY_PATH)
    judge = PRMStepJudge(PRMScorer(MMPRMModel.from_policy(POLICY_PATH, processor), processor))
    consensus = ConsensusSearch(flat_mc.search, judge)
    every_step = OmegaPRMConfig(**omega | {"num_searches": 3}, estimate_every_step=True)
    return {
        "OmegaPRM, published": Way(
            omegaprm_reference.search, OmegaPRMConfig(**omega), {"fill": "own", "after_error": "drop"}
        ),
        "OmegaPRM, fresh only": Way(omegaprm.search, OmegaPRMConfig(**omega, reuse_rollouts=False), {"fill": "own"}),
        "OmegaPRM, own estimates": Way(omegaprm.search, OmegaPRMConfig(**omega), {"fill": "own"}),
        "OmegaPRM, bounds": Way(omegaprm.search, OmegaPRMConfig(**omega), {}),
        "OmegaPRM, every step": Way(omegaprm.search, every_step, {}),
        "flat MC, fresh only": Way(flat_mc.search, FlatMCConfig(**flat, reuse_rollouts=False), {}),
        "flat MC": Way(flat_mc.search, FlatMCConfig(**more), {}),
        "flat MC, early stopping": Way(flat_mc.search, FlatMCConfig(**early), {}),
        "consensus with the policy": Way(consensus, FlatMCConfig(**more), {"consensus": "drop"}),
    }


class Truth:
    """Success rates by many fresh rollouts, each prefix once for all searches."""

    def __init__(self, engine: TransformersEngine) -> None:
        self.engine, self.known = engine, {}

    async def rate(self, problem: NanoProblem, prefix: tuple[str, ...]) -> float | None:
        key = (problem.id, prefix)
        if key not in self.known:
            target = problem.to_problem()
            request = RolloutRequest(target, prefix, NUM_TRUTH_ROLLOUTS, seed=9)
            (rollouts,) = await self.engine.generate([request])
            answers = [rollout.answer for rollout in rollouts if rollout.complete]
            verdicts = [await RuleVerifier().judge(target, answer) for answer in answers]
            num_decided = len(verdicts) - verdicts.count(Verdict.UNDECIDED)
            self.known[key] = verdicts.count(Verdict.CORRECT) / num_decided if num_decided else None
        return self.known[key]


async def search_all(way: Way, nano: list[NanoProblem], engine: TransformersEngine) -> list[SearchTree]:
    """One tree per problem, all in flight."""

    async def one(problem: NanoProblem) -> SearchTree:
        rng = random.Random(problem.id)
        return await way.search(problem.to_problem(), engine, RuleVerifier(), way.config, rng)

    return await asyncio.gather(*map(one, nano))


def labels_of(way: Way, tree: SearchTree) -> tuple[Labels, dict[str, Labels], list]:
    """Distinct labelled prefixes, inner ones by source, and per path its steps and their labels."""
    labelled: Labels = {}
    by_source: dict[str, Labels] = {"estimate": {}, "bound": {}}
    rows = []
    for path in tree_to_paths(tree, **way.paths):
        if way.search is omegaprm_reference.search:
            path = _without_answer(path)
        labels: list[float | None] = []
        for index, (counts, source) in enumerate(zip(path.label_counts, path.label_sources, strict=True)):
            is_known = counts[1] > 0 and source != "judge_dropped"
            labels.append(counts[0] / counts[1] if is_known else None)
            prefix = path.steps[: index + 1]
            if is_known:
                labelled.setdefault(prefix, counts)
            if is_known and index + 1 < len(path.steps):
                by_source[source].setdefault(prefix, counts)
        rows.append((path.steps, labels))
    return labelled, by_source, rows


def _without_answer(path: LabelledPath) -> LabelledPath:
    """A published path ends with the answer; its label is that of the segment that ends there, the last step's."""
    if len(path.steps) < 2 or "=" in path.steps[-1]:
        return path
    keep = slice(-1) if path.label_counts[-2][1] else slice(None, -2)
    ends = ((), ()) if path.label_counts[-2][1] else (path.label_counts[-1:], path.label_sources[-1:])
    return dataclasses.replace(
        path,
        steps=path.steps[:-1],
        label_counts=path.label_counts[keep] + ends[0],
        label_sources=path.label_sources[keep] + ends[1],
    )


def first_errors(problem: NanoProblem, rows: list) -> Iterator[tuple[int, int]]:
    """(true, labelled) first error of every path that holds a label; -1 for none."""
    for steps, labels in rows:
        if any(label is not None for label in labels):
            is_right = problem.check_prefixes(steps)
            truth = is_right.index(False) if False in is_right else -1
            yield truth, labels.index(0.0) if 0.0 in labels else -1


async def label_errors(nano: list[NanoProblem], found: list[Labels], truth: Truth, num_per_problem: int) -> list[float]:
    """Label minus truth of a few prefixes per problem."""
    chosen = []
    for problem, labels in list(zip(nano, found, strict=True))[:NUM_TRUTH_PROBLEMS]:
        prefixes = sorted(labels, key=lambda prefix, name=problem.id: content_hash(name, list(prefix)))
        chosen += [(problem, prefix, labels[prefix]) for prefix in prefixes[:num_per_problem]]
    rates = await asyncio.gather(*(truth.rate(problem, prefix) for problem, prefix, _ in chosen))
    return [k / n - rate for (_, _, (k, n)), rate in zip(chosen, rates, strict=True) if rate is not None]


def first_error_shares(found: list[tuple[int, int]]) -> dict[str, float]:
    """Shares of paths whose first error is named, with a wrong step and without, and their harmonic mean."""
    on_wrong = [predicted == real for real, predicted in found if real >= 0]
    on_right = [predicted == real for real, predicted in found if real < 0]
    wrong, right = sum(on_wrong) / len(on_wrong), sum(on_right) / len(on_right)
    f1 = 2 * wrong * right / (wrong + right) if wrong + right else 0.0
    return {"first_error_wrong": wrong, "first_error_right": right, "first_error_f1": f1, "num_paths": len(found)}


async def quality(way: Way, nano: list[NanoProblem], engine: TransformersEngine, truth: Truth) -> dict[str, Any]:
    """One row of the table."""
    trees = await search_all(way, nano, engine)
    found = [labels_of(way, tree) for tree in trees]
    pairs = [
        (num_correct / num_decided, problem.check_prefixes(prefix)[-1])
        for problem, (labelled, _, _) in zip(nano, found, strict=True)
        for prefix, (num_correct, num_decided) in labelled.items()
    ]
    errors = await label_errors(nano, [by_source["estimate"] for _, by_source, _ in found], truth, 2)
    bounds = await label_errors(nano, [by_source["bound"] for _, by_source, _ in found], truth, 1)
    labels = [label for _, _, rows in found for _, own in rows for label in own]
    first = [pair for problem, (_, _, rows) in zip(nano, found, strict=True) for pair in first_errors(problem, rows)]
    return {
        "rollouts": sum(tree.num_rollouts for tree in trees) / len(trees),
        "labels": len(pairs) / len(trees),
        "labelled_steps": sum(label is not None for label in labels) / len(labels),
        "auroc": auroc([is_right for _, is_right in pairs], [label for label, _ in pairs]),
        "hard_agreement": sum((label > 0) == is_right for label, is_right in pairs) / len(pairs),
        "mean_absolute_error": sum(map(abs, errors)) / len(errors),
        "mean_error": sum(errors) / len(errors),
        "num_error_prefixes": len(errors),
        "bound_mean_absolute_error": sum(map(abs, bounds)) / len(bounds) if bounds else None,
        "num_bound_prefixes": len(bounds),
        **first_error_shares(first),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("out/nano/label_quality.json"))
    parser.add_argument("--num-problems", type=int, default=100)
    parser.add_argument("--budgets", type=int, nargs="+", default=[64, 160])
    parser.add_argument("--searches", nargs="+", help="Only these rows; the others stay as they are in the output.")
    args = parser.parse_args()
    engine = TransformersEngine(
        AutoModelForImageTextToText.from_pretrained(POLICY_PATH),
        AutoProcessor.from_pretrained(POLICY_PATH),
        sampling=SamplingConfig(max_new_tokens=MAX_NEW_TOKENS),
    )
    truth, nano = Truth(engine), problems("train", args.num_problems, PROBLEM_SEED)
    results: dict[str, Any] = {"num_problems": len(nano), "budgets": {}}
    if args.searches and args.output.exists():
        results = json.loads(args.output.read_text(encoding="utf-8"))
    for budget in args.budgets:
        print(f"\nbudget {budget} rollouts per problem, {len(nano)} problems")
        print(
            f"{'search':<27}{'rollouts':>9}{'labels':>8}{'steps %':>9}{'AUROC':>7}{'hard %':>8}{'|error|':>9}"
            f"{'bias':>8}{'bound':>7}{'first error: wrong':>20}{'right':>7}{'F1':>7}"
        )
        rows = results["budgets"].setdefault(str(budget), {})
        for name, way in ways(budget).items():
            if args.searches and name not in args.searches:
                continue
            row = rows[name] = asyncio.run(quality(way, nano, engine, truth))
            bound = row["bound_mean_absolute_error"]
            bound = "-" if bound is None else f"{bound:.3f}"
            print(
                f"{name:<27}{row['rollouts']:>9.1f}{row['labels']:>8.1f}{100 * row['labelled_steps']:>9.1f}"
                f"{row['auroc']:>7.3f}{100 * row['hard_agreement']:>8.1f}{row['mean_absolute_error']:>9.3f}"
                f"{row['mean_error']:>+8.3f}{bound:>7}{100 * row['first_error_wrong']:>20.1f}"
                f"{100 * row['first_error_right']:>7.1f}{100 * row['first_error_f1']:>7.1f}",
                flush=True,
            )
            write_json(args.output, results)


if __name__ == "__main__":
    main()
