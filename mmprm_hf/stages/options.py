"""What stages are given: options of dataclasses in YAML files, and servers by URL."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import urllib.parse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ..engines import ChatClient
from ..errors import UnknownNameError, is_number
from ..models import is_address
from ..steps import AUTO, read_step_format


@dataclasses.dataclass(frozen=True)
class Servers:
    """What does not run in this process: OpenAI-compatible servers by URL, each of which must serve one model.

    Args:
        engine: Server that runs the policy; None runs it in this process.
        judge: Server that judges answers which the rules leave undecided; None leaves them undecided.
        step_judge: Judge of steps for `labelling.consensus`: URL of a server, or path or hub id of a PRM; None for no
            judge.
        prefill: How the engine is shown a prefix, see `EndpointEngine`.
        api_key: Bearer token that is sent to all of them.
        step_judge_max_new_tokens: Most tokens of a reply of a chat model as step judge; one that reasons at length
            needs more.
        timeout_seconds: The most time that one attempt at a request may take.
    """

    engine: str | None = None
    judge: str | None = None
    step_judge: str | None = None
    prefill: str = "auto"
    api_key: str | None = None
    step_judge_max_new_tokens: int = 1024
    timeout_seconds: float = 600.0

    def __post_init__(self) -> None:
        for name in ("engine", "judge"):
            url = getattr(self, name)
            if url is not None and not (isinstance(url, str) and url.startswith(("http://", "https://"))):
                raise ValueError(
                    f"Found {name}={url!r:.100}. The address of a server begins with http:// or https://, such as "
                    "http://127.0.0.1:8000/v1."
                )

    def chat(self, url: str, model: str | None = None, template_options: Mapping[str, Any] | None = None) -> ChatClient:
        """Return a client of one of the servers, for its only model or the one named."""
        extra_body = {"chat_template_kwargs": dict(template_options)} if template_options else None
        settings = {"api_key": self.api_key, "timeout_seconds": self.timeout_seconds, "extra_body": extra_body}
        return ChatClient(url, model, **settings)


@dataclasses.dataclass(frozen=True)
class PolicyForm:
    """The form in which a policy writes.

    Args:
        step_format: A `StepFormat`, its name or its dict; None takes the one that the policy names, or finds it.
        instruct: Whether the policy is asked to write so: "auto", "never", "always" or "example".
        template_options: More variables of the policy's chat template, such as ``{"enable_thinking": False}``; a server
            gets them as `chat_template_kwargs`. None for none.
    """

    step_format: Any = None
    instruct: str = "auto"
    template_options: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.step_format not in (None, AUTO):
            read_step_format(self.step_format)

    @property
    def settings(self) -> dict[str, Any]:
        """What a run's settings hold of it: what was named."""
        named = (
            {} if self.step_format in (None, AUTO) else {"step_format": read_step_format(self.step_format).to_dict()}
        )
        if self.instruct != "auto":
            named["instruct"] = self.instruct
        return {**named, "template_options": dict(self.template_options)} if self.template_options else named


def named_hosts(figures: Sequence[Any]) -> list[str]:
    """Return the hosts of the addresses among figures that a user typed: fetching from them is what was asked for.

    Example:
        >>> named_hosts(["https://example.com:8000/a.png", "b.png"])
        ['example.com:8000']
    """
    hosts = []
    for figure in filter(is_address, figures):
        with contextlib.suppress(ValueError):  # fetching says what is wrong with the address
            hosts.append(urllib.parse.urlsplit(figure).netloc.lower())
    return hosts


_MAX_YAML_BYTES = 2**20
_MAX_YAML_VALUES = 10_000


class _Loader(yaml.SafeLoader):
    """PyYAML's, but 1e-4 is a number, as in YAML 1.2; in YAML 1.1 a float needs a point."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Return the options in a YAML file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not YAML, not a mapping, or too large.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no configuration {str(path)!r}. Give the path of a YAML file.")
    if path.stat().st_size > _MAX_YAML_BYTES:
        raise ValueError(
            f"{path} has more than {_MAX_YAML_BYTES} bytes; a configuration is short. Is it the right file?"
        )
    try:
        options = yaml.load(path.read_text(encoding="utf-8-sig"), _Loader) or {}
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:  # ValueError: a date that does not exist
        raise ValueError(f"{path} is not YAML: {error}. Correct it, or give the options as flags.") from error
    except RecursionError as error:
        raise ValueError(f"{path} is nested too deeply. A configuration has a few levels; correct it.") from error
    _check_size(options, path)
    if not isinstance(options, Mapping):
        raise ValueError(f"{path} contains a {type(options).__name__}; a configuration maps options to values.")
    return {str(key): value for key, value in options.items()}


def _check_size(options: Any, path: Path) -> None:
    """Refuse what a few aliases (&a, *a) blow up to more than a configuration can be."""
    rest, num_values = [options], 0
    while rest:
        value = rest.pop()
        num_values += 1
        if num_values > _MAX_YAML_VALUES:
            raise ValueError(
                f"{path} has more than {_MAX_YAML_VALUES} values, aliases counted. Write them out, or fewer."
            )
        rest += value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple, set)) else ()


def read_config(config: Path | Mapping[str, Any] | None, *classes: type) -> list[dict[str, Any]]:
    """Return the options that belong to each dataclass.

    Args:
        config: YAML file, or a mapping of options; None for no options.
        classes: Dataclasses, whose fields are the options there are.

    Raises:
        UnknownNameError: for an option that is no field of any class.
        ValueError: if the default is a number or a switch, and the value is neither that nor null.

    Example:
        >>> read_config({"engine": "http://localhost:8000/v1"}, Servers)
        [{'engine': 'http://localhost:8000/v1'}]
    """
    is_file = config is not None and not isinstance(config, Mapping)
    options = read_yaml(config) if is_file else config or {}
    fields = {field.name: field for cls in classes for field in dataclasses.fields(cls) if field.init}
    for name, value in options.items():
        if name not in fields:
            raise UnknownNameError("option", name, sorted(fields), f" in {config}" if is_file else "")
        default = fields[name].default
        if value is not None and isinstance(default, (bool, int, float)) and not _is_like(value, default):
            rule = "yes or no" if isinstance(default, bool) else "a number"
            raise ValueError(f"Found {name}={value!r} in the configuration. It must be {rule}, such as {default!r}.")
    return [
        {name: options[name] for name in options if name in {field.name for field in dataclasses.fields(cls)}}
        for cls in classes
    ]


def _is_like(value: Any, default: bool | int | float) -> bool:
    """Whether a value is a switch like the default, or a number like it."""
    return isinstance(value, bool) if isinstance(default, bool) else is_number(value)
