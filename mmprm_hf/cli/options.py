"""Options that verbs share, options from YAML files, and how results are printed."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import typer


def config_flags(command: Any) -> dict[str, Any]:
    """A verb's parameters by the names they have in a YAML file: those of the flags, with underscores."""
    flags = {}
    for parameter in command.params:
        for flag in parameter.opts:
            name = flag.lstrip("-").replace("-", "_")
            if len(name) > 1 and name not in ("config", "help"):
                flags[name] = parameter
    return flags


def _take_config(ctx: typer.Context, path: Path | None) -> dict[str, Any]:
    """Make a file's options the verb's defaults; those that are no flags of the verb are returned."""
    if path is None:
        return {}
    from ..stages import read_yaml

    try:
        given = read_yaml(Path(path))
    except (ValueError, OSError) as error:
        raise typer.BadParameter(str(error)) from error
    flags = config_flags(ctx.command)
    defaults, rest = {}, {}
    for key, value in given.items():
        parameter = flags.get(key.replace("-", "_"))
        if parameter is None:
            rest[key] = value
        elif value is not None:
            defaults[parameter.name] = _checked(key, value, parameter)
    ctx.default_map = {**(ctx.default_map or {}), **defaults}
    return rest


def _checked(key: str, value: Any, parameter: Any) -> Any:
    """A YAML value in the shape that the flag has: a list where it can be given several times, else one thing."""
    several = getattr(parameter, "multiple", False) or parameter.nargs == -1
    if isinstance(value, dict) or (isinstance(value, list) and not several):
        raise typer.BadParameter(f"{key} is a {type(value).__name__} in the configuration; the flag takes one value.")
    if isinstance(value, bool) and not getattr(parameter, "is_flag", False):
        raise typer.BadParameter(
            f"{key} is {value} in the configuration; the flag takes a value. Quote it if it is one."
        )
    if several:
        return [str(one) for one in value] if isinstance(value, list) else [str(value)]
    return value if isinstance(value, bool) else str(value)


def nothing_left(options: dict[str, Any]) -> None:
    """For a verb whose flags are all it takes: an option of the file that is none of them is an error.

    Raises:
        UnknownOptionError: with close matches.
    """
    from ..stages import UnknownOptionError

    for key in options:
        raise UnknownOptionError(key, ())


@contextlib.contextmanager
def quiet(as_json: bool) -> Iterator[None]:
    """What libraries print goes to standard error where standard output is for machines."""
    with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
        yield


def show(found: Any, as_json: bool, text: Callable[[Any], str]) -> None:
    """Print a result: one JSON document, or text for people."""
    typer.echo(json.dumps(found, indent=2, ensure_ascii=False) if as_json else text(found))


def in_terminal() -> bool:
    """True where a person reads standard output as it comes."""
    return sys.stdout.isatty()


def use_color() -> bool:
    """True in a terminal, unless NO_COLOR is set (no-color.org)."""
    return in_terminal() and not os.environ.get("NO_COLOR")


OutputOption = Annotated[Path, typer.Option("--output", "-o", help="Folder (or file) to write.")]
PolicyOption = Annotated[str | None, typer.Option(help="Policy: path or hub id. Default: the shipped nano policy.")]
ServedPolicyOption = Annotated[
    str | None,
    typer.Option(help="Policy: path or hub id, default the shipped nano policy; with --engine its name there."),
]
PRMOption = Annotated[str | None, typer.Option(help="PRM: path or hub id. Default: the shipped nano PRM.")]
EngineOption = Annotated[
    str | None, typer.Option(help="URL of an OpenAI-compatible server that runs the policy. Default: run it here.")
]
KeyOption = Annotated[str | None, typer.Option(envvar="MMPRM_API_KEY", help="Bearer token of the servers.")]
ConfigOption = Annotated[
    dict,
    typer.Option(
        "--config",
        parser=Path,
        metavar="FILE",
        callback=_take_config,
        is_eager=True,
        help="YAML file with options; flags come first, an unknown option is an error.",
    ),
]
SeedOption = Annotated[int, typer.Option(help="Seed.")]
CandidatesOption = Annotated[int, typer.Option(help="Candidates per problem.")]
Strategy = Literal["best_of_n", "majority_vote", "weighted_vote", "beam_search", "dvts", "beam_annealing"]
Aggregation = Literal["min", "last", "product", "mean", "max", "sum_logprob", "sum_logit", "mean_odds"]
AggregationOption = Annotated[Aggregation, typer.Option(help="Step scores to one number.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
