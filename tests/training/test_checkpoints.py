"""Which checkpoints are whole: all files of all processes, as they were saved, with the state of their step."""

from __future__ import annotations

import pytest

from mmprm_hf.files import write_json
from mmprm_hf.training.checkpoints import check_whole, newest_whole_checkpoint, write_checksums

STATES = ("optimizer.pt", "scheduler.pt", "rng_state.pth")


def make_checkpoint(folder, step, names=STATES):
    """A checkpoint whose files hold their names."""
    checkpoint = folder / f"checkpoint-{step}"
    checkpoint.mkdir(parents=True)
    for name in ("model.safetensors", *names):
        (checkpoint / name).write_text(f"{name}, of which nothing may change")
    write_checksums(checkpoint)
    write_json(checkpoint / "trainer_state.json", {"global_step": step, "max_steps": 9})
    return checkpoint


def test_the_newest_whole_checkpoint_counts_by_its_step(tmp_path, caplog):
    assert newest_whole_checkpoint(tmp_path / "none") is None
    for step in (5, 10, 9, 20):
        make_checkpoint(tmp_path, step)
    (tmp_path / "checkpoint-99").write_text("a file")
    (tmp_path / "checkpoint-best").mkdir()
    for torn in (None, "", '{"global_step": 2', "[" * 100_000):
        (tmp_path / "checkpoint-20" / "trainer_state.json").unlink()
        if torn is not None:
            (tmp_path / "checkpoint-20" / "trainer_state.json").write_text(torn)
        caplog.clear()
        assert newest_whole_checkpoint(tmp_path).name == "checkpoint-10"
        assert "checkpoint-20 is passed over: the run was stopped while it was saved" in caplog.text
        (tmp_path / "checkpoint-20" / "trainer_state.json").touch()
    with pytest.raises(ValueError, match=r"checkpoint-20 has no whole trainer_state\.json.* Delete it, and resume"):
        check_whole(tmp_path / "checkpoint-20")


def test_a_state_that_is_not_that_of_its_step_is_refused(tmp_path):
    path = make_checkpoint(tmp_path, 3) / "trainer_state.json"
    for state in (None, [], {}, {"global_step": 1}, {"global_step": "3"}, {"global_step": 3, "unknown": 1}):
        write_json(path, state)
        for check in (newest_whole_checkpoint, lambda folder: check_whole(folder / "checkpoint-3")):
            with pytest.raises(
                ValueError, match="checkpoint-3 holds a trainer_state.json that is not the state of its"
            ):
                check(tmp_path)


def test_every_file_must_be_there_as_it_was_saved(tmp_path):
    checkpoint = make_checkpoint(tmp_path, 3)
    (checkpoint / "README.md").write_text("A card, which anyone may change.")
    check_whole(checkpoint)
    for name in ("model.safetensors", *STATES):
        content = (checkpoint / name).read_bytes()
        for changed in (b"", content[:-1], content[:-1] + bytes([content[-1] ^ 1])):
            (checkpoint / name).write_bytes(changed)
            with pytest.raises(
                ValueError, match=f"holds a {name} that was cut off or changed after .*Restore the file"
            ):
                check_whole(checkpoint)
        (checkpoint / name).unlink()
        with pytest.raises(ValueError, match=f"has no {name}, without which the training would go another way"):
            check_whole(checkpoint)
        (checkpoint / name).write_bytes(content)
    for broken, words in (([], "holds a checksums.json that no run wrote"), ("text", "that no run wrote")):
        write_json(checkpoint / "checksums.json", broken)
        with pytest.raises(ValueError, match=words):
            check_whole(checkpoint)


def test_every_process_has_its_random_state(tmp_path):
    for step, (num_processes, names) in enumerate(
        ((2, ["rng_state_0.pth"]), (2, ["rng_state.pth"]), (1, ["rng_state_0.pth", "rng_state_1.pth"])), start=1
    ):
        checkpoint = make_checkpoint(tmp_path, step, [*STATES[:2], *names])
        with pytest.raises(ValueError, match=r"has no rng_state(_[01])?\.pth"):
            check_whole(checkpoint, num_processes)
    check_whole(make_checkpoint(tmp_path, 7, [*STATES[:2], "rng_state_0.pth", "rng_state_1.pth"]), 2)
    check_whole(make_checkpoint(tmp_path, 8, ["rng_state.pth"]), is_sharded=True)
    with pytest.raises(ValueError, match=r"has no optimizer\.pt"):
        check_whole(tmp_path / "checkpoint-8")


def test_a_checkpoint_of_an_earlier_version_has_no_checksums_and_is_resumed_with_a_warning(tmp_path, caplog):
    checkpoint = make_checkpoint(tmp_path, 3)
    (checkpoint / "checksums.json").unlink()
    check_whole(checkpoint)
    assert "has no checksums.json, as of earlier versions: its files are not compared" in caplog.text
    (checkpoint / "optimizer.pt").unlink()
    with pytest.raises(ValueError, match=r"has no optimizer\.pt"):
        check_whole(checkpoint)
