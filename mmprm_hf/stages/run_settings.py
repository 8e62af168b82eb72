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
from .file_fingerprints import checkpoint_fingerprint
from .options import Servers

_NAME = "config.json"
_FACTS = "sampling"  # its key in the file; not a setting that a run starts with
_FINGERPRINTS = ("policy_content", "prm_content")  # by content; a folder without them is compared by names alone
_OLD_FINGERPRINTS = ("policy_files", "prm_files")  # of sizes and times, in folders of earlier versions; not compared


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
    """Return how results name a PRM: by its path or hub id, a scorer object by its class; None for None."""
    return str(prm) if isinstance(prm, (str, Path)) else None if prm is None else type(prm).__name__


def address(servers: Servers) -> str | None:
    """Return the address of the policy's server without credentials; None without a server."""
    if servers.engine is None:
        return None
    parts = urllib.parse.urlsplit(servers.engine)
    return urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def read_settings(folder: Path) -> dict[str, Any] | None:
    """Return a folder's settings as they were written; None where it has none."""
    path = folder / _NAME
    return read_json(path) if path.exists() else None


def write_settings(folder: Path, settings: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Write a folder's settings with the facts that are known only when the models are loaded."""
    write_json(folder / _NAME, {**settings, _FACTS: dict(facts)})


def refuse_other_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    """Refuse to add to a folder of candidates that was made with other settings.

    Raises:
        SettingsDifferError: naming the settings that differ, or if the folder has none.
    """
    before = read_settings(folder)
    if not isinstance(before, dict):
        raise SettingsDifferError(
            f"{folder} holds candidates of another kind of run: there is no {_NAME} beside them. Choose another "
            "output folder."
        )
    ignored = {_FACTS, *_OLD_FINGERPRINTS, *(name for name in _FINGERPRINTS if name not in before)}
    before, now = (
        {name: value for name, value in facts.items() if name not in ignored and value is not None}
        for facts in (before, settings)
    )
    check_same_settings(folder, before, now)


def result_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run folder's settings as results have them: without fingerprints, and without paths of this machine."""
    hidden = ("benchmark", *_FINGERPRINTS, *_OLD_FINGERPRINTS, "candidates_stamp", _FACTS)
    settings = {**{name: value for name, value in config.items() if name not in hidden}, **config.get(_FACTS, {})}
    return {name: data_name(value) for name, value in settings.items() if value is not None}


def data_name(value: Any) -> Any:
    """Return how results name a path, hub id or anything else: an absolute path by its last part, all else as it is."""
    is_path = isinstance(value, Path) or (isinstance(value, str) and os.path.isabs(value))
    return Path(value).name if is_path else value
