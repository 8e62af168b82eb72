"""The journal of one problem: what is on disk is known, and a damaged file loses only what follows the damage."""

from __future__ import annotations

from mmprm_hf.data import Rollout, Verdict
from mmprm_hf.files import read_jsonl
from mmprm_hf.labelling.journal import ProblemJournal

HEADER = {"problem_key": "k", "run": "r"}
KEY = (("a step",), 2, 7, 0)
ROLLOUTS = (Rollout(("b",), "7", num_tokens=3, num_prompt_tokens=5), Rollout((), None, complete=False, text="cut"))


def open_journal(tmp_path):
    return ProblemJournal(tmp_path / "k.jsonl", HEADER)


def fill(journal):
    journal.add_answer(KEY, ROLLOUTS)
    journal.add_verdict("7", Verdict.CORRECT, {"judge_calls": 1})
    journal.add_verdict("?", Verdict.UNDECIDED, {"judge_calls": 2})
    journal.add_step_verdicts(("a step", "b"), [Verdict.CORRECT, Verdict.UNDECIDED], {"step_judge_calls": 1})
    journal.add_step_verdicts(("c",), [Verdict.UNDECIDED], {})
    return journal


def known(journal):
    examples = journal.incomplete_example, journal.undecided_example
    return journal.answers, journal.verdicts, journal.step_verdicts, dict(journal.costs), examples


def test_a_journal_read_from_disk_knows_what_was_written(tmp_path):
    written = fill(open_journal(tmp_path))
    assert known(open_journal(tmp_path)) == known(written)
    assert written.answers == {KEY: ROLLOUTS} and written.verdicts == {"7": Verdict.CORRECT}
    assert list(written.step_verdicts) == [("a step", "b")]
    assert written.costs == {
        "num_requests": 1,
        "num_rollouts": 2,
        "num_incomplete": 1,
        "tokens_in": 5,
        "tokens_out": 3,
        "verifier_calls": 2,
        "judge_calls": 3,
        "num_solutions_undecided": 1,
        "num_solutions_judged": 2,
        "step_judge_calls": 1,
    }


def test_a_last_line_without_its_end_is_cut_and_can_be_written_again(tmp_path):
    fill(open_journal(tmp_path))
    path = tmp_path / "k.jsonl"
    path.write_bytes(path.read_bytes()[:-1])
    again = open_journal(tmp_path)
    assert again.costs["num_solutions_judged"] == 1
    again.add_step_verdicts(("c",), [Verdict.INCORRECT], {})
    assert known(open_journal(tmp_path)) == known(again)


def test_whatever_follows_a_broken_line_is_cut(tmp_path):
    """A power cut may leave a hole in a file that was not synced."""
    fill(open_journal(tmp_path))
    path = tmp_path / "k.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    for hole in (b"\0" * 20 + b"\n", b'{"answer": "8"}\n'):
        path.write_bytes(b"".join([*lines[:2], hole, *lines[3:]]))
        journal = open_journal(tmp_path)
        assert journal.answers == {KEY: ROLLOUTS} and not journal.verdicts and not journal.step_verdicts
        assert path.read_bytes() == b"".join(lines[:2])


def test_a_journal_of_something_else_is_set_aside(tmp_path, caplog):
    fill(open_journal(tmp_path))
    other = ProblemJournal(tmp_path / "k.jsonl", {**HEADER, "run": "another"})
    assert not other.answers and "belongs to another run or problem" in caplog.text
    assert read_jsonl(tmp_path / "k.jsonl.stale")[0] == HEADER
    assert not (tmp_path / "k.jsonl").exists()


def test_a_deleted_journal_leaves_no_file(tmp_path):
    journal = fill(open_journal(tmp_path))
    journal.delete()
    journal.delete()
    assert not list(tmp_path.iterdir())
