"""Files that survive a kill: whole or old documents, logs that lose at most a torn line, one writer per folder."""

import errno
import json
import math
import os
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mmprm_hf import files
from mmprm_hf.data import Verdict
from mmprm_hf.errors import FolderInUseError, SettingsDifferError, StorageFailedError

SEPARATORS = "a\u2028b\u2029c\u0085d\x0be\x1cf"  # each ends a line for `str.splitlines`, none for JSON


def rows_of(path):
    return list(files.iter_jsonl(path))


class FullDisk:
    """Raises "no space left" from the n-th call of a function on."""

    def __init__(self, function, num_working=0):
        self.function, self.num_working = function, num_working

    def __call__(self, *arguments):
        self.num_working -= 1
        if self.num_working < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return self.function(*arguments)


def test_documents_come_back_as_they_were_written(tmp_path):
    content = {"b": [1, 2.5, None, True], "a": SEPARATORS, "角": "\U0001f4d0"}
    path = tmp_path / "deep" / "folder" / "run.json"
    files.write_json(path, content)
    assert files.read_json(path) == content and list(files.read_json(path)) == list(content)
    assert path.read_text(encoding="utf-8").startswith('{\n  "b"') and "角" in path.read_text(encoding="utf-8")
    files.write_jsonl(path, (row for row in ({"x": SEPARATORS}, [1], "text")))
    assert files.read_jsonl(path) == [{"x": SEPARATORS}, [1], "text"]
    assert path.read_bytes().count(b"\n") == 3
    assert [entry.name for entry in path.parent.iterdir()] == ["run.json"]


def test_half_a_character_becomes_an_escape(tmp_path):
    files.write_json(tmp_path / "a.json", {"text": "half \ud83d, 角"})
    assert files.read_json(tmp_path / "a.json") == {"text": "half \ud83d, 角"}
    files.append_line(tmp_path / "a.jsonl", {"text": "\ud800"})
    assert rows_of(tmp_path / "a.jsonl") == [{"text": "\ud800"}]


def test_what_json_cannot_hold_is_refused_and_nothing_is_lost(tmp_path):
    path = tmp_path / "a.json"
    files.write_json(path, {"x": 1})
    for value in (math.nan, math.inf, -math.inf):
        for write in (files.write_json, files.write_jsonl, files.append_line):
            with pytest.raises(ValueError, match="Out of range float values"):
                write(path, [{"x": value}])
    assert files.read_json(path) == {"x": 1}


def test_the_old_content_stays_when_the_disk_fails(tmp_path, monkeypatch):
    path = tmp_path / "run.json"
    files.write_json(path, {"x": "old"})
    for name in ("fsync", "replace"):
        with monkeypatch.context() as patched:
            patched.setattr(files.os, name, FullDisk(getattr(os, name)))
            with pytest.raises(
                StorageFailedError, match=r"run\.json could not be written \(.*No space left.*\); its old"
            ):
                files.write_json(path, {"x": "new"})
        assert files.read_json(path) == {"x": "old"} and [entry.name for entry in tmp_path.iterdir()] == ["run.json"]


def test_the_old_content_stays_when_the_rows_end_in_an_error(tmp_path):
    path = tmp_path / "rows.jsonl"
    files.write_jsonl(path, [1, 2])

    def broken():
        yield 3
        raise KeyError("cut")

    with pytest.raises(KeyError, match="cut"):
        files.write_jsonl(path, broken())
    assert files.read_jsonl(path) == [1, 2]
    files.write_jsonl(path, [4])  # a draft that was left behind is no obstacle
    assert files.read_jsonl(path) == [4] and [entry.name for entry in tmp_path.iterdir()] == ["rows.jsonl"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    for write in (files.write_json, files.append_line):
        with pytest.raises(
            StorageFailedError, match=r"a\.json could not be written .*Make room or correct the permissions"
        ):
            write(tmp_path / "file" / "a.json", {})


def test_lines_are_appended_in_one_write_each(tmp_path, monkeypatch):
    path = tmp_path / "logs" / "log.jsonl"
    written = []
    write = os.write
    monkeypatch.setattr(
        files.os, "write", lambda descriptor, content: written.append(content) or write(descriptor, content)
    )
    assert files.append_line(path, {"x": SEPARATORS}) == path.stat().st_size
    assert files.append_line(path, 1, [2], sync=True) == len(b"1\n[2]\n") and len(written) == 2
    assert rows_of(path) == [{"x": SEPARATORS}, 1, [2]]


def test_a_write_that_the_system_cuts_is_completed(tmp_path, monkeypatch):
    path = tmp_path / "log.jsonl"
    write = os.write
    monkeypatch.setattr(files.os, "write", lambda descriptor, content: write(descriptor, content[:3]))
    assert files.append_line(path, {"text": "long enough"}) == path.stat().st_size
    assert rows_of(path) == [{"text": "long enough"}]


def test_a_disk_that_fills_up_leaves_at_most_a_torn_last_line(tmp_path, monkeypatch):
    path = tmp_path / "log.jsonl"
    files.append_line(path, {"x": 1})
    write = os.write
    with monkeypatch.context() as patched:
        patched.setattr(files.os, "write", FullDisk(lambda descriptor, content: write(descriptor, content[:5]), 1))
        with pytest.raises(
            StorageFailedError, match=r"log\.jsonl could not be written.*it resumes from what is written"
        ):
            files.append_line(path, {"x": "does not fit"})
    assert path.read_bytes() == b'{"x": 1}\n{"x":'
    assert files.drop_torn_line(path) and rows_of(path) == [{"x": 1}]


def test_torn_lines_of_any_size_are_cut(tmp_path):
    path = tmp_path / "log.jsonl"
    assert not files.drop_torn_line(path) and path.read_bytes() == b""  # made if absent
    for kept in (b"", b"1\n", b'{"x": 1}\n\n', b"[" + b"1," * 100_000 + b"1]\n"):
        for size in (0, 1, 65_535, 65_536, 65_537, 300_000):
            path.write_bytes(kept + b"9" * size)
            assert files.drop_torn_line(path) == (size > 0)
            assert path.read_bytes() == kept, (len(kept), size)


def test_positions_of_lines_are_those_of_their_bytes(tmp_path):
    path = tmp_path / "log.jsonl"
    rows = [{"x": SEPARATORS}, {"角": 1}, "a"]
    files.append_line(path, rows[0])
    with path.open("ab") as file:
        file.write(b" \n\n")
    files.append_line(path, *rows[1:])
    content = path.read_bytes()
    for (start, length, row), expected in zip(files.read_lines(path), rows, strict=True):
        assert row == expected == json.loads(content[start : start + length])


def test_broken_json_is_named(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"x": 1}\n\n{"x": \n{"x": 3}\n')
    with pytest.raises(ValueError, match=r"Line 3 of .*a\.jsonl is not JSON .*Only the last line may be torn"):
        files.read_jsonl(path)
    path.write_bytes(b'{"x": "\xff"}')
    with pytest.raises(ValueError, match="Line 1 of"):
        files.read_jsonl(path)
    with pytest.raises(ValueError, match=r"a\.jsonl is not JSON .*Was its writing cut short"):
        files.read_json(path)
    with pytest.raises(FileNotFoundError, match="none"):
        files.read_json(tmp_path / "none")


def test_a_killed_writer_loses_nothing_that_was_appended(tmp_path):
    path = tmp_path / "log.jsonl"
    program = (
        "import itertools, pathlib, sys; from mmprm_hf.files import append_line\n"
        "for number in itertools.count():\n"
        "    append_line(pathlib.Path(sys.argv[1]), {'number': number})\n"
        "    print(number, flush=True)"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True) as writer:
        for _ in range(50):
            reported = int(writer.stdout.readline())
        os.kill(writer.pid, signal.SIGKILL)
        reported = max([reported, *map(int, writer.stdout.read().split())])
    files.drop_torn_line(path)
    numbers = [row["number"] for row in rows_of(path)]
    assert numbers == list(range(len(numbers))) and len(numbers) > reported


def test_a_lock_of_another_process_ends_with_its_death(tmp_path):
    folder = tmp_path / "run"
    program = (
        "import pathlib, sys; from mmprm_hf.files import lock_folder\n"
        "with lock_folder(pathlib.Path(sys.argv[1])):\n"
        "    print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "held\n"
        with (
            pytest.raises(FolderInUseError, match=rf"The folder '{re.escape(str(folder))}' is in use by another run\."),
            files.lock_folder(folder),
        ):
            pass
        os.kill(other.pid, signal.SIGKILL)
        other.wait()
        with files.lock_folder(folder):
            pass


def test_a_lock_is_let_go_whatever_happens_inside(tmp_path):
    with pytest.raises(KeyError, match="inside"), files.lock_folder(tmp_path):
        raise KeyError("inside")
    with files.lock_folder(tmp_path), pytest.raises(FolderInUseError, match="in use"), files.lock_folder(tmp_path):
        pass
    with files.lock_folder(tmp_path / "new"):
        pass
    assert not (tmp_path / "new").exists(), "a run that wrote nothing leaves nothing"
    with files.lock_folder(tmp_path / "new"):
        (tmp_path / "new" / "rows").touch()
    assert (tmp_path / "new" / "rows").exists()


def test_other_settings_are_named_with_both_values():
    path = Path("out/run/run.json")
    settings = {"seed": 0, "names": ("a", "b"), "nested": {"x": 1.0}}
    files.check_same_settings(path, {"names": ["a", "b"], "nested": {"x": 1}, "seed": 0}, settings)
    with pytest.raises(SettingsDifferError) as raised:
        files.check_same_settings(path, settings, {**settings, "seed": 1, "nested": {"x": 2}, "new": True})
    message = str(raised.value)
    assert message.startswith("The folder 'out/run' was made with other settings (")
    for words in ("nested.x: 1.0 there, 2 now", "new: None there, True now", "seed: 0 there, 1 now"):
        assert words in message
    assert "names" not in message and "see run.json). Results" in message
    assert message.endswith("choose another output folder, or the same settings.")
    with pytest.raises(SettingsDifferError, match="seed: nan there, 0 now"):
        files.check_same_settings(path, {**settings, "seed": math.nan}, settings)
    for broken in (None, [settings], "seed"):
        with pytest.raises(SettingsDifferError, match=r"out/run/run.json contains .* Restore it, or choose another"):
            files.check_same_settings(path, broken, settings)
    with pytest.raises(SettingsDifferError, match="seed: 0 there, None now"):
        files.check_same_settings(path, settings, {"names": ["a", "b"], "nested": {"x": 1}})


def test_a_setting_of_none_is_as_good_as_none_at_all():
    files.check_same_settings(Path("run.json"), {}, {"limit": None})
    files.check_same_settings(Path("run.json"), {"limit": None}, {})


def test_a_sealed_row_that_was_changed_is_named(tmp_path):
    """Whatever JSON can hold comes back as it was; the order of the lines does not matter, that of the keys does."""
    path = tmp_path / "rows.jsonl"
    rows = [{"a": [0.1, 1e300, -0.0, None]}, {"ü": "\ud800 \n", 3: {"b": True}}, {"x": Verdict.CORRECT}, {}]
    files.append_line(path, *map(files.sealed, rows))
    assert files.read_jsonl(path) == [json.loads(json.dumps(row)) for row in rows]
    assert files.sealed(files.sealed(rows[0])) == files.sealed(rows[0])
    content = path.read_bytes()
    for old, new, line in ((b'"x": "correct"', b'"x": "incorrect"', 3), (b"0.1", b"NaN", 1), (b"1e+300", b"1e999", 1)):
        path.write_bytes(content.replace(old, new))
        with pytest.raises(
            ValueError, match=rf"Line {line} of .*rows.jsonl was changed after it was .*Restore the file"
        ):
            files.read_jsonl(path)


def test_a_row_that_lost_its_checksum_is_named(tmp_path):
    path = tmp_path / "rows.jsonl"
    for number, words in ((0, "Line 2 of .* has a checksum, unlike"), (2, "Line 3 of .* has no checksum, unlike")):
        rows = [files.sealed({"x": row}) for row in range(3)]
        del rows[number]["_checksum"]
        files.write_jsonl(path, rows)
        with pytest.raises(ValueError, match=words):
            files.read_jsonl(path)
    files.write_jsonl(path, [{"x": 1}, [1], {"x": 2}])  # a user's file
    assert files.read_jsonl(path) == [{"x": 1}, [1], {"x": 2}]


def test_a_log_of_an_earlier_version_gets_checksums_before_more_is_appended(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"x": 1}\n{"x": 2}\n{"x": 3')
    files.open_log(path)
    files.append_line(path, files.sealed({"x": 3}))
    assert files.read_jsonl(path) == [{"x": 1}, {"x": 2}, {"x": 3}]
    sealed = path.read_bytes()
    files.open_log(path)
    assert path.read_bytes() == sealed and sealed.count(b"_checksum") == 3
    path.write_text('{"x": 1}\nnull\n')
    with pytest.raises(ValueError, match="Line 2 of .* is 'None', not an object.*Restore the file, or delete the line"):
        files.open_log(path)


def test_what_libraries_raise_on_a_full_disk_is_one_error_that_names_the_path(tmp_path):
    """As safetensors, torch and pyarrow say it; a limit on the size of files stands for the full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    weights = {"x": torch.zeros(100_000)}
    for save in (
        lambda path: save_file(weights, path),
        lambda path: torch.save(weights, path),
        lambda path: torch.save(weights, path, _use_new_zipfile_serialization=False),
        lambda path: path.write_bytes(bytes(400_000)),
    ):
        path = tmp_path / "weights"
        with pytest.raises(StorageFailedError, match="weights could not be written whole: the disk is full, a quota"):
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
            try:
                with files.writing(path):
                    save(path)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    for error in (RuntimeError("a bug"), OSError(errno.EACCES, "Permission denied")):
        with pytest.raises(type(error), match=str(error.args[-1])), files.writing(path):
            raise error


def test_an_output_folder_inside_the_data_is_refused(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    for output in (tmp_path / "data", tmp_path / "data" / "deep" / "out", Path("link/out")):
        for data in (tmp_path / "data", "data"):
            with pytest.raises(ValueError, match="lies in the folder of the data, .* Choose an output folder outside"):
                files.check_outside(output, data)
    for data in (None, "org/data", tmp_path / "data" / "rows.jsonl", tmp_path / "data"):
        files.check_outside(tmp_path / "data2", data)
    files.check_outside(tmp_path, "data")
