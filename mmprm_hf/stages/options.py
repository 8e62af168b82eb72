"""What the stages are told: options of dataclasses in YAML files, and servers by URL."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Iterable, Mapping
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


class UnknownOptionError(ValueError):
    """An option that nothing knows; the message lists close matches, or all that are known.

    Args:
        key: The option.
        known: Those that there are.
        source: Words for where it was found.
    """

    def __init__(self, key: str, known: Iterable[str], source: str = "") -> None:
        self.key, self.known, self.source = str(key), sorted(known), source
        super().__init__(self.with_known(()))

    def with_known(self, more: Iterable[str]) -> str:
        """The message if `more` options are known."""
        known = sorted({*self.known, *more})
        matches = difflib.get_close_matches(self.key, known, n=3)
        hint = f"did you mean {' or '.join(matches)}?" if matches else f"known are {', '.join(known)}."
        return f"Unknown option {self.key!r}{self.source}: {hint}"


class _Loader(yaml.SafeLoader):
    """PyYAML's, but 1e-4 is a number, as in YAML 1.2: in YAML 1.1 it is a text without a point."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def read_yaml(path: Path) -> dict[str, Any]:
    """Options of a YAML file.

    Raises:
        ValueError: if it cannot be read, or holds something else than a mapping.
    """
    try:
        options = yaml.load(path.read_text(encoding="utf-8"), _Loader) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no readable YAML: {error}. Correct it, or give the options as flags.") from error
    if not isinstance(options, Mapping):
        raise ValueError(f"{path} holds a {type(options).__name__}; a configuration is a mapping of options to values.")
    return {str(key): value for key, value in options.items()}


def read_config(config: Path | Mapping[str, Any] | None, *known: type) -> list[dict[str, Any]]:
    """Options of a YAML file (or a mapping of them; None is empty), split among the dataclasses that know them.

    Raises:
        UnknownOptionError: for a key that none of them knows.
        ValueError: where the default is a number or a switch and the value is neither that nor null.
    """
    options = config if isinstance(config, Mapping) else {} if config is None else read_yaml(config)
    names = [{field.name for field in dataclasses.fields(cls) if field.init} for cls in known]
    everything = sorted(set().union(*names))
    for key in options:
        if not any(key in fields for fields in names):
            source = "" if isinstance(config, Mapping) else f" in {config}"
            raise UnknownOptionError(key, everything, source)
    defaults = {field.name: field.default for cls in known for field in dataclasses.fields(cls)}
    for key, value in options.items():
        if value is not None and isinstance(defaults[key], (bool, int, float)) and not _is_like(value, defaults[key]):
            kind = "yes or no" if isinstance(defaults[key], bool) else "a number"
            raise ValueError(f"Found {key}={value!r} in the configuration. It is {kind}, such as {defaults[key]!r}.")
    return [{key: value for key, value in options.items() if key in fields} for fields in names]


def _is_like(value: Any, default: bool | int | float) -> bool:
    """Whether a value of a configuration may stand where the default is a switch or a number."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return isinstance(value, bool) if isinstance(default, bool) else is_number
