"""What the package ships under the name "nano": a policy, a PRM and configurations, wherever the package lies.

Standard library only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from . import POLICY_PATH, PRM_PATH

NANO = "nano"
_CHECKPOINTS = {"policy": POLICY_PATH, "PRM": PRM_PATH}
_CONFIGS = Path(__file__).parent / "configs"


def checkpoint_or_nano(model: Any, kind: str) -> Any:
    """Return the path of the shipped checkpoint for "nano"; any other path, hub id, model or None as it is.

    Args:
        model: What a user gave. A folder of this name is "./nano".
        kind: "policy" or "PRM".

    Example:
        >>> checkpoint_or_nano("you/your-prm", "PRM"), Path(checkpoint_or_nano("nano", "PRM")) == PRM_PATH
        ('you/your-prm', True)
    """
    return str(_CHECKPOINTS[kind]) if model == NANO else model


def config_or_nano(path: Path, verb: str) -> Path:
    """Return the path of the configuration with which the nano models were made for "nano", any other path as it is.

    Args:
        path: What a user gave.
        verb: The verb that is configured.

    Raises:
        ValueError: if there is none for this verb.
    """
    if str(path) != NANO:
        return path
    verbs = sorted(config.stem for config in _CONFIGS.glob("*.yaml"))
    if verb not in verbs:
        raise ValueError(
            f"There is no configuration nano of {verb}, only of {' and '.join(verbs)}. Give the path of a YAML file."
        )
    return _CONFIGS / f"{verb}.yaml"
