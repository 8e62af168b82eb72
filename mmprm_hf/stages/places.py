"""Where results go: what somebody else made is never overwritten, and what is replaced is said. Imports no torch."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import SettingsDifferError
from ..files import check_outside

notes = logging.getLogger("mmprm_hf.notes")  # what `mmprm` prints beside its results


def check_output_folder(
    folder: str | Path, kind: str, own: Sequence[str] = (), *, beside: Sequence[str] = (), data: Any = None
) -> bool:
    """Return whether a folder holds what an earlier run of the same kind made; False for an empty or absent one.

    Args:
        folder: The folder to write.
        kind: What such a folder is, in words, such as "a curated dataset".
        own: Files by which such a folder is known: one of them is enough.
        beside: Other files that may lie there.
        data: What is read; where it is a folder, the output must not lie in it.

    Raises:
        ValueError: if the output lies in the folder of the data.
        SettingsDifferError: if it holds files of something else.
        NotADirectoryError: if it is a file.
    """
    folder = Path(folder)
    check_outside(folder, data)
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{str(folder)!r} is a file, and a folder is needed there. Choose another path.")
    if any((folder / name).exists() for name in own):
        return True
    others = sorted(path.name for path in folder.glob("[!.]*") if path.name not in beside)
    if others:
        raise SettingsDifferError(
            f"{folder} holds {', '.join(others[:3])}{' ...' if others[3:] else ''} and is not {kind}: these files "
            "would be mixed with what is written, or replaced. Choose another output folder."
        )
    return False


def replace_output_folder(folder: str | Path, kind: str, own: Sequence[str] = ()) -> None:
    """Note that an earlier result is replaced; arguments and errors are those of `check_output_folder`."""
    if check_output_folder(folder, kind, own):
        notes.info("%s is %s, which is replaced; -o names another folder.", folder, kind)


def check_demo_folder(folder: str | Path) -> None:
    """Note that an earlier demo is replaced; raise as `check_output_folder` for a folder of something else."""
    files = [Path(folder) / name for name in ("results.json", "candidates.jsonl", "index.html")]
    is_demo = all(path.exists() for path in files) and check_results_file(files[0])
    replace_output_folder(folder, "a demo", (files[0].name,) if is_demo else ())


def check_results_file(path: str | Path) -> bool:
    """Return whether results lie at a path, which would be replaced.

    Raises:
        ValueError: if a folder or another file lies there.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{str(path)!r} is a folder. Name the results file, such as {path / 'results.json'}.")
    if not path.exists():
        return False
    try:
        is_results = "schema_version" in json.loads(path.read_bytes())
    except (ValueError, TypeError, RecursionError):
        is_results = False
    if not is_results:
        raise ValueError(f"{path} is there and does not hold results, so it is not replaced. Name another file.")
    return True
