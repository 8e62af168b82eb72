"""Settings of a folder of candidates: all that its rows depend on, so that rows of other settings never join them.

They lie in ``config.json``, with facts that are known only when the models are loaded (how tokens are drawn).
"""

from __future__ import annotations

import os
import urllib.parse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import SettingsDifferError
from ..files import check_same_settings, read_json, write_json
from ..nano import PRM_PATH
from .file_fingerprints import checkpoint_fingerprint
from .options import Servers

_NAME = "config.json"
_FACTS = "sampling"  # its key in the file; not a setting that a run starts with
_CONTENTS = {"policy": "policy_content", "prm": "prm_content", "candidates": "candidates_stamp"}
_OLD_FINGERPRINTS = ("policy_files", "prm_files")  # of sizes and times, in folders of earlier versions; not compared
_OF_ROWS = ("data", "split", "subset")  # every row is compared with its problem: text, figures and gold answer


def model_settings(policy: str | None, prm: Any, servers: Servers) -> dict[str, Any]:
    """Return what a run's settings say of its models: names, the server, and a fingerprint of local checkpoints.

    A checkpoint that was written again under its old name has another fingerprint, so that rows of both are not mixed.
    """
    is_nano = policy is None and servers.engine is None
    return {
        "policy": "nano policy (shipped)" if is_nano else policy,
        "prm": prm_name(prm) or ("nano PRM (shipped)" if is_nano else "saved with the policy"),
        "engine": address(servers),
        "policy_content": checkpoint_fingerprint(policy),
        "prm_content": checkpoint_fingerprint(prm),
    }


def prm_name(prm: Any) -> str | None:
    """Return how results name a PRM: by path or hub id (`data_name`), a scorer object by its class; None for None."""
    if isinstance(prm, (str, Path)):
        return "nano PRM (shipped)" if str(prm) == str(PRM_PATH) else data_name(str(prm))
    return None if prm is None else type(prm).__name__


def address(servers: Servers) -> str | None:
    """Return the address of the policy's server without credentials; None without a server."""
    if servers.engine is None:
        return None
    parts = urllib.parse.urlsplit(servers.engine)
    return urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def read_settings(folder: Path) -> dict[str, Any] | None:
    """Return a folder's settings as they were written; None where it has none.

    Raises:
        ValueError: if the file contains something else.
    """
    path = folder / _NAME
    if not path.exists():
        return None
    settings = read_json(path)
    if not isinstance(settings, dict) or not isinstance(settings.get(_FACTS, {}), dict):
        raise ValueError(f"{path} is {str(settings)[:60]!r}, not the settings of a run. Restore it, or delete it.")
    return settings


def write_settings(folder: Path, settings: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Write a folder's settings with the facts that are known only when the models are loaded."""
    write_json(folder / _NAME, {**without_machine_paths(settings), _FACTS: dict(facts)})


def refuse_other_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    """Refuse to add to a folder of candidates that was made with other settings.

    Models of the same content are the same, whatever their names.

    Raises:
        SettingsDifferError: naming the settings that differ, or if the folder has none.
    """
    before = read_settings(folder)
    if before is None:
        raise SettingsDifferError(
            f"{folder} holds candidates of another kind of run: there is no {_NAME} beside them. Choose another "
            "output folder."
        )
    ignored = {_FACTS, *_OLD_FINGERPRINTS, *_OF_ROWS, *(name for name in _CONTENTS.values() if name not in before)}
    before, now = without_known_names(without_machine_paths(before), without_machine_paths(settings), _CONTENTS)
    before, now = (
        {name: value for name, value in facts.items() if name not in ignored and value is not None}
        for facts in (before, now)
    )
    check_same_settings(folder / _NAME, before, now)


def without_known_names(
    before: Mapping[str, Any], now: Mapping[str, Any], contents: Mapping[str, str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return two runs' settings without the names of files whose content is the same: the content is what counts.

    Args:
        before, now: The settings.
        contents: Setting with a name to the one with the fingerprint of its content.
    """
    known = {name for name, content in contents.items() if now.get(content) and before.get(content) == now[content]}
    before, now = ({key: value for key, value in run.items() if key not in known} for run in (before, now))
    return before, now


def result_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run folder's settings as results have them: without fingerprints, and without paths of this machine."""
    hidden = ("benchmark", *_CONTENTS.values(), *_OLD_FINGERPRINTS, _FACTS)
    settings = {**{name: value for name, value in config.items() if name not in hidden}, **config.get(_FACTS, {})}
    return without_machine_paths({name: value for name, value in settings.items() if value is not None})


def without_machine_paths(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings whose absolute paths are names, see `data_name`: files of a run may be published."""
    return {name: data_name(value) for name, value in settings.items()}


def data_name(value: Any) -> Any:
    """Return how results name a path, hub id or anything else: an absolute path by its last part, all else as it is."""
    is_path = isinstance(value, Path) or (isinstance(value, str) and os.path.isabs(value))
    return Path(value).name if is_path else value
