"""Label quality of all searches at equal budgets, against the nano world's exact step checker.

    python recipes/nano/label_quality.py --output recipes/nano/results/label_quality.json

Each search labels the same train problems with the shipped policy within the same budget of rollouts. Columns:

- rollouts: spent per problem, as counted by the engine (the published search may pass the budget).
- labels: distinct labelled prefixes per problem; steps %: labelled steps of all steps on the paths.
- AUROC: the label against "this step and all before it are right", over distinct labelled prefixes.
- hard %: hard labels (above 0) that agree with it.
- |error|: mean absolute difference between estimates and the share of 128 fresh rollouts that end right, over the same
  prefixes for every search: those that all of them estimate, at most three a problem, drawn by hash; bias: its mean
  with sign; bound: |error| of labels that are borrowed by a bound from elsewhere on the path (one per problem on the
  first 40, each search's own).
- first error: over the paths, the first step labelled 0 (or none) is the first wrong step: share among paths with a
  wrong step, among paths without, and their harmonic mean.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from transformers import AutoModelForImageTextToText, AutoProcessor

from mmprm_hf.answers import RuleVerifier
from mmprm_hf.data import LabelledPath, SearchTree, Verdict, content_hash
from mmprm_hf.engines import RolloutRequest, SamplingConfig, TransformersEngine
from mmprm_hf.files import write_json
from mmprm_hf.labelling import (
    ConsensusSearch,
    LabelRowsConfig,
    PRMStepJudge,
    flat_mc,
    omegaprm,
    omegaprm_reference,
    tree_to_paths,
)
from mmprm_hf.labelling.flat_mc import FlatMCConfig
from mmprm_hf.labelling.omegaprm import OmegaPRMConfig
from mmprm_hf.metrics import auroc
from mmprm_hf.models import MMPRMModel, MMPRMProcessor
from mmprm_hf.nano import POLICY_PATH, NanoProblem, nano_problems
from mmprm_hf.scoring import PRMScorer
from mmprm_hf.stages.demo_stage import MAX_NEW_TOKENS

PROBLEM_SEED = 2
NUM_TRUTH_ROLLOUTS = 128
NUM_BOUND_PROBLEMS = 40
Labels = dict[tuple[str, ...], tuple[int, int]]


@dataclasses.dataclass(frozen=True)
class Way:
    """A search, its configuration and how its trees become labels."""

    search: Any
    config: Any
    paths: dict[str, Any]

    @property
    def settings(self) -> dict[str, Any]:
        """What differs from the defaults of the search and of its labels."""
        defaults = type(self.config)()
        options = {name: value for name, value in vars(self.config).items() if value != getattr(defaults, name)}
        return {**options, **self.paths}


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
    for path in tree_to_paths(tree, LabelRowsConfig(**way.paths)):
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


def draw_prefixes(problem: NanoProblem, prefixes: Iterable[tuple[str, ...]], num: int) -> list[tuple[str, ...]]:
    """At most `num` of the prefixes, drawn by hash."""
    return sorted(prefixes, key=lambda prefix: content_hash(problem.id, list(prefix)))[:num]


async def label_errors(
    nano: list[NanoProblem], labels: list[Labels], prefixes: list[list[tuple[str, ...]]], truth: Truth
) -> list[float]:
    """Label minus truth of the given prefixes of each problem."""
    drawn = [
        (problem, prefix, known[prefix])
        for problem, known, chosen in zip(nano, labels, prefixes, strict=False)
        for prefix in chosen
    ]
    rates = await asyncio.gather(*(truth.rate(problem, prefix) for problem, prefix, _ in drawn))
    return [k / n - rate for (_, _, (k, n)), rate in zip(drawn, rates, strict=True) if rate is not None]


def first_error_shares(pairs: list[tuple[int, int]]) -> dict[str, float]:
    """Shares of paths whose first error is named, with a wrong step and without, and their harmonic mean."""
    on_wrong = [predicted == real for real, predicted in pairs if real >= 0]
    on_right = [predicted == real for real, predicted in pairs if real < 0]
    wrong, right = sum(on_wrong) / len(on_wrong), sum(on_right) / len(on_right)
    f1 = 2 * wrong * right / (wrong + right) if wrong + right else 0.0
    return {"first_error_wrong": wrong, "first_error_right": right, "first_error_f1": f1, "num_paths": len(pairs)}


@dataclasses.dataclass(frozen=True)
class Searched:
    """What one search made of all problems."""

    trees: list[SearchTree]
    labelled: list[Labels]
    estimates: list[Labels]
    bounds: list[Labels]
    rows: list[list]


async def run_search(way: Way, nano: list[NanoProblem], engine: TransformersEngine) -> Searched:
    """The trees of one search and their labels."""
    trees = await search_all(way, nano, engine)
    labelled, by_source, rows = zip(*(labels_of(way, tree) for tree in trees), strict=True)
    estimates, bounds = ([labels[source] for labels in by_source] for source in ("estimate", "bound"))
    return Searched(trees, list(labelled), estimates, bounds, list(rows))


async def quality(
    searched: Searched, nano: list[NanoProblem], common: list[list[tuple[str, ...]]], truth: Truth
) -> dict[str, Any]:
    """One row of the table."""
    pairs = [
        (num_correct / num_decided, problem.check_prefixes(prefix)[-1])
        for problem, labelled in zip(nano, searched.labelled, strict=True)
        for prefix, (num_correct, num_decided) in labelled.items()
    ]
    borrowed = [
        draw_prefixes(problem, labels, 1)
        for problem, labels in list(zip(nano, searched.bounds, strict=True))[:NUM_BOUND_PROBLEMS]
    ]
    errors = await label_errors(nano, searched.estimates, common, truth)
    bounds = await label_errors(nano, searched.bounds, borrowed, truth)
    labels = [label for rows in searched.rows for _, own in rows for label in own]
    first = [pair for problem, rows in zip(nano, searched.rows, strict=True) for pair in first_errors(problem, rows)]
    return {
        "rollouts": sum(tree.num_rollouts for tree in searched.trees) / len(nano),
        "labels": len(pairs) / len(nano),
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


def common_prefixes(nano: list[NanoProblem], searched: list[Searched]) -> list[list[tuple[str, ...]]]:
    """Of each problem the prefixes that every search has estimated, at most three."""
    return [
        draw_prefixes(problem, set.intersection(*(set(search.estimates[index]) for search in searched)), 3)
        for index, problem in enumerate(nano)
    ]


def print_row(name: str, row: dict[str, Any]) -> None:
    """One line of the table."""
    bound = row["bound_mean_absolute_error"]
    bound = "-" if bound is None else f"{bound:.3f}"
    print(
        f"{name:<27}{row['rollouts']:>9.1f}{row['labels']:>8.1f}{100 * row['labelled_steps']:>9.1f}"
        f"{row['auroc']:>7.3f}{100 * row['hard_agreement']:>8.1f}{row['mean_absolute_error']:>9.3f}"
        f"{row['mean_error']:>+8.3f}{bound:>7}{100 * row['first_error_wrong']:>20.1f}"
        f"{100 * row['first_error_right']:>7.1f}{100 * row['first_error_f1']:>7.1f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("out/nano/label_quality.json"))
    parser.add_argument("--num-problems", type=int, default=100)
    parser.add_argument("--budgets", type=int, nargs="+", default=[64, 160])
    args = parser.parse_args()
    engine = TransformersEngine(
        AutoModelForImageTextToText.from_pretrained(POLICY_PATH),
        AutoProcessor.from_pretrained(POLICY_PATH),
        sampling=SamplingConfig(max_new_tokens=MAX_NEW_TOKENS),
        step_format="tagged",
    )
    truth, nano = Truth(engine), nano_problems("train", args.num_problems, PROBLEM_SEED)
    results: dict[str, Any] = {"num_problems": len(nano), "budgets": {}}
    for budget in args.budgets:
        print(f"\nbudget {budget} rollouts per problem, {len(nano)} problems")
        print(
            f"{'search':<27}{'rollouts':>9}{'labels':>8}{'steps %':>9}{'AUROC':>7}{'hard %':>8}{'|error|':>9}"
            f"{'bias':>8}{'bound':>7}{'first error: wrong':>20}{'right':>7}{'F1':>7}"
        )
        searches = ways(budget)
        searched = {name: asyncio.run(run_search(way, nano, engine)) for name, way in searches.items()}
        common = common_prefixes(nano, list(searched.values()))
        rows = results["budgets"].setdefault(str(budget), {})
        for name, search in searched.items():
            figures = asyncio.run(quality(search, nano, common, truth))
            rows[name] = {"settings": searches[name].settings, **figures}
            print_row(name, rows[name])
        write_json(args.output, results)


if __name__ == "__main__":
    main()
