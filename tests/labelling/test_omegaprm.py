"""OmegaPRM search on a scripted policy: bisection, determinism, budget, what is counted and what is not."""

from __future__ import annotations

import asyncio
import dataclasses
import math
import random

import pytest

from mmprm_hf.data import Problem, Rollout, SearchTree, Verdict
from mmprm_hf.engines import ScriptedEngine
from mmprm_hf.labelling.omegaprm import NothingJudgedError, OmegaPRMConfig, search

PROBLEM = Problem("p", "question", answer="right")


class Verifier:
    """ "right" is correct, "?" undecided, anything else wrong; remembers what it was asked."""

    def __init__(self):
        self.asked = []

    async def judge(self, problem, answer):
        self.asked.append(answer)
        if answer == "?":
            return Verdict.UNDECIDED
        return Verdict.CORRECT if answer == problem.answer else Verdict.INCORRECT


def run(policy, config=None, seed=0, verifier=None):
    engine = ScriptedEngine(policy)
    config = config or OmegaPRMConfig(num_rollouts=4)
    return asyncio.run(search(PROBLEM, engine, verifier or Verifier(), config, random.Random(seed)))


def error_policy(num_steps, first_error):
    """Half of the rollouts from a right prefix are right; the others all go wrong at `first_error`."""
    right = tuple(f"right {i}" for i in range(num_steps))
    wrong = (*right[:first_error], *(f"wrong {i}" for i in range(first_error, num_steps)))

    def policy(problem, prefix, call_index, sample_index):
        is_right = prefix == right[: len(prefix)] and (sample_index % 2 == 0 or len(prefix) > first_error)
        return Rollout((right if is_right else wrong)[len(prefix) :], "right" if is_right else "wrong")

    return policy, wrong


def noisy_policy(problem, prefix, call_index, sample_index):
    """Six steps, each wrong with probability 0.15 and for good; a tenth of the rollouts cut, a tenth undecided."""
    rng = random.Random(f"{prefix} {call_index} {sample_index}")
    steps = list(prefix)
    while len(steps) < 6:
        bad = rng.random() < 0.15
        steps.append(f"{'bad' if bad else 'good'} {len(steps)} {rng.randrange(2)}")
    answer = "wrong" if any(step.startswith("bad") for step in steps) else "right"
    kind = rng.random()
    if kind < 0.1:
        return Rollout(tuple(steps[len(prefix) : -1]), None, complete=False, finish_reason="length")
    return Rollout(tuple(steps[len(prefix) :]), "?" if kind < 0.2 else answer)


@pytest.mark.parametrize("num_steps", [2, 3, 5, 8, 13])
def test_bisection_finds_the_first_error(num_steps):
    for first_error in range(num_steps):
        policy, wrong = error_policy(num_steps, first_error)
        tree = run(policy, OmegaPRMConfig(num_rollouts=4, num_searches=1))
        num_probes = tree.num_rollouts // 4 - 1
        assert num_probes <= math.ceil(math.log2(num_steps))
        on_path = [
            (len(tree.prefix(i)), node)
            for i, node in enumerate(tree.nodes)
            if tree.prefix(i) == wrong[: len(tree.prefix(i))]
        ]
        last_good = max(length for length, node in on_path if node.num_correct)
        first_bad = min(length for length, node in on_path if node.num_decided and not node.num_correct)
        assert (last_good, first_bad) == (first_error, first_error + 1)


def test_whole_wrong_solution_is_not_sampled_again():
    policy, wrong = error_policy(4, 3)
    asked = []

    def recording(problem, prefix, call_index, sample_index):
        asked.append(prefix)
        return policy(problem, prefix, call_index, sample_index)

    tree = run(recording)
    assert wrong not in asked
    leaf = next(node for i, node in enumerate(tree.nodes) if tree.prefix(i) == wrong)
    assert (leaf.num_correct, leaf.num_decided, leaf.steps) == (0, 1, ("wrong 3",))


def test_same_seed_same_tree():
    config = OmegaPRMConfig(num_rollouts=4, num_searches=10)
    first = run(noisy_policy, config, seed=5)
    assert run(noisy_policy, config, seed=5) == first
    assert SearchTree.from_dict(first.to_dict()) == first


def test_request_seeds_come_from_the_generator():
    class Seeds(ScriptedEngine):
        async def generate(self, requests):
            seeds.extend(request.seed for request in requests)
            return await super().generate(requests)

    runs = []
    for seed in (1, 1, 2):
        seeds = []
        asyncio.run(search(PROBLEM, Seeds(noisy_policy), Verifier(), OmegaPRMConfig(4), random.Random(seed)))
        runs.append(seeds)
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]
    assert len(set(runs[0])) == len(runs[0]) > 3


@pytest.mark.parametrize("max_rollouts", [4, 7, 9, 30, 35])
def test_budget_is_never_exceeded_and_estimates_are_whole(max_rollouts):
    tree = run(noisy_policy, OmegaPRMConfig(num_rollouts=4, max_rollouts=max_rollouts, num_searches=100))
    assert max_rollouts - 4 < tree.num_rollouts <= max_rollouts
    drawn = [index for index, _ in tree.rollouts]
    assert {drawn.count(index) for index in drawn} == {4}


def test_canonical_tree_merges_prefixes_and_counts_only_decided():
    tree = run(noisy_policy, OmegaPRMConfig(num_rollouts=16, max_rollouts=2000, num_searches=100))
    prefixes = [tree.prefix(i) for i in range(len(tree.nodes))]
    assert len(set(prefixes)) == len(prefixes) > 20
    for index, node in enumerate(tree.nodes):
        own = [rollout for at, rollout in tree.rollouts if at == index]
        if own:
            verdicts = [rollout.verdict for rollout in own]
            assert node.num_correct == verdicts.count(Verdict.CORRECT)
            assert node.num_decided == 16 - verdicts.count(Verdict.UNDECIDED)
        if index:
            assert node.parent < index
            shorter = [p for p in prefixes if p == prefixes[index][: len(p)] and len(p) < len(prefixes[index])]
            assert prefixes[node.parent] == max(shorter, key=len)
    assert tree.num_incomplete == sum(not rollout.complete for _, rollout in tree.rollouts) > 0
    assert tree.num_undecided == sum(rollout.answer == "?" for _, rollout in tree.rollouts) > 0
    assert sum(node.num_visits for node in tree.nodes) <= 100


def test_selection_takes_the_highest_q_plus_u():
    """Brute force over all pairs, at every selection, agrees with the pool."""
    from mmprm_hf.labelling.omegaprm import PrefixRecord, _CandidatePool

    config = OmegaPRMConfig(c_puct=0.6, length_scale=5)
    rng = random.Random(3)
    pool, records, pairs = _CandidatePool(config), {}, []
    for name in range(12):
        prefix = (f"prefix {name}",)
        records[prefix] = PrefixRecord(num_correct=rng.randrange(1, 16), num_decided=16, is_estimated=True)
        rollouts = [Rollout(("w " * rng.randrange(1, 40) + str(i),), "no", verdict=Verdict.INCORRECT) for i in range(6)]
        pool.add(prefix, records[prefix], rollouts)
        pairs += [(prefix, prefix + rollout.steps) for rollout in rollouts]
    while pairs:
        total = sum(record.num_visits for record in records.values())

        def priority(pair, total=total):
            record = records[pair[0]]
            num_words = len(pair[1][-1].split())
            quality = config.alpha ** (1 - record.num_correct / 16) * config.beta ** (num_words / 5)
            return quality + config.c_puct * math.sqrt(total) / (1 + record.num_visits)

        best = max(map(priority, pairs))
        before = {pair: priority(pair) for pair in pairs}
        selected = pool.pop(records)
        assert math.isclose(before[selected], best)
        pairs.remove(selected)
    assert pool.pop(records) is None
    assert max(record.num_visits for record in records.values()) == 6


def test_incomplete_and_undecided_rollouts_are_never_judged_or_selected():
    def policy(problem, prefix, call_index, sample_index):
        kinds = [
            Rollout(("a", "b"), "right"),
            Rollout(("c", "d"), None, complete=False),
            Rollout(("e", "f"), "?"),
            Rollout((), "wrong"),
        ]
        return kinds[sample_index]

    verifier = Verifier()
    tree = run(policy, verifier=verifier)
    assert sorted(verifier.asked) == ["?", "right", "wrong"]
    assert tree.num_rollouts == 4, "no rollout was fit for bisection"
    assert (tree.nodes[0].num_correct, tree.nodes[0].num_decided) == (1, 2)
    assert [tree.prefix(i) for i in range(len(tree.nodes))] == [(), ("a", "b")]


def test_verifier_is_asked_once_per_answer():
    verifier = Verifier()
    run(noisy_policy, OmegaPRMConfig(num_rollouts=16, max_rollouts=400), verifier=verifier)
    assert sorted(verifier.asked) == ["?", "right", "wrong"]


def test_prefix_without_a_verdict_does_not_stop_the_search():
    policy, wrong = error_policy(4, 1)

    def partly_unjudged(problem, prefix, call_index, sample_index):
        rollout = policy(problem, prefix, call_index, sample_index)
        return dataclasses.replace(rollout, answer="?") if len(prefix) == 2 else rollout

    tree = run(partly_unjudged, OmegaPRMConfig(num_rollouts=4))
    node = next(node for i, node in enumerate(tree.nodes) if tree.prefix(i) == wrong[:2])
    assert (node.num_correct, node.num_decided) == (0, 0)
    assert node.mc_estimate is None


def test_all_right_and_all_wrong_problems_need_no_search():
    for answer, expected in [("right", (4, 4)), ("wrong", (0, 4))]:
        tree = run(lambda *args, answer=answer: Rollout(("a", "b"), answer))
        assert tree.num_rollouts == 4
        assert (tree.nodes[0].num_correct, tree.nodes[0].num_decided) == expected


def test_nothing_judged_is_an_error():
    def policy(problem, prefix, call_index, sample_index):
        return Rollout(("a",), "?") if sample_index else Rollout(("a",), None, complete=False)

    with pytest.raises(NothingJudgedError, match=r"'p': none of the 4 rollouts.*\(3 undecided, 1 incomplete\)"):
        run(policy)


def test_config_out_of_range_is_refused():
    for name, value in [("num_rollouts", 0), ("max_rollouts", 15), ("alpha", 0.0), ("beta", 1.5), ("length_scale", 0)]:
        with pytest.raises(ValueError, match=f"{name}={value}.*must be"):
            OmegaPRMConfig(**{name: value})
