"""Driver: problems by content, resuming, no mixing of runs, failures recorded, the reasons to stop."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import random

import pytest
from PIL import Image
from support.pure_runs import PROBLEMS, PureEngine, label, pure_rollout, pure_run, read_trees

from mmprm_hf.answers import RuleVerifier
from mmprm_hf.data import Problem, Rollout, Verdict, content_hash
from mmprm_hf.errors import EngineUnavailableError, FolderInUseError, ProblemInputError
from mmprm_hf.files import lock_folder, read_json, read_jsonl, write_jsonl
from mmprm_hf.labelling import (
    EngineFailedError,
    NothingLabelledError,
    TooManyUndecidedError,
    label_problems_async,
    omegaprm,
)
from mmprm_hf.labelling.omegaprm import OmegaPRMConfig
from mmprm_hf.rows import problem_key
from mmprm_hf.steps import CUT


def tree_bytes(folder):
    return (folder / "trees.jsonl").read_bytes()


def read_failures(folder):
    return read_jsonl(folder / "failures.jsonl")


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """trees.jsonl of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole")
    label(folder)
    return tree_bytes(folder)


class DyingEngine(PureEngine):
    """Breaks down for good at its eighth call."""

    num_calls = 0

    async def generate(self, requests):
        self.num_calls += 1
        if self.num_calls > 7:
            raise ConnectionError("the server is gone")
        return await super().generate(requests)


def test_a_dead_engine_stops_the_run_and_the_next_one_resumes_it(tmp_path, expected):
    with pytest.raises(
        EngineFailedError, match="for 3 problems with no answer in between, last with ConnectionError: the"
    ):
        label(tmp_path, DyingEngine())
    log = tmp_path / "log"
    with (tmp_path / "trees.jsonl").open("ab") as file:
        file.write(b'{"problem_id": "p7", "nodes": [{"id": "torn')
    label(tmp_path, PureEngine(log))
    assert tree_bytes(tmp_path) == expected
    assert len(log.read_text().split()) == read_json(tmp_path / "summary.json")["num_requests"] - 7
    assert [tree.problem_id for tree in read_trees(tmp_path)] == [problem.id for problem in PROBLEMS]


def test_trees_do_not_depend_on_concurrency(tmp_path, expected):
    class Crowded(PureEngine):
        """Answers nobody before all problems wait."""

        async def generate(self, requests):
            while not requests[0].prefix and self.most_live < len(PROBLEMS) - 1:
                self.most_live += 1
                await asyncio.wait_for(self.is_full.wait(), 10)
            self.is_full.set()
            return await super().generate(requests)

    crowded = Crowded()
    crowded.is_full = asyncio.Event()
    label(tmp_path / "many", crowded, max_in_flight=40)
    label(tmp_path / "one", max_in_flight=1)
    assert tree_bytes(tmp_path / "many") == tree_bytes(tmp_path / "one") == expected


def test_a_run_works_inside_an_event_loop(tmp_path, expected):
    async def notebook():
        first = await label_problems_async(PROBLEMS, pure_run(tmp_path / "awaited"))
        return first.num_trees, label(tmp_path / "blocking").num_trees

    assert asyncio.run(notebook()) == (8, 8)
    assert tree_bytes(tmp_path / "awaited") == tree_bytes(tmp_path / "blocking") == expected


def test_runs_are_not_mixed(tmp_path):
    label(tmp_path, problems=PROBLEMS[:2])
    with pytest.raises(ValueError, match="other settings .*num_rollouts.*another output folder"):
        label(tmp_path, config=OmegaPRMConfig(num_rollouts=8))
    other = PureEngine()
    other.identity = {"engine": "other"}
    with pytest.raises(ValueError, match=r"\(engine.engine: 'pure' there, 'other' now;"):
        label(tmp_path, other)
    with pytest.raises(ValueError, match="seed: 0 there, 1 now"):
        label(tmp_path, seed=1)

    class Judge(RuleVerifier):
        identity = {"judge": "m"}

    with pytest.raises(ValueError, match=r"verifier.judge: None there, 'm' now; verifier\..* there, None now"):
        label(tmp_path, verifier=Judge())
    with pytest.raises(ValueError, match="search is a partial without a name"):
        label(tmp_path, search=functools.partial(omegaprm.search))
    assert label(tmp_path, problems=PROBLEMS[:3]).num_resumed == 2


def test_a_folder_has_one_writer(tmp_path):
    with lock_folder(tmp_path), pytest.raises(FolderInUseError, match="in use by another run"):
        label(tmp_path)
    label(tmp_path, problems=PROBLEMS[:1])


def test_an_engine_may_find_out_late_what_it_is(tmp_path):
    class Late(PureEngine):
        identity = None

        async def prepare(self):
            self.identity = {"engine": "late"}

    label(tmp_path, Late(), problems=PROBLEMS[:1])
    assert read_json(tmp_path / "run.json")["engine"] == {"engine": "late"}

    class Gone(PureEngine):
        async def prepare(self):
            raise EngineUnavailableError("connection refused")

    with pytest.raises(EngineFailedError, match="Gone is not ready: connection refused"):
        label(tmp_path / "gone", Gone())


# --- Problems are their content --------------------------------------------------------------------------------------


def test_moved_figures_and_new_ids_repeat_nothing(tmp_path):
    figure = Image.new("RGB", (8, 8), (10, 20, 30))
    figure.save(tmp_path / "a.png")
    problem = Problem("old", "q", images=(str(tmp_path / "a.png"),), answer="7")
    label(tmp_path / "run", problems=[problem, PROBLEMS[0]])
    (tmp_path / "a.png").rename(tmp_path / "b.png")
    log = tmp_path / "log"
    moved = dataclasses.replace(problem, id="new", images=(str(tmp_path / "b.png"),))
    summary = label(tmp_path / "run", PureEngine(log), problems=[moved, PROBLEMS[0]])
    assert not log.exists()
    assert (summary.num_resumed, summary.num_trees) == (2, 2)
    assert [tree.problem_id for tree in read_trees(tmp_path / "run")] == ["new", "p0"]
    for change in (
        {"answer": "8"},
        {"options": ("7", "8")},
        {"images": (Image.new("RGB", (8, 8)),)},
        {"question": "Q"},
    ):
        assert problem_key(dataclasses.replace(moved, **change)) != problem_key(moved)


def test_equal_problems_are_labelled_once(tmp_path):
    twin = dataclasses.replace(PROBLEMS[0], id="twin")
    log = tmp_path / "log"
    summary = label(tmp_path / "twins", PureEngine(log), problems=[*PROBLEMS[:2], twin])
    assert (summary.num_problems, summary.num_trees, summary.num_duplicates) == (3, 2, 1)
    label(tmp_path / "plain", problems=PROBLEMS[:2])
    assert tree_bytes(tmp_path / "twins") == tree_bytes(tmp_path / "plain")
    assert not [line for line in log.read_text().split() if line.startswith("twin/")]


def test_problems_are_taken_as_they_are_needed(tmp_path, expected):
    num_taken, engine = [0], PureEngine()
    most_ahead = []

    def stream():
        for problem in PROBLEMS:
            num_taken[0] += 1
            done = (tmp_path / "trees.jsonl").read_bytes().count(b"\n")
            most_ahead.append(num_taken[0] - done)
            yield problem

    label(tmp_path, engine, problems=stream(), max_in_flight=2)
    assert tree_bytes(tmp_path) == expected
    assert max(most_ahead) <= 2


def test_trees_of_problems_outside_the_run_are_kept(tmp_path):
    label(tmp_path)
    before = {tree.problem_id for tree in read_trees(tmp_path)}
    summary = label(tmp_path, problems=PROBLEMS[5:2:-1])
    assert (summary.num_problems, summary.num_resumed) == (3, 3)
    ids = [tree.problem_id for tree in read_trees(tmp_path)]
    assert ids[:3] == ["p5", "p4", "p3"] and set(ids) == before


def test_a_tree_that_stands_twice_in_the_file_is_kept_once(tmp_path, expected):
    label(tmp_path)
    (tmp_path / "trees.jsonl").write_bytes(expected + expected.splitlines(keepends=True)[-1])
    label(tmp_path)
    assert tree_bytes(tmp_path) == expected


def test_repeated_ids_are_refused(tmp_path):
    with pytest.raises(ValueError, match="'p0' appears twice"):
        label(tmp_path, problems=[PROBLEMS[0], PROBLEMS[0]])
    assert not (tmp_path / "run.json").exists()
    with pytest.raises(ValueError, match="'p0' appears twice"):
        label(tmp_path, problems=iter([PROBLEMS[0], PROBLEMS[0]]))


# --- Failures and reasons to stop ------------------------------------------------------------------------------------


def test_failed_problems_are_recorded_and_retried(tmp_path, expected):
    class Picky(PureEngine):
        async def generate(self, requests):
            if requests[0].problem.id == "p3":
                raise ProblemInputError("p3", "its figure has a hole")
            return await super().generate(requests)

    broken = Problem("p9", "q9", images=(str(tmp_path / "nowhere.png"),), answer="7")
    summary = label(tmp_path, Picky(), problems=[*PROBLEMS, broken])
    assert (summary.num_trees, summary.num_failed) == (7, 2)
    first, second = read_failures(tmp_path)
    assert first == {
        "problem_id": "p3",
        "problem_key": problem_key(PROBLEMS[3]),
        "error": "ProblemInputError",
        "reason": "Problem 'p3': its figure has a hole",
    }
    assert second["problem_key"] is None and "nowhere.png' does not exist" in second["reason"]
    summary = label(tmp_path)
    assert (summary.num_trees, summary.num_failed, summary.num_resumed) == (8, 0, 7)
    assert [row["problem_id"] for row in read_failures(tmp_path)] == ["p9"]  # not part of this run
    assert tree_bytes(tmp_path) == expected


class Tired(RuleVerifier):
    """Has no verdict on some problems, and remembers what it was asked."""

    def __init__(self, *tired_of):
        self.tired_of, self.asked = tired_of, []

    async def judge(self, problem, answer):
        self.asked.append((problem.id, answer))
        return Verdict.UNDECIDED if problem.id in self.tired_of else await super().judge(problem, answer)


def test_too_many_undecided_stop_the_run(tmp_path, expected):
    with pytest.raises(
        TooManyUndecidedError, match=r"have no verdict, above max_undecided=0\.01.*an undecided answer: '"
    ):
        label(tmp_path, verifier=Tired("p0", "p1"), max_undecided=0.01)
    awake = Tired()
    label(tmp_path, verifier=awake, max_undecided=0.01)
    assert tree_bytes(tmp_path) == expected
    assert {problem_id for problem_id, _ in awake.asked} == {"p0", "p1"}


def test_a_problem_with_too_many_undecided_gets_no_tree(tmp_path, expected):
    class Half(Tired):
        async def judge(self, problem, answer):
            verdict = await super().judge(problem, answer)
            is_open = problem.id == "p2" and answer == "8" and not self.tired_of
            return Verdict.UNDECIDED if is_open else verdict

    summary = label(tmp_path, verifier=Half())
    assert (summary.num_trees, summary.num_failed) == (7, 1)
    (failure,) = read_failures(tmp_path)
    assert failure["error"] == "ProblemUndecidedError" and "above max_undecided=0.2" in failure["reason"]
    label(tmp_path, verifier=Half("nobody"))
    assert tree_bytes(tmp_path) == expected


class Mumbling(PureEngine):
    """Never finishes a text."""

    async def generate(self, requests):
        cut = Rollout((), None, False, "length", text="well, " * 100, fault=CUT)
        return [(cut,) * request.num_samples for request in requests]


def test_a_run_without_a_single_tree_explains_why(tmp_path):
    many = [Problem(f"m{i}", f"question {i}", answer="7") for i in range(100)]
    message = (
        r"None of 20 problems gave a tree \(20 x NothingJudgedError\); of their rollouts 80 are incomplete "
        r"\(80 cut at the token limit\) and 0 undecided\. An incomplete rollout \(finish reason 'length'\): "
        r"'well, .{290,330} well, '\. NothingJudgedError: Problem 'm0'"
    )
    with pytest.raises(NothingLabelledError, match=message):
        label(tmp_path / "cut", Mumbling(), problems=many)
    asked = Tired("p0", "p1", "p2")
    with pytest.raises(TooManyUndecidedError, match="of .* complete rollouts have no verdict"):
        label(tmp_path / "judge", verifier=asked, problems=PROBLEMS[:3])
    with pytest.raises(
        NothingLabelledError, match=r"None of 3 problems.*and \d+ undecided; an undecided answer: '[78]'"
    ):
        label(tmp_path / "judge", verifier=asked, problems=PROBLEMS[:3], max_undecided=1.0)
    missing = [Problem(f"m{i}", "q", images=(f"{i}.png",), answer="7") for i in range(30)]
    with pytest.raises(NothingLabelledError, match="20 x ProblemInputError.*'0.png' does not exist"):
        label(tmp_path / "figures", problems=missing, max_in_flight=1)


def test_one_tree_keeps_a_run_going(tmp_path):
    class Mostly(Mumbling):
        async def generate(self, requests):
            ids = {request.problem.id for request in requests}
            return await (PureEngine.generate(self, requests) if ids == {"m0"} else super().generate(requests))

    many = [Problem(f"m{i}", f"question {i}", answer="7") for i in range(40)]
    summary = label(tmp_path, Mostly(), problems=many, max_in_flight=1)
    assert (summary.num_trees, summary.num_failed) == (1, 39)


def test_bad_files_and_arguments_are_named(tmp_path):
    for folder in (tmp_path, tmp_path / "whole"):
        label(folder, problems=PROBLEMS[:3])
    lines = (tmp_path / "trees.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "trees.jsonl").write_text(lines[0] + "{broken\n" + lines[2])
    with pytest.raises(ValueError, match="Line 2 of .*trees.jsonl is not JSON"):
        label(tmp_path)
    (tmp_path / "trees.jsonl").write_text("{}\n")
    with pytest.raises(ValueError, match="Line 1 of trees.jsonl is not a search tree"):
        label(tmp_path)
    tree = {**dataclasses.asdict(read_trees(tmp_path / "whole")[0]), "problem_key": ""}
    write_jsonl(tmp_path / "trees.jsonl", [tree])
    with pytest.raises(ValueError, match="'p0' in trees.jsonl has no problem_key"):
        label(tmp_path)
    with pytest.raises(ValueError, match="max_in_flight=0"):
        label(tmp_path, max_in_flight=0)
    with pytest.raises(ValueError, match=r"max_undecided=1\.5"):
        label(tmp_path, max_undecided=1.5)
    assert label(tmp_path / "none", problems=[]).num_problems == 0


def test_a_journal_of_another_run_is_set_aside(tmp_path, caplog):
    with pytest.raises(EngineFailedError, match="the server is gone"):
        label(tmp_path, DyingEngine())
    journals = sorted((tmp_path / "journal").glob("*.jsonl"))
    journals[0].rename(journals[0].with_name(f"{problem_key(PROBLEMS[7])}.jsonl"))
    label(tmp_path, problems=PROBLEMS)
    assert "belongs to another run or problem" in caplog.text
    assert len(list((tmp_path / "journal").glob("*.stale"))) == 1
    assert read_trees(tmp_path)[7].rollouts[0][1].steps == first_steps(PROBLEMS[7], read_trees(tmp_path)[7])


def first_steps(problem, tree):
    """What the policy writes first for the problem itself: a tree must not contain another problem's answers."""
    seed = random.Random(content_hash(0, problem_key(problem))).getrandbits(31)
    return pure_rollout(problem, (), seed, 0).steps


def test_a_tree_follows_its_problem_when_ids_shift(tmp_path):
    first, second = Problem("p0", "question A", answer="7"), Problem("p1", "question B", answer="7")
    label(tmp_path, problems=[first, second])
    shifted = [
        Problem("p0", "question new", answer="7"),
        Problem("p1", "question A", answer="7"),
        Problem("p2", "question B", answer="7"),
    ]
    label(tmp_path, problems=shifted)
    assert {tree.problem_id: tree.problem_key for tree in read_trees(tmp_path)} == {
        problem.id: problem_key(problem) for problem in shifted
    }
