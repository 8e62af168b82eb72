"""What the stages are told: options of dataclasses in YAML files, and servers by URL."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ..engines import ChatClient


@dataclasses.dataclass(frozen=True)
class Servers:
    """What does not run in this process: OpenAI-compatible servers by URL, each of which must serve one model.

    Args:
        engine: Runs the policy; None runs it here.
        judge: Judge of answers that the rules leave undecided; None leaves them so.
        step_judge: Judge of steps for `labelling.consensus`, by URL, or a PRM by path or hub id; None asks nobody.
        prefill: How the engine shows a prefix, see `EndpointEngine`.
        api_key: Sent to all of them.
        step_judge_max_new_tokens: The most tokens of a reply of a chat model as step judge; one that thinks at length
            needs more.
    """

    engine: str | None = None
    judge: str | None = None
    step_judge: str | None = None
    prefill: str = "auto"
    api_key: str | None = None
    step_judge_max_new_tokens: int = 1024

    def chat(self, url: str, model: str | None = None) -> ChatClient:
        """A client of one of them."""
        return ChatClient(url, model, api_key=self.api_key)


def read_config(path: Path | None, *known: type) -> list[dict[str, Any]]:
    """Options of a YAML file, split among the dataclasses that know them.

    Raises:
        ValueError: for a key that none of them knows, with close matches.
    """
    options = {} if path is None else yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    if not isinstance(options, Mapping):
        raise ValueError(f"{path} holds a {type(options).__name__}; a configuration is a mapping of options to values.")
    names = [{field.name for field in dataclasses.fields(cls) if field.init} for cls in known]
    for key in options:
        if not any(key in fields for fields in names):
            everything = sorted(set().union(*names))
            matches = difflib.get_close_matches(str(key), everything, n=3)
            hint = f"did you mean {' or '.join(matches)}?" if matches else f"known are {', '.join(everything)}."
            raise ValueError(f"Unknown option {key!r} in {path}: {hint}")
    return [{key: value for key, value in options.items() if key in fields} for fields in names]
