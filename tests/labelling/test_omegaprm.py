"""OmegaPRM search on a scripted policy: bisection, determinism, budget, what counts and what does not."""

from __future__ import annotations

import asyncio
import dataclasses
import heapq
import math
import random
from collections import Counter

import pytest
from support.scripted_engine import ScriptedEngine

from mmprm_hf.data import Problem, Rollout, SearchTree, Verdict
from mmprm_hf.labelling import tree_to_paths
from mmprm_hf.labelling.candidate_pool import CandidatePool
from mmprm_hf.labelling.failures import NothingJudgedError
from mmprm_hf.labelling.omegaprm import OmegaPRMConfig, search
from mmprm_hf.labelling.tree_draft import TreeDraft

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
    """Half of the rollouts from a correct prefix are correct; the others all go wrong at `first_error`."""
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
    chance = rng.random()
    if chance < 0.1:
        return Rollout(tuple(steps[len(prefix) : -1]), None, complete=False, finish_reason="length")
    return Rollout(tuple(steps[len(prefix) :]), "?" if chance < 0.2 else answer)


def test_bisection_finds_the_first_error():
    for num_steps, first_error in [(n, error) for n in (2, 3, 5, 8, 13) for error in range(n)]:
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


def test_a_whole_wrong_solution_is_not_sampled_again():
    policy, wrong = error_policy(4, 3)
    asked = []

    def recording(problem, prefix, call_index, sample_index):
        asked.append(prefix)
        return policy(problem, prefix, call_index, sample_index)

    tree = run(recording)
    assert wrong not in asked
    leaf = next(node for i, node in enumerate(tree.nodes) if tree.prefix(i) == wrong)
    assert (leaf.num_correct, leaf.num_decided, leaf.steps) == (0, 1, ("wrong 3",))


def test_the_same_seed_gives_the_same_tree():
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
        seeds, config = [], OmegaPRMConfig(num_rollouts=4)
        asyncio.run(search(PROBLEM, Seeds(noisy_policy), Verifier(), config, random.Random(seed)))
        runs.append(seeds)
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]
    assert len(set(runs[0])) == len(runs[0]) > 3


def test_the_budget_is_never_exceeded_and_estimates_are_whole():
    """The published code checks the budget between searches only."""
    for max_rollouts in (4, 7, 9, 30, 35):
        config = OmegaPRMConfig(num_rollouts=4, max_rollouts=max_rollouts, num_searches=100, reuse_rollouts=False)
        tree = run(noisy_policy, config)
        assert max_rollouts - 4 < tree.num_rollouts <= max_rollouts
        drawn = [index for index, _ in tree.rollouts]
        assert {drawn.count(index) for index in drawn} == {4}


def test_the_budget_is_never_exceeded_however_estimates_are_made():
    for options in ({}, {"sign_confidence": 0.9}, {"max_posterior_std": 0.2}, {"estimate_every_step": True}):
        for max_rollouts in (8, 11, 33, 64):
            config = OmegaPRMConfig(num_rollouts=8, max_rollouts=max_rollouts, num_searches=50, **options)
            assert 8 <= run(noisy_policy, config).num_rollouts <= max_rollouts


def brute_counts(tree, prefix, biased=()):
    """(num_correct, num_decided) of a prefix from the tree's rollouts: drawn from it or passing it from elsewhere.

    `biased` are the prefixes from which a wrong rollout was selected that led the search here.
    """
    counts = [0, 0]
    for index, rollout in tree.rollouts:
        start = tree.prefix(index)
        if start in biased:
            continue
        passes = len(start) <= len(prefix) and (start + rollout.steps)[: len(prefix)] == prefix
        if passes and rollout.verdict is not Verdict.UNDECIDED:
            counts[0] += rollout.verdict is Verdict.CORRECT
            counts[1] += 1
    return tuple(counts)


def test_the_canonical_tree_merges_prefixes_and_counts_every_rollout_that_passes(monkeypatch):
    """Identical prefixes are one node; rollouts through a shared prefix are its free samples."""
    biased, num_selections = {}, 0
    original = TreeDraft.select

    def select(draft, prefix, solution):
        nonlocal num_selections
        num_selections += 1
        for length in range(len(prefix) + 1, len(solution)):
            if not draft.record(solution[:length]).is_estimated:
                biased.setdefault(solution[:length], set()).add(prefix)
        original(draft, prefix, solution)

    monkeypatch.setattr(TreeDraft, "select", select)
    tree = run(noisy_policy, OmegaPRMConfig(num_rollouts=16, max_rollouts=2000, num_searches=100))
    prefixes = [tree.prefix(i) for i in range(len(tree.nodes))]
    assert len(set(prefixes)) == len(prefixes) > 20
    num_reused = 0
    for index, node in enumerate(tree.nodes):
        num_drawn = sum(at == index for at, _ in tree.rollouts)
        if num_drawn:
            assert (node.num_correct, node.num_decided) == brute_counts(
                tree, prefixes[index], biased.get(prefixes[index], ())
            )
            assert num_drawn <= 16 <= num_drawn + node.num_decided
            num_reused += num_drawn < 16
        if index:
            assert node.parent < index
            shorter = [p for p in prefixes if p == prefixes[index][: len(p)] and len(p) < len(prefixes[index])]
            assert prefixes[node.parent] == max(shorter, key=len)
    assert num_reused > 3
    assert tree.num_incomplete == sum(not rollout.complete for _, rollout in tree.rollouts) > 0
    assert tree.num_undecided == sum(rollout.answer == "?" for _, rollout in tree.rollouts) > 0
    assert sum(node.num_visits for node in tree.nodes) == num_selections <= 100
    assert any(rollout.text for _, rollout in tree.rollouts) is False, "texts of complete rollouts are not kept"


def test_reused_rollouts_save_rollouts_and_do_not_shift_estimates():
    """150 searches each way on a policy whose true success rates are known: 0.85 ** steps left, 0 after an error.

    The mean error of about 1,000 estimates of 8 rollouts has a standard error of 0.0036, so that 0.018 is 5 of them. If
    the rollouts that led the search to a prefix counted as its samples, estimates would be 0.03 too low here.
    """

    def always_decided(problem, prefix, call_index, sample_index):
        rng = random.Random(f"{seed} {prefix} {call_index} {sample_index}")
        steps = list(prefix)
        while len(steps) < 6:
            is_good = rng.random() < 0.85
            steps.append(f"{'good' if is_good else 'bad'} {len(steps)} {rng.randrange(2)}")
        is_right = not any(step.startswith("bad") for step in steps)
        return Rollout(tuple(steps[len(prefix) :]), "right" if is_right else "wrong")

    num_rollouts, mean_error = {}, {}
    for reuse in (False, True):
        errors, num_rollouts[reuse] = [], 0
        for seed in range(150):
            config = OmegaPRMConfig(num_rollouts=8, max_rollouts=400, num_searches=4, reuse_rollouts=reuse)
            tree = run(always_decided, config, seed=seed)
            num_rollouts[reuse] += tree.num_rollouts
            estimated = {index for index, _ in tree.rollouts}
            for index in estimated - {0}:
                prefix = tree.prefix(index)
                truth = 0 if any(step.startswith("bad") for step in prefix) else 0.85 ** (6 - len(prefix))
                errors.append(tree.nodes[index].mc_estimate - truth)
        mean_error[reuse] = sum(errors) / len(errors)
        assert len(errors) > 500
    assert max(map(abs, mean_error.values())) < 0.018
    assert num_rollouts[True] < 0.95 * num_rollouts[False]


def test_every_step_can_have_an_estimate_of_its_own():
    """The published search labels ends of segments only."""
    policy, wrong = error_policy(13, 9)
    sparse = run(policy, OmegaPRMConfig(num_rollouts=4, num_searches=1, max_rollouts=400))
    dense = run(policy, OmegaPRMConfig(num_rollouts=4, num_searches=1, max_rollouts=400, estimate_every_step=True))
    known = {dense.prefix(i) for i, node in enumerate(dense.nodes) if node.num_decided}
    assert {wrong[:length] for length in range(1, 14)} <= known
    assert len(sparse.nodes) < len(dense.nodes)
    assert all(len(node.steps) == 1 for node in dense.nodes[1:])


def test_estimates_of_every_step_are_unbiased():
    """Steps that differ between solutions, so that a prefix's free samples are the rollout it was taken from.

    200 searches, about 3,000 estimates of 8 rollouts: the standard error of their mean is at most 0.0045, even if those
    of one solution were equal, so that 0.03 is 6 of them. Prefixes taken from correct solutions alone are 0.07 too high
    here.
    """
    errors = []
    for seed in range(200):

        def unique_steps(problem, prefix, call_index, sample_index, seed=seed):
            rng = random.Random(f"{seed} {prefix} {call_index} {sample_index}")
            steps = list(prefix)
            while len(steps) < 4:
                is_good = rng.random() < 0.74
                steps.append(f"{'good' if is_good else 'bad'} {rng.random()}")
            is_right = not any(step.startswith("bad") for step in steps)
            return Rollout(tuple(steps[len(prefix) :]), "right" if is_right else "wrong")

        config = OmegaPRMConfig(num_rollouts=8, max_rollouts=8 * 12, num_searches=0, estimate_every_step=True)
        tree = run(unique_steps, config, seed=seed)
        for index in {index for index, _ in tree.rollouts} - {0}:
            prefix = tree.prefix(index)
            truth = 0 if any(step.startswith("bad") for step in prefix) else 0.74 ** (4 - len(prefix))
            errors.append(tree.nodes[index].mc_estimate - truth)
    assert len(errors) > 1000
    assert abs(sum(errors) / len(errors)) < 0.03


def test_no_label_is_zero_where_a_correct_solution_passes():
    """Steps are shared and success is rare: eight fresh samples often miss what an earlier rollout has found."""

    def rarely_right(problem, prefix, call_index, sample_index):
        rng = random.Random(f"{seed} {prefix} {call_index} {sample_index}")
        steps = list(prefix)
        while len(steps) < 4:
            steps.append(f"{'good' if rng.random() < 0.5 else 'bad'} {len(steps)}")
        # The policy may recover from an error: no prefix is hopeless.
        is_right = rng.random() < (0.05 if any(step.startswith("bad") for step in steps) else 0.5)
        return Rollout(tuple(steps[len(prefix) :]), "right" if is_right else "wrong")

    num_refuted = 0
    for seed in range(60):
        for reuse in (True, False):
            config = OmegaPRMConfig(num_rollouts=8, max_rollouts=160, num_searches=8, reuse_rollouts=reuse)
            tree = run(rarely_right, config, seed=seed)
            solutions = [
                tree.prefix(at) + rollout.steps for at, rollout in tree.rollouts if rollout.verdict is Verdict.CORRECT
            ]
            for path in tree_to_paths(tree):
                for length, (num_correct, num_decided) in enumerate(path.label_counts, start=1):
                    if num_decided and any(solution[:length] == path.steps[:length] for solution in solutions):
                        assert num_correct > 0
            for index, node in enumerate(tree.nodes[1:], start=1):
                prefix = tree.prefix(index)
                is_known = any(solution[: len(prefix)] == prefix for solution in solutions)
                num_refuted += is_known and node.num_correct == 0 < node.num_decided  # trees keep what was drawn
    assert num_refuted > 5


def test_selection_takes_the_highest_q_plus_u():
    """Brute force over all pairs agrees with the pool at every selection."""
    config = OmegaPRMConfig(c_puct=0.6, length_scale=5)
    rng = random.Random(3)
    pool, estimates, visits, pairs = CandidatePool(config), {}, {}, []
    for name in range(12):
        prefix = (f"prefix {name}",)
        estimates[prefix], visits[prefix] = rng.randrange(1, 16) / 16, 0
        rollouts = [Rollout(("w " * rng.randrange(1, 40) + str(i),), "no", verdict=Verdict.INCORRECT) for i in range(6)]
        pool.add(prefix, estimates[prefix], 0, rollouts)
        pairs += [(prefix, prefix + rollout.steps) for rollout in rollouts]
    while pairs:
        total = sum(visits.values())

        def priority(pair, total=total):
            num_words = len(pair[1][-1].split())
            quality = config.alpha ** (1 - estimates[pair[0]]) * config.beta ** (num_words / 5)
            return quality + config.c_puct * math.sqrt(total) / (1 + visits[pair[0]])

        best = max(map(priority, pairs))
        before = {pair: priority(pair) for pair in pairs}
        selected = pool.pop()
        assert math.isclose(before[selected], best)
        pairs.remove(selected)
        visits[selected[0]] += 1
    assert pool.pop() is None
    assert max(visits.values()) == 6


def test_one_selection_among_many_candidates_moves_few(monkeypatch):
    """The published code rescores all candidates after every search. Here a prefix competes by its visit count."""
    num_moves = 0

    def counted(move):
        def call(heap, *arguments):
            nonlocal num_moves
            num_moves += len(heap).bit_length()
            return move(heap, *arguments)

        return call

    rng, pool, visits = random.Random(0), CandidatePool(OmegaPRMConfig()), Counter()
    for name in range(2000):
        rollouts = [Rollout(("w " * rng.randrange(1, 40) + str(i),), "no", verdict=Verdict.INCORRECT) for i in range(8)]
        pool.add((f"prefix {name}",), rng.random(), 0, rollouts)
    for name in ("heappop", "heappush"):
        monkeypatch.setattr(heapq, name, counted(getattr(heapq, name)))
    for num_selections in range(1, 1001):
        prefix, _ = pool.pop()
        visits[prefix] += 1
        assert len(set(visits.values())) <= math.sqrt(2 * num_selections) + 1  # one comparison per distinct count
    assert num_moves / 1000 < 3 * math.log2(16_000)


def test_incomplete_and_undecided_rollouts_are_never_judged_or_selected():
    def policy(problem, prefix, call_index, sample_index):
        rollouts = [
            Rollout(("a", "b"), "right", text="all of it"),
            Rollout(("c", "d"), None, complete=False, text="c d and then"),
            Rollout(("e", "f"), "?"),
            Rollout((), "wrong"),
        ]
        return rollouts[sample_index]

    verifier = Verifier()
    tree = run(policy, verifier=verifier)
    assert sorted(verifier.asked) == ["?", "right", "wrong"]
    assert tree.num_rollouts == 4, "no rollout could be bisected"
    assert (tree.nodes[0].num_correct, tree.nodes[0].num_decided) == (1, 2)
    assert [tree.prefix(i) for i in range(len(tree.nodes))] == [(), ("a", "b")]
    assert [rollout.text for _, rollout in tree.rollouts] == ["", "c d and then", "", ""]


def test_the_verifier_is_asked_once_per_answer():
    verifier = Verifier()
    run(noisy_policy, OmegaPRMConfig(num_rollouts=16, max_rollouts=400), verifier=verifier)
    assert sorted(verifier.asked) == ["?", "right", "wrong"]


def test_a_prefix_without_a_verdict_does_not_stop_the_search():
    policy, wrong = error_policy(4, 1)

    def partly_unjudged(problem, prefix, call_index, sample_index):
        rollout = policy(problem, prefix, call_index, sample_index)
        return dataclasses.replace(rollout, answer="?") if len(prefix) == 2 else rollout

    tree = run(partly_unjudged, OmegaPRMConfig(num_rollouts=4, reuse_rollouts=False))
    node = next(node for i, node in enumerate(tree.nodes) if tree.prefix(i) == wrong[:2])
    assert (node.num_correct, node.num_decided) == (0, 0)
    assert node.mc_estimate is None


def test_problems_solved_always_or_never_need_no_search():
    for answer, expected in [("right", (4, 4)), ("wrong", (0, 4))]:
        tree = run(lambda *args, answer=answer: Rollout(("a", "b"), answer))
        assert tree.num_rollouts == 4
        assert (tree.nodes[0].num_correct, tree.nodes[0].num_decided) == expected


def test_a_problem_without_a_decided_rollout_is_an_error():
    def policy(problem, prefix, call_index, sample_index):
        return Rollout(("a",), "?") if sample_index else Rollout(("a",), None, complete=False)

    with pytest.raises(NothingJudgedError, match=r"'p': none of the 4 rollouts.*\(3 undecided, 1 incomplete\)"):
        run(policy)


def test_options_out_of_range_are_refused():
    for name, value in [("num_rollouts", 0), ("max_rollouts", 15), ("alpha", 0.0), ("beta", 1.5), ("length_scale", 0)]:
        with pytest.raises(ValueError, match=f"{name}={value}.*must be"):
            OmegaPRMConfig(**{name: value})
