"""Settings of a folder of candidates: all that its rows depend on, so that other ones never join them; and their names.

They lie in ``config.json``. What was found out when the models were loaded (how tokens are drawn) stands in it too.
"""

from __future__ import annotations

import os
import urllib.parse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..data import content_hash
from ..errors import SettingsDifferError
from ..files import check_same_settings, read_json, write_json
from .options import Servers

_NAME = "config.json"
_FACTS = "sampling"  # its key in the file; no setting that a run is begun with


def model_settings(policy: str | None, prm: Any, servers: Servers) -> dict[str, Any]:
    """What a run's settings say of its models: names, the server, and a stamp of local checkpoints' files.

    A checkpoint that was written again under its old name has another stamp, so that rows of both are not mixed.
    """
    is_nano = policy is None and servers.engine is None
    named = prm_name(prm) or ("nano PRM (shipped)" if is_nano else "saved with the policy")
    return {
        "policy": "nano policy (shipped)" if is_nano else policy,
        "prm": named,
        "engine": address(servers),
        "policy_files": files_stamp(policy),
        "prm_files": files_stamp(prm),
    }


def prm_name(prm: Any) -> str | None:
    """How results name a PRM: by its path or hub id, a scorer object by its class; None for None."""
    return str(prm) if isinstance(prm, (str, Path)) else None if prm is None else type(prm).__name__


def files_stamp(checkpoint: Any) -> str | None:
    """Hash of names, sizes and times of a local checkpoint's files; None for anything else."""
    if not isinstance(checkpoint, (str, Path)) or not Path(checkpoint).is_dir():
        return None
    files = sorted(path for path in Path(checkpoint).rglob("*") if path.suffix in (".safetensors", ".bin", ".json"))
    return content_hash([[str(path.relative_to(checkpoint)), *_size_and_time(path)] for path in files])


def _size_and_time(path: Path) -> tuple[int, int]:
    facts = path.stat()
    return facts.st_size, facts.st_mtime_ns


def address(servers: Servers) -> str | None:
    """The address of the policy's server as it may be written down, without credentials; None without one."""
    if servers.engine is None:
        return None
    parts = urllib.parse.urlsplit(servers.engine)
    return urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def read_settings(folder: Path) -> dict[str, Any] | None:
    """A folder's settings as they were written; None where it has none."""
    path = folder / _NAME
    return read_json(path) if path.exists() else None


def write_settings(folder: Path, settings: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Write a folder's settings with what was found out when the models were loaded."""
    write_json(folder / _NAME, {**settings, _FACTS: dict(facts)})


def refuse_other_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    """Refuse to add to a folder of candidates that was made with other settings.

    Raises:
        SettingsDifferError: naming the settings that differ, or if the folder has none.
    """
    before = read_settings(folder)
    if before is None:
        raise SettingsDifferError(
            f"{folder} holds candidates of another kind of run: there is no {_NAME} beside them. Choose another "
            "output folder."
        )
    given = {name: value for name, value in settings.items() if value is not None}
    made_with = {name: value for name, value in before.items() if name != _FACTS and value is not None}
    check_same_settings(folder, made_with, given)


def result_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a run folder as results have them: stamps left out, paths of this machine by their last part."""
    hidden = ("benchmark", "policy_files", "prm_files", "candidates_stamp", _FACTS)
    settings = {**{name: value for name, value in config.items() if name not in hidden}, **config.get(_FACTS, {})}
    return {name: data_name(value) for name, value in settings.items() if value is not None}


def data_name(value: Any) -> Any:
    """How results name a path, hub id or anything else: an absolute path by its last part, all else as it is."""
    is_path = isinstance(value, Path) or (isinstance(value, str) and os.path.isabs(value))
    return Path(value).name if is_path else value
