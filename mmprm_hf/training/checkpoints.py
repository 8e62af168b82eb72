"""Checkpoints of an unfinished training: which of them are whole, and which one a run resumes from.

The trainer writes ``trainer_state.json`` as the last file of a checkpoint. A folder without it was cut off by a kill
and is passed over; a folder with it that lacks another file, or holds a cut one, was damaged later and is refused.
"""

from __future__ import annotations

import json
import logging
import re
import zipfile
from pathlib import Path

logger = logging.getLogger(__name__)

STATE_FILE = "trainer_state.json"
_WEIGHTS = ("model*.safetensors", "adapter_model*.safetensors", "pytorch_model*.bin", "adapter_model*.bin")
_STATES = {"optimizer.pt": "optimizer's state", "scheduler.pt": "schedule's state", "rng_state*.pth": "random state"}


def newest_whole_checkpoint(folder: Path) -> Path | None:
    """Return the checkpoint with the most steps whose saving came to its end; None if there is none.

    Args:
        folder: Holds ``checkpoint-<step>`` folders; it may be absent.
    """
    numbered = [(re.fullmatch(r"checkpoint-(\d+)", path.name), path) for path in folder.glob("checkpoint-*")]
    for _, path in sorted(((int(match[1]), path) for match, path in numbered if match), reverse=True):
        if _is_saved_to_its_end(path):
            return path
        logger.warning("%s is passed over: the run was stopped while it was saved.", path)
    return None


def check_whole(checkpoint: Path, *, is_sharded: bool = False) -> None:
    """Refuse a checkpoint from which a training would not resume as it was.

    Args:
        checkpoint: The folder of one checkpoint.
        is_sharded: DeepSpeed or FSDP wrote it: weights and optimizer lie in folders of theirs, and are not looked at.

    Raises:
        ValueError: naming the file that is missing or cut, with the remedy.
    """
    if not _is_saved_to_its_end(checkpoint):
        raise ValueError(
            f"{checkpoint} has no whole {STATE_FILE}: the run was stopped while it was saved. Delete it, and resume "
            "from the checkpoint before it."
        )
    if is_sharded:
        return
    weights = [path for pattern in _WEIGHTS for path in checkpoint.glob(pattern)]
    if not weights and not any(path.is_dir() for path in checkpoint.iterdir()):  # peft: a folder for each adapter
        raise _broken(checkpoint, f"holds no weights ({', '.join(_WEIGHTS[:2])})")
    for path in [*weights, *checkpoint.glob("*.index.json")]:
        _check_file(checkpoint, path)
    for pattern, words in _STATES.items():
        paths = list(checkpoint.glob(pattern))
        if not paths:
            raise _broken(checkpoint, f"has no {pattern}, the {words}, without which the training would go another way")
        for path in paths:
            _check_file(checkpoint, path)


def _is_saved_to_its_end(checkpoint: Path) -> bool:
    try:
        return isinstance(json.loads((checkpoint / STATE_FILE).read_text(encoding="utf-8")), dict)
    except (OSError, ValueError):
        return False


def _check_file(checkpoint: Path, path: Path) -> None:
    """Raise if a file is shorter than it says, or an index names a file that is absent."""
    if path.suffix == ".json":
        shards = set(json.loads(path.read_text(encoding="utf-8"))["weight_map"].values())
        missing = sorted(shard for shard in shards if not (checkpoint / shard).exists())
        if missing:
            raise _broken(checkpoint, f"has no {missing[0]}, which {path.name} names")
    elif not (_is_whole_safetensors(path) if path.suffix == ".safetensors" else zipfile.is_zipfile(path)):
        raise _broken(checkpoint, f"holds a {path.name} that is cut off ({path.stat().st_size} bytes)")


def _is_whole_safetensors(path: Path) -> bool:
    """Whether the file is as long as its header says."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        size = path.stat().st_size
        if not 2 <= length <= size - 8:
            return False
        try:
            header = json.loads(file.read(length))
        except ValueError:
            return False
    ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    return size == 8 + length + max(ends, default=0)


def _broken(checkpoint: Path, fault: str) -> ValueError:
    return ValueError(
        f"{checkpoint} {fault}. Restore the file; or delete this folder to resume from the checkpoint before it; or "
        "begin another training from its weights (--model) in another output folder."
    )
