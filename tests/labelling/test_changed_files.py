"""What was changed on disk between two starts is noticed; files of earlier versions, without checksums, are read."""

from __future__ import annotations

import json
import re

import pytest
from support.pure_runs import PROBLEMS, PureEngine, label, read_trees

from mmprm_hf.answers import RuleVerifier
from mmprm_hf.data import content_hash
from mmprm_hf.errors import EngineUnavailableError
from mmprm_hf.files import read_jsonl, write_json, write_jsonl
from mmprm_hf.labelling import EngineFailedError, FaultTolerance
from mmprm_hf.labelling.run_folder import RunFolder


@pytest.fixture
def folder(tmp_path):
    """A finished run of three problems."""
    label(tmp_path / "run", problems=PROBLEMS[:3])
    return tmp_path / "run"


def replace_once(path, pattern, new):
    """Replace the first match in a file; return the number of its line."""
    text = path.read_text()
    start = re.search(pattern, text).start()
    path.write_text(re.sub(pattern, new, text, count=1))
    return text[:start].count("\n") + 1


def without_checksums(path):
    """Write a file as earlier versions did."""
    write_jsonl(path, read_jsonl(path))
    assert "_checksum" not in path.read_text()


def test_a_changed_record_is_named_with_its_line_and_the_remedy(folder):
    changes = {
        "trees.jsonl": [
            ('"num_correct": 1', '"num_correct": 2'),
            ('"verdict": "correct"', '"verdict": "incorrect"'),
            ('"good 0"', '"Good 0"'),
            ('"problem_id": "p1"', '"problem_id": "p7"'),
        ],
        "ledger.jsonl": [(r'"num_rollouts": \d+', '"num_rollouts": 1')],
    }
    for name, pairs in changes.items():
        content = (folder / name).read_text()
        for pattern, new in pairs:
            line = replace_once(folder / name, pattern, new)
            with pytest.raises(ValueError, match=rf"Line {line} of .*{name} was changed.*Restore the file; or delete"):
                label(folder, problems=PROBLEMS[:3])
            (folder / name).write_text(content)
    expected = (folder / "trees.jsonl").read_bytes()
    lines = expected.splitlines(keepends=True)
    (folder / "trees.jsonl").write_bytes(lines[0])  # the remedy
    assert label(folder, problems=PROBLEMS[:3]).num_resumed == 1
    assert (folder / "trees.jsonl").read_bytes() == expected


def test_a_ledger_changed_after_a_kill_is_noticed_too(tmp_path, monkeypatch):
    def kill(self, problems):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(RunFolder, "put_in_order", kill)
        label(tmp_path, problems=PROBLEMS[:3])
    line = replace_once(tmp_path / "ledger.jsonl", r'"num_rollouts": \d+', '"num_rollouts": 1')
    with pytest.raises(ValueError, match=rf"Line {line} of .*ledger.jsonl was changed after it was written"):
        label(tmp_path, problems=PROBLEMS[:3])


def test_a_file_that_no_run_wrote_is_named_with_the_remedy(folder):
    key = read_jsonl(folder / "trees.jsonl")[0]["problem_key"]
    for name, rows, words in (
        ("ledger.jsonl", [{"problem_key": [1]}], "Line 1 of .*ledger.jsonl is .*Restore the file, or delete the line"),
        ("ledger.jsonl", [{"problem_key": key, "num_rollouts": "many"}], "Line 1 of .*ledger.jsonl has costs that are"),
        ("failures.jsonl", [{"problem_id": 5, "problem_key": [1], "error": 3}], "Line 1 of .*failures.jsonl is .*Rest"),
        (
            "summary.json",
            {"sessions": [{"seconds": "x"}]},
            "summary.json has no list of sessions .* Restore it, or del",
        ),
        ("run.json", [1], r"run.json contains '\[1\]', and not the settings of a run. Restore it, or choose another"),
    ):
        content = (folder / name).read_bytes()
        (write_json if name.endswith(".json") else write_jsonl)(folder / name, rows)
        with pytest.raises(ValueError, match=words):
            label(folder, problems=PROBLEMS[:3])
        (folder / name).write_bytes(content)
    (folder / "run.json").write_text((folder / "run.json").read_text().replace("{", '{"extra": NaN,', 1))
    with pytest.raises(ValueError, match="was made with other settings .*see run.json"):
        label(folder, problems=PROBLEMS[:3])


def test_a_run_of_an_earlier_version_resumes_to_the_same_trees(folder, tmp_path):
    for name in ("trees.jsonl", "ledger.jsonl"):
        without_checksums(folder / name)
    trees = read_trees(folder)
    assert label(folder, problems=PROBLEMS).num_resumed == 3
    label(tmp_path / "new")
    assert read_trees(folder)[:3] == trees and read_trees(folder) == read_trees(tmp_path / "new")


def test_steps_changed_in_a_tree_without_checksum_do_not_have_its_ids(folder):
    without_checksums(folder / "trees.jsonl")
    rows = read_jsonl(folder / "trees.jsonl")
    index = max(range(3), key=lambda index: len(rows[index]["nodes"]))
    node = rows[index]["nodes"][2]
    node["steps"][0] += "!"
    write_jsonl(folder / "trees.jsonl", rows)
    with pytest.raises(ValueError, match=rf"Node 2 in line {index + 1} of trees.jsonl .* has an id that its steps"):
        label(folder, problems=PROBLEMS[:3])
    for parent in (5, None):
        node["parent"] = parent
        write_jsonl(folder / "trees.jsonl", rows)
        with pytest.raises(ValueError, match=f"Node 2 in line . of trees.jsonl has the parent {parent}; parents come"):
            label(folder, problems=PROBLEMS[:3])


class Dying(PureEngine):
    """Answers twelve requests, and then none."""

    num_answers = 0

    async def generate(self, requests):
        self.num_answers += 1
        if self.num_answers > 12:
            raise EngineUnavailableError("the server is gone")
        return await super().generate(requests)


def test_a_verdict_flipped_in_a_journal_is_asked_for_again(tmp_path, caplog):
    label(tmp_path / "whole")
    with pytest.raises(EngineFailedError, match="the server is gone"):
        label(tmp_path / "run", Dying())
    flipped = 0
    for path in (tmp_path / "run" / "journal").glob("*.jsonl"):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        for row in rows:
            if row.get("verdict") == "correct":
                row["verdict"], flipped = "incorrect", flipped + 1
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert flipped
    label(tmp_path / "run")
    assert "was changed after it was written" in caplog.text and "is asked for again" in caplog.text
    assert (tmp_path / "run" / "trees.jsonl").read_bytes() == (tmp_path / "whole" / "trees.jsonl").read_bytes()


def test_a_resumed_run_pays_for_no_journaled_verdict_again(tmp_path):
    class Counting(RuleVerifier):
        def __init__(self):
            self.asked = []

        async def judge(self, problem, answer):
            self.asked.append((problem.id, answer))
            return await super().judge(problem, answer)

    whole, before, after = Counting(), Counting(), Counting()
    label(tmp_path / "whole", verifier=whole)
    with pytest.raises(EngineFailedError, match="the server is gone"):
        label(tmp_path / "run", Dying(), verifier=before)
    label(tmp_path / "run", verifier=after)
    assert before.asked and after.asked
    assert sorted(map(str, [*before.asked, *after.asked])) == sorted(map(str, whole.asked))


def test_the_bar_counts_a_problem_once_that_failed_before_it_was_labelled(tmp_path, capsys):
    class Forgetful(PureEngine):
        seen = set()

        async def generate(self, requests):
            key = content_hash(requests[0].problem.id, requests[0].prefix, requests[0].seed)
            if key not in self.seen:
                self.seen.add(key)
                raise EngineUnavailableError("not yet")
            return await super().generate(requests)

    tolerance = FaultTolerance(request_attempts=1, max_engine_failures=9, pause_seconds=0)
    label(tmp_path, Forgetful(), tolerance=tolerance, progress=True)
    counts = [int(count) for count in re.findall(r"(\d+)/8 ", capsys.readouterr().err)]
    assert max(counts) == counts[-1] == 8
