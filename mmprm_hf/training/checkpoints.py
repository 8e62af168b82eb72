"""Checkpoints of an unfinished training: which of them are whole, and which one a run resumes from.

The trainer writes ``trainer_state.json`` as the last file of a checkpoint, after the files of all processes and their
checksums. A folder without it was cut off by a kill and is passed over; a folder with it whose files are not those of
the checksums was damaged later and is refused.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from pathlib import Path

from transformers import TrainerState

from ..files import read_json, write_json

logger = logging.getLogger(__name__)

STATE_FILE, _CHECKSUMS = "trainer_state.json", "checksums.json"


def newest_whole_checkpoint(folder: str | Path) -> Path | None:
    """Return the checkpoint with the most steps whose saving came to its end; None if there is none.

    Args:
        folder: Holds ``checkpoint-<step>`` folders; it may be absent.

    Raises:
        ValueError: if that checkpoint's state was damaged later.
    """
    folder = Path(folder)
    numbered = [(_step(path), path) for path in folder.glob("checkpoint-*")]
    for _, path in sorted(((step, path) for step, path in numbered if step is not None), reverse=True):
        if _is_saved_to_its_end(path):
            return path
        logger.warning("%s is passed over: the run was stopped while it was saved.", path)
    return None


def write_checksums(checkpoint: Path) -> None:
    """Write what the files of a checkpoint contain, as hashes; texts about it (.md) do not count."""
    paths = [path for path in sorted(checkpoint.rglob("*")) if path.is_file() and path.suffix != ".md"]
    write_json(checkpoint / _CHECKSUMS, {path.relative_to(checkpoint).as_posix(): _file_hash(path) for path in paths})


def check_whole(checkpoint: Path, num_processes: int = 1, *, is_sharded: bool = False) -> None:
    """Refuse a checkpoint from which a training would not resume as it was.

    Args:
        checkpoint: The folder of one checkpoint.
        num_processes: Processes of the training; each has a random state.
        is_sharded: DeepSpeed or FSDP wrote it: optimizer and schedule have files of their own.

    Raises:
        ValueError: naming the file that is missing or was changed, with the remedy.
    """
    if not _is_saved_to_its_end(checkpoint):
        raise ValueError(
            f"{checkpoint} has no whole {STATE_FILE}: the run was stopped while it was saved. Delete it, and resume "
            "from the checkpoint before it."
        )
    checksums = {}
    if (checkpoint / _CHECKSUMS).exists():
        checksums = read_json(checkpoint / _CHECKSUMS)
        if not isinstance(checksums, dict):
            raise _broken(checkpoint, f"holds a {_CHECKSUMS} that no run wrote")
    else:
        logger.warning("%s has no %s, as of earlier versions: its files are not compared.", checkpoint, _CHECKSUMS)
    ranks = [f"rng_state_{rank}.pth" for rank in range(num_processes)] if num_processes > 1 else ["rng_state.pth"]
    for name in dict.fromkeys([*ranks, *([] if is_sharded else ["optimizer.pt", "scheduler.pt"]), *checksums]):
        path = checkpoint / name
        if not path.is_file():
            raise _broken(checkpoint, f"has no {name}, without which the training would go another way")
        if name in checksums and _file_hash(path) != checksums[name]:
            raise _broken(checkpoint, f"holds a {name} that was cut off or changed after it was saved")


def _step(checkpoint: Path) -> int | None:
    match = re.fullmatch(r"checkpoint-(\d+)", checkpoint.name)
    return int(match[1]) if match else None


def _is_saved_to_its_end(checkpoint: Path) -> bool:
    """Whether the last file is there as a whole; ValueError if it is not that of this checkpoint."""
    try:
        state = json.loads((checkpoint / STATE_FILE).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError, RecursionError):
        return False
    try:
        step = TrainerState(**state).global_step
    except TypeError:  # no object, or one with other names
        step = None
    if not isinstance(step, int) or _step(checkpoint) not in (step, None):
        raise _broken(checkpoint, f"holds a {STATE_FILE} that is not the state of its step")
    return True


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _broken(checkpoint: Path, fault: str) -> ValueError:
    return ValueError(
        f"{checkpoint} {fault}. Restore the file; or delete this folder to resume from the checkpoint before it; or "
        "begin another training from its weights (--model) in another output folder."
    )
