"""Formulas in worker processes: bounds, deaths, threads, event loops, forks, hostile text, and nothing left behind."""

import asyncio
import itertools
import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.layout import ROOT
from support.worker_processes import children_of

import mmprm_hf
from mmprm_hf.answers import verifier
from mmprm_hf.answers.formula_pool import FormulaPool
from mmprm_hf.answers.verifier import RuleVerifier
from mmprm_hf.data import Problem, Verdict

TOWER = "9^{9^{9^9}}"
EASY = ("\\sqrt{12}", "2\\sqrt{3}")
SLACK = 10.0
"""Seconds that a busy machine may add to a bound: a worker's start and the wait for a processor."""


def pool_of_two():
    before = children_of(os.getpid())
    pool = FormulaPool(max_workers=2, timeout_seconds=2)
    yield pool
    pool.close()
    assert children_of(os.getpid()) <= before


pool = pytest.fixture(pool_of_two)  # for tests that end its workers
shared_pool = pytest.fixture(pool_of_two, scope="module")


def test_too_small_arguments_are_refused():
    with pytest.raises(ValueError, match="max_workers=0"):
        FormulaPool(max_workers=0)
    with pytest.raises(ValueError, match="1 second"):
        FormulaPool(timeout_seconds=0.5)


def test_verdicts_are_remembered(shared_pool):
    fresh = ("\\sqrt{48}", "4\\sqrt{3}")  # asked nowhere else: the tests share the pool
    assert shared_pool.remembered(*fresh) is None
    assert shared_pool.verify(*fresh) is Verdict.CORRECT
    assert shared_pool.verify("3\\sqrt{2}", "2\\sqrt{3}") is Verdict.INCORRECT
    assert shared_pool.verify("5", "\\frac{") is Verdict.UNDECIDED
    assert shared_pool.verify("1+" * 200 + "1", "201") is Verdict.UNDECIDED  # too long
    assert shared_pool.remembered(*fresh) is Verdict.CORRECT


def test_a_tower_is_undecided_in_time_wherever_it_is_asked(shared_pool):
    start = time.monotonic()
    assert shared_pool.verify(TOWER, "5") is Verdict.UNDECIDED
    with ThreadPoolExecutor(4) as threads:
        slow = threads.submit(shared_pool.verify, "5", TOWER)
        slower = threads.submit(shared_pool.verify, "8" + TOWER, TOWER)
        assert shared_pool.verify(*EASY) is Verdict.CORRECT
        assert slow.result() is slower.result() is Verdict.UNDECIDED
    assert time.monotonic() - start < 3 * 2 + SLACK


def test_the_event_loop_keeps_ticking_and_cancelled_questions_jam_nothing(shared_pool, monkeypatch):
    monkeypatch.setattr(verifier, "SHARED_POOL", shared_pool)
    problem = Problem(id="p", question="How many?", answer="5")

    async def tick(gaps):
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.01)
            gaps.append(time.monotonic() - before)

    async def run():
        gaps = []
        ticking = asyncio.create_task(tick(gaps))
        towers = [asyncio.create_task(RuleVerifier().judge(problem, f"x+{n}^{{{TOWER}}}")) for n in range(2, 5)]
        verdict = await towers[0]
        for task in towers[1:]:
            task.cancel()
        # Formulas with an unknown: the others are decided without a worker.
        easy = await RuleVerifier().judge(Problem(id="q", question="?", answer=f"{EASY[1]}+x"), f"x+{EASY[0]}")
        ticking.cancel()
        return verdict, easy, gaps

    verdict, easy, gaps = asyncio.run(run())
    assert (verdict, easy) == (Verdict.UNDECIDED, Verdict.CORRECT)
    assert len(gaps) > 30  # the first tower alone takes a second; a loop that is held up ticks a few times
    assert max(gaps) < 1


def test_waiting_formulas_leave_the_event_loops_own_threads_to_others(shared_pool, monkeypatch):
    monkeypatch.setattr(verifier, "SHARED_POOL", shared_pool)
    problem = Problem(id="p", question="How many?", answer="5")

    async def run():
        towers = [asyncio.create_task(RuleVerifier().judge(problem, f"y+{n}^{{{TOWER}}}")) for n in range(2, 100)]
        await asyncio.sleep(0.1)
        await asyncio.wait_for(asyncio.to_thread(time.monotonic), SLACK)  # 98 towers would take minutes
        for task in towers:
            task.cancel()
        return await asyncio.gather(*towers, return_exceptions=True)

    assert all(isinstance(outcome, asyncio.CancelledError) for outcome in asyncio.run(run()))


def test_a_worker_killed_from_outside_is_replaced_and_the_question_asked_once_more(pool):
    pool.timeout_seconds = 30.0  # no question here is slow; the machine may be
    before = children_of(os.getpid())
    assert pool.verify(*EASY) is Verdict.CORRECT
    (worker,) = children_of(os.getpid()) - before
    os.kill(worker, signal.SIGKILL)
    assert pool.verify("\\sqrt{20}", "2\\sqrt{5}") is Verdict.CORRECT  # it was dead before the question
    (worker,) = children_of(os.getpid()) - before
    for n in (3, 5, 6):  # dying, but not yet dead: the question goes to it, and then to one other
        os.kill(worker, signal.SIGKILL)
        assert pool.verify(f"\\sqrt{{{2 * n * n}}}", f"{n}\\sqrt{{2}}") is Verdict.CORRECT
        (worker,) = children_of(os.getpid()) - before
    with ThreadPoolExecutor(1) as threads:
        slow = threads.submit(pool.verify, "(" * 20 + "1" + ")" * 20, "\\sqrt{1}")
        time.sleep(0.1)
        os.kill(worker, signal.SIGKILL)  # it dies of the question
        assert slow.result() is not Verdict.INCORRECT
    assert pool.verify("\\sqrt{28}", "2\\sqrt{7}") is Verdict.CORRECT
    assert len(children_of(os.getpid()) - before) == 1


def test_workers_run_this_very_package_wherever_it_lies(pool):
    before = children_of(os.getpid())
    pool.verify(*EASY)
    (worker,) = children_of(os.getpid()) - before
    variables = Path("/proc", str(worker), "environ").read_bytes().decode().split("\0")
    (path,) = [variable.partition("=")[2] for variable in variables if variable.startswith("PYTHONPATH=")]
    assert path.split(os.pathsep)[0] == str(Path(mmprm_hf.__file__).resolve().parents[1])


def test_a_worker_that_ignores_its_own_limits_is_killed(pool):
    before = children_of(os.getpid())
    assert pool.verify(*EASY) is Verdict.CORRECT
    (worker,) = children_of(os.getpid()) - before
    os.kill(worker, signal.SIGSTOP)
    start = time.monotonic()
    assert pool.verify("\\sqrt{20}", "2\\sqrt{5}") is Verdict.UNDECIDED
    assert time.monotonic() - start < 2 + SLACK
    assert worker not in children_of(os.getpid())


def test_closing_during_a_question_leaves_it_undecided_and_the_pool_usable(pool):
    pool.verify(*EASY)
    with ThreadPoolExecutor(1) as threads:
        slow = threads.submit(pool.verify, TOWER, "5")
        time.sleep(0.3)
        pool.close()
        assert slow.result() is Verdict.UNDECIDED
    assert pool.remembered(TOWER, "5") is None  # it was not decided
    assert pool.verify("\\sqrt{20}", "2\\sqrt{5}") is Verdict.CORRECT


def test_a_fork_has_workers_of_its_own(pool):
    pool.verify(*EASY)
    child = os.fork()
    if child == 0:
        is_right = pool.verify("\\sqrt{20}", "2\\sqrt{5}") is Verdict.CORRECT
        pool.close()
        os._exit(0 if is_right else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert pool.verify("\\sqrt{28}", "2\\sqrt{7}") is Verdict.CORRECT


@pytest.mark.parametrize("last_words", ["", "os.kill(os.getpid(), signal.SIGKILL)"], ids=["exit", "killed"])
def test_no_worker_outlives_its_parent(last_words):
    program = (
        "import os, signal, threading, time; from mmprm_hf.answers.formula_pool import FormulaPool\n"
        "from support.worker_processes import children_of\n"
        "pool = FormulaPool(timeout_seconds=2); pool.verify('1', '1')\n"
        "slow = threading.Thread(target=pool.verify, args=('9^{9^{9^9}}', '5'), daemon=True)\n"
        f"print(*children_of(os.getpid()), flush=True); slow.start(); time.sleep(0.2)\n{last_words}"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment)
    assert done.returncode == (-signal.SIGKILL if last_words else 0)
    worker = Path("/proc", done.stdout.strip(), "cmdline")
    deadline = time.monotonic() + 4 + SLACK
    while worker.is_file() and b"formula_worker" in worker.read_bytes():
        assert time.monotonic() < deadline, "the worker is still there"
        time.sleep(0.05)


def hostile_texts(rng: random.Random):
    """Endless text of the kinds that broke parsers; none is the answer to a gold of the test."""
    pieces = [
        "\\frac",
        "{",
        "}",
        "\\sqrt",
        "^",
        "_",
        "(",
        ")",
        "[",
        "\\{",
        "$",
        "\\left",
        "\\right",
        "&",
        "\\\\",
        "!",
        "|",
    ]
    pieces += [
        "\\begin{cases}",
        "\\boxed{",
        "\x00",
        "\x1b[2J",
        "\u202e",
        "\ud800",
        "\udfff",
        "\uffff",
        "٣",
        "\n",
        "%",
        "#",
    ]
    makers = [
        lambda: rng.choice(["98^{76^{54^{32}}}", "987654321!!"]),  # few: each takes a second once, then it is known
        lambda: "(" * rng.randint(100, 3000) + "7" + ")" * rng.randint(0, 3000),
        lambda: "\\{" + ",".join(str(rng.randint(100, 999)) for _ in range(rng.randint(20, 300))) + "\\}",
        lambda: "".join(rng.choices(pieces, k=rng.randint(1, 60))),
        lambda: "".join(rng.choice(pieces) + rng.choice("89 xyz") for _ in range(rng.randint(1, 40))),
        lambda: "".join(chr(rng.randrange(0x11_0000)) for _ in range(rng.randint(1, 80))),
        lambda: rng.choice(pieces) * rng.randint(1, 900),
        lambda: "\\frac{8}{" * rng.randint(1, 30) + "0" + "}" * rng.randint(0, 30),
        lambda: f"{rng.randint(2, 9)}e{rng.randint(20, 10**4)}",
    ]
    yield from (maker() for maker in itertools.cycle(makers))


def test_two_thousand_hostile_answers_never_hang_raise_or_win(shared_pool, monkeypatch):
    monkeypatch.setattr(verifier, "SHARED_POOL", shared_pool)
    golds = ["17", "2\\sqrt{3}", "7:35", "(3, 4)", "north", "x+1"]
    slowest = 0.0
    for answer, gold in itertools.islice(
        zip(hostile_texts(random.Random(0)), itertools.cycle(golds), strict=False), 2000
    ):
        before = time.monotonic()
        verdict = RuleVerifier().verify(answer, gold)
        slowest = max(slowest, time.monotonic() - before)
        assert verdict in (Verdict.INCORRECT, Verdict.UNDECIDED), (answer[:80], gold)
    assert slowest < 2 + SLACK
