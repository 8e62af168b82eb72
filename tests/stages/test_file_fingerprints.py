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
    """100 MB of zeros, and a head of 64 bytes that lies between the evenly spaced blocks."""
    ends = {"vlm.a": (0, 50_000_000), "score.weight": (50_000_000, 50_000_064), "vlm.b": (50_000_064, 100_000_000)}
    header = json.dumps({name: {"dtype": "U8", "shape": [1], "data_offsets": list(end)} for name, end in ends.items()})
    path = tmp_path / "model.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header.encode())
    begin = path.stat().st_size
    os.truncate(path, begin + 100_000_000)
    fingerprints = [checkpoint_fingerprint(tmp_path)]
    for name in ends:
        overwrite(path, begin + sum(ends[name]) // 2, b"\x01")
        fingerprints.append(checkpoint_fingerprint(tmp_path))
    assert len(set(fingerprints)) == 4


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
    overwrite(path, 6, b"2")
    assert data_fingerprint(path) != before[0] and data_fingerprint(tmp_path / "rows") != before[1]
