"""Fingerprints of checkpoints and data: what the files contain counts, not their times."""

import json
import os
import shutil

from mmprm_hf.nano import PRM_PATH
from mmprm_hf.stages.file_fingerprints import checkpoint_fingerprint, data_fingerprint


def overwrite(path, start, content):
    """Change bytes of a file; its length and times stay."""
    times = path.stat()
    with path.open("rb+") as file:
        file.seek(start)
        file.write(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_a_copy_of_a_checkpoint_has_its_fingerprint_and_one_changed_byte_another(tmp_path):
    copy = shutil.copytree(PRM_PATH, tmp_path / "copy", copy_function=shutil.copy)
    original = checkpoint_fingerprint(PRM_PATH)
    assert checkpoint_fingerprint(str(copy)) == original
    (copy / "README.md").write_text("Another card.")
    (copy / "trainer").mkdir()
    (copy / "trainer" / "optimizer.pt").write_bytes(b"state")
    assert checkpoint_fingerprint(copy) == original
    weights = copy / "model.safetensors"
    overwrite(weights, weights.stat().st_size // 2, b"\x7f")
    assert checkpoint_fingerprint(copy) != original


def test_every_tensor_of_a_large_checkpoint_counts(tmp_path):
    """100 MB of zeros and a head of 64 bytes; what is changed lies between the blocks that count in a .bin."""
    ends = {"vlm.a": (0, 50_100_000), "score.weight": (50_100_000, 50_100_064), "vlm.b": (50_100_064, 100_000_000)}
    header = json.dumps({name: {"dtype": "U8", "shape": [1], "data_offsets": list(end)} for name, end in ends.items()})
    folders = {"model.safetensors": tmp_path / "safe", "pytorch_model.bin": tmp_path / "bin"}
    fingerprints = {name: [] for name in folders}
    begin = 8 + len(header)
    for name, folder in folders.items():
        folder.mkdir()
        (folder / name).write_bytes(len(header).to_bytes(8, "little") + header.encode())
        os.truncate(folder / name, begin + 100_000_000)
        fingerprints[name].append(checkpoint_fingerprint(folder))
        for start, end in ends.values():
            overwrite(folder / name, begin + (start + end) // 2, b"\x01")
            fingerprints[name].append(checkpoint_fingerprint(folder))
    assert len(set(fingerprints["model.safetensors"])) == 4
    assert len(set(fingerprints["pytorch_model.bin"])) == 1


def test_a_large_file_is_compared_all_along(tmp_path):
    path = tmp_path / "pytorch_model.bin"
    path.touch()
    os.truncate(path, 70_000_000)
    fingerprints = [checkpoint_fingerprint(tmp_path)]
    for start in range(5_000_000, 70_000_000, 20_000_000):  # another model: a long run of other bytes
        overwrite(path, start, b"\x01" * 300_000)
        fingerprints.append(checkpoint_fingerprint(tmp_path))
    assert len(set(fingerprints)) == len(fingerprints) == 5


def test_what_is_not_on_this_disk_has_no_fingerprint(tmp_path):
    assert checkpoint_fingerprint("org/prm") is checkpoint_fingerprint(None) is checkpoint_fingerprint(object()) is None
    assert data_fingerprint(None) is data_fingerprint("org/data") is None


def test_data_are_known_by_their_rows(tmp_path):
    (tmp_path / "rows").mkdir()
    path = tmp_path / "rows" / "train.jsonl"
    path.write_text('{"a": 1}\n')
    before = data_fingerprint(path), data_fingerprint(tmp_path / "rows")
    os.utime(path, (1, 1))
    (tmp_path / "rows" / "README.md").write_text("A card.")
    (tmp_path / "rows" / ".lock").touch()
    assert (data_fingerprint(path), data_fingerprint(tmp_path / "rows")) == before
    copy = path.rename(tmp_path / "copy.jsonl")
    assert data_fingerprint(copy) == before[0], "a file is the same under another name"
    copy.rename(path)
    overwrite(path, 6, b"2")
    assert data_fingerprint(path) != before[0] and data_fingerprint(tmp_path / "rows") != before[1]
