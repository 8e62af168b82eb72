"""Options that verbs share, options from YAML files, and how results are printed."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ..errors import UnknownNameError

_PUBLIC = "public"  # the value of --allow-urls that takes every public host
JSON = "mmprm_hf.json"  # in a context's meta: whether standard output is one JSON document
_CONFIG = "mmprm_hf.config"  # in a context's meta: the verb that read a configuration, and the file


def config_flags(command: Any) -> dict[str, Any]:
    """Return a verb's parameters by their names in a YAML file: those of the flags, with underscores."""
    flags = {}
    for parameter in command.params:
        for flag in parameter.opts:
            name = flag.lstrip("-").replace("-", "_")
            if len(name) > 1 and name not in ("config", "help", "options"):
                flags[name] = parameter
    return flags


def _read_config(ctx: typer.Context, path: Path | None) -> dict[str, Any]:
    """Make the options in a file the verb's defaults; return those that are not flags of the verb."""
    if path is None:
        return {}
    from ..nano import config_or_nano
    from ..stages import read_yaml

    try:
        path = config_or_nano(Path(path), ctx.command.name or "")
        options = read_yaml(path)
    except (ValueError, OSError) as error:
        raise typer.BadParameter(str(error)) from error
    ctx.meta[_CONFIG] = ctx.command, path
    flags = config_flags(ctx.command)
    defaults, others = {}, {}
    for key, value in options.items():
        parameter = flags.get(key.replace("-", "_"))
        if parameter is None:
            others[key] = value
        elif value is not None:
            defaults[parameter.name] = _flag_value(key, value, parameter)
    ctx.default_map = {**(ctx.default_map or {}), **defaults}
    if others:
        from ..stages import check_option_names, takes_options

        if takes_options(ctx.command.name):
            check_option_names(ctx.command.name, others)
    return others


def _flag_value(key: str, value: Any, parameter: Any) -> Any:
    """A YAML value in the form that the flag takes: a list if it can be given several times, otherwise one value."""
    is_list = getattr(parameter, "multiple", False) or parameter.nargs == -1
    if parameter.name == "columns" and isinstance(value, dict):
        return [f"{name}={column}" for name, column in value.items()]
    if parameter.name == "template_options" and isinstance(value, dict):
        return [f"{name}={json.dumps(setting)}" for name, setting in value.items()]
    if parameter.name == "step_format" and isinstance(value, dict):
        return json.dumps(value)
    if isinstance(value, dict) or (isinstance(value, list) and not is_list):
        raise typer.BadParameter(f"{key} is a {type(value).__name__} in the configuration; the flag takes one value.")
    if isinstance(value, bool) and not getattr(parameter, "is_flag", False):
        raise typer.BadParameter(
            f"{key} is {value} in the configuration; the flag takes a value. Quote it if it is one."
        )
    if is_list:
        return [str(element) for element in value] if isinstance(value, list) else [str(value)]
    return value if isinstance(value, bool) else str(value)


def _nano(kind: str) -> Callable[[str | None], str | None]:
    """The callback of an option that names a checkpoint: "nano" is the shipped one; one that is not there is told."""

    def path_of(name: str | None) -> str | None:
        from ..nano import checkpoint_or_nano
        from ..rows import check_model_path

        path = checkpoint_or_nano(name, kind)
        check_model_path(path)
        return path

    return path_of


def _served(ctx: typer.Context, name: str | None) -> str | None:
    """The name of a policy: at the server, if there is one. Without one, no name is the shipped nano policy."""
    if name is None or ctx.params.get("engine"):
        return name
    from ..rows import check_model_path

    check_model_path(None if name == "nano" else name)
    return None if name == "nano" else name


def _step_judge(name: str | None) -> str | None:
    """The address of a step judge, or the path of a PRM."""
    return name if name and name.startswith(("http://", "https://")) else _nano("PRM")(name)


def _list_options(ctx: typer.Context, is_asked: bool) -> None:
    """Print the keys that a verb's configuration takes beyond its flags, and how a flag is written there."""
    if is_asked:
        from ..stages import format_options

        flag = next(iter(config_flags(ctx.command)))
        names = [ctx.info_name]
        while (ctx.parent or ctx).parent is not None:
            ctx = ctx.parent
            names.insert(0, ctx.info_name)
        verb = " ".join(names)
        typer.echo(f"{format_options(verb)}\n\nEvery flag is a key, too, with underscores: {flag}: VALUE")
        raise typer.Exit


def _note_json(ctx: typer.Context, is_asked: bool) -> bool:
    """Remember that errors are wanted as JSON, too."""
    ctx.meta[JSON] = is_asked or ctx.meta.get(JSON, False)
    return is_asked


def nothing_left(options: dict[str, Any]) -> None:
    """Refuse options of a file that are not flags, for a verb that takes nothing else.

    Raises:
        UnknownNameError: naming the first one.
    """
    for key in options:
        raise UnknownNameError("option", key, ())


def unknown_option(ctx: typer.Context, error: UnknownNameError) -> str:
    """Return the message about an option that neither a verb's flags nor its stage have, with the file that has it."""
    command, path = ctx.meta[_CONFIG]
    error.where = f" in {path}"
    return error.message(config_flags(command))


def checked_data(data: str | None) -> str | None:
    """The callback of an option that names data: a path that cannot be right is told before anything is imported."""
    from ..rows import check_data_path

    check_data_path(data)
    return data


def column_names(texts: Sequence[str] | None) -> dict[str, str]:
    """Return what all --columns say: our names of columns to those of the data.

    Raises:
        typer.BadParameter: if one is not of the form question=problem,answer=solution, or a name of ours comes twice.

    Example:
        >>> column_names(["question=problem,answer=solution", "image=figure"])
        {'question': 'problem', 'answer': 'solution', 'image': 'figure'}
    """
    names: dict[str, str] = {}
    for pair in ",".join(texts or ()).split(","):
        ours, is_pair, theirs = (word.strip() for word in pair.partition("="))
        if pair.strip() and not (ours and is_pair and theirs and "=" not in theirs):
            raise typer.BadParameter(f"--columns {pair!r:.80} is not of the form question=problem,answer=solution.")
        if names.get(ours, theirs) != theirs:
            raise typer.BadParameter(
                f"--columns names {ours} twice, as {names[ours]} and as {theirs}. The form is OURS=THEIRS, such as "
                "question=problem; name one column for each of ours."
            )
        names |= {ours: theirs} if ours else {}
    return names


def named_step_format(text: str | None) -> Any:
    """Return what --step-format says: the name of a format, or a dict of its name and options from their JSON.

    Raises:
        typer.BadParameter: if it begins as JSON and is none.
    """
    if text is None or not text.lstrip().startswith("{"):
        return text
    try:
        return json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"--step-format {text!r:.80} is not JSON ({error}).") from error


def policy_form(step_format: str | None, instruct: str, template_options: Sequence[str] | None) -> Any:
    """Return what the options about the form of a policy's text say.

    Raises:
        typer.BadParameter: if one of --template-options is not of the form enable_thinking=false.
    """
    from ..stages import PolicyForm

    values: dict[str, Any] = {}
    for pair in template_options or ():
        name, is_pair, value = (word.strip() for word in pair.partition("="))
        if not (name.isidentifier() and is_pair and value):
            raise typer.BadParameter(
                f"--template-options {pair!r:.80} is not of the form NAME=VALUE, such as enable_thinking=false. Repeat "
                "it for several."
            )
        try:
            values[name] = json.loads(value)
        except ValueError:
            values[name] = value
    return PolicyForm(named_step_format(step_format), instruct, values or None)


def figure_rules(roots: list[str] | None, hosts: list[str] | None) -> Any:
    """Return what the two options about the figures of data say.

    Raises:
        typer.BadParameter: for a folder that does not exist, or what is not a host.
    """
    from ..rows import FigureRules

    for root in roots or ():
        if not os.path.isdir(root):
            raise typer.BadParameter(f"--figures-root {root} is not a folder.")
    for host in hosts or ():
        if not re.fullmatch(r"[\w.:-]+", host):
            raise typer.BadParameter(f"--allow-urls {host!r:.80} is not a host, such as example.com, or {_PUBLIC}.")
    return FigureRules(tuple(roots or ()), _PUBLIC in (hosts or ()) or tuple(hosts or ()) or False)


def without_none(**options: Any) -> dict[str, Any]:
    """Return the options that have a value."""
    return {name: value for name, value in options.items() if value is not None}


@contextlib.contextmanager
def quiet(as_json: bool) -> Iterator[None]:
    """Send what libraries print to standard error if standard output is for machines; there stages print notes, too."""
    notes, handler = logging.getLogger("mmprm_hf.notes"), logging.StreamHandler()
    handler.setFormatter(logging.Formatter("note: %(message)s"))
    if is_main_process() and logging.getLogger().level < logging.ERROR:
        notes.addHandler(handler)
    notes.setLevel(logging.INFO)
    notes.propagate = False
    try:
        with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
            yield
    finally:
        notes.removeHandler(handler)
        notes.propagate = True


def is_main_process() -> bool:
    """Whether this is the only process of a run, or the first that `torchrun` or `accelerate launch` started."""
    return os.environ.get("RANK", "0") == "0"


def note_replaced(path: Path) -> None:
    """Say that a file which is there will be replaced.

    Raises:
        ValueError: if it is a folder.
    """
    if path.is_dir():
        raise ValueError(f"{str(path)!r} is a folder, and a file is written. Name a file in it.")
    if path.exists():
        typer.echo(f"note: {path} is replaced; -o names another file.", err=True)


def note_replaced_results(path: Path) -> None:
    """Say that results which are there will be replaced.

    Raises:
        ValueError: if a folder or another file lies there.
    """
    from ..stages import check_results_file

    if check_results_file(path):
        note_replaced(path)


def show(results: Any, as_json: bool, text: Callable[[Any], str]) -> None:
    """Print results, once: one JSON document, or text for people."""
    if is_main_process():
        typer.echo(json.dumps(results, indent=2, ensure_ascii=False) if as_json else text(results))


def plain_lines(values: Mapping[str, Any]) -> str:
    """Return the numbers and texts among values, one a line; files and `--json` have zeros, lists and mappings, too."""
    shown = {name: value for name, value in values.items() if value and not isinstance(value, (dict, list, tuple))}
    return "\n".join(
        f"  {name}: {round(value, 4) if isinstance(value, float) else value}" for name, value in shown.items()
    )


def use_color() -> bool:
    """Return whether to colour: in a terminal, unless NO_COLOR is set (no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


Strategy = Literal["best_of_n", "majority_vote", "weighted_vote", "beam_search", "dvts", "beam_annealing"]
Aggregation = Literal["min", "last", "product", "mean", "max", "sum_logprob", "sum_logit", "mean_odds"]
OutputOption = Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")]
PolicyOption = Annotated[
    str | None,
    typer.Option(callback=_nano("policy"), help="Policy: path, hub id, or nano. Default: the shipped nano policy."),
]
ServedPolicyOption = Annotated[
    str | None,
    typer.Option(callback=_served, help="Policy: path, hub id, nano, or name at --engine. Default: shipped nano."),
]
StartOption = Annotated[
    str, typer.Option(callback=_nano("policy"), help="Policy or PRM to start from: path, hub id, or nano (the policy).")
]
PRMOption = Annotated[
    str | None, typer.Option(callback=_nano("PRM"), help="PRM: path, hub id, or nano. Default: the shipped nano PRM.")
]
SavedPRMOption = Annotated[
    str | None,
    typer.Option(
        callback=_nano("PRM"),
        help="PRM: path, hub id, or nano; --engine needs it. Default: saved with the policy, or shipped for nano.",
    ),
]
StepJudgeOption = Annotated[
    str | None,
    typer.Option(callback=_step_judge, help="Judge of the steps, too: server URL, or PRM (path, hub id, or nano)."),
]
EngineOption = Annotated[
    str | None,
    typer.Option(  # eager, because what --policy means depends on it
        metavar="URL", is_eager=True, help="OpenAI-compatible server of the policy. Default: run it here."
    ),
]
StepFormatOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Form of the policy's steps: tagged, paragraphs, lines, numbered. Default: as it says, else found.",
    ),
]
InstructOption = Annotated[
    str, typer.Option(help="Ask the policy to write so: auto (if it helps), never, always, example.")
]
TemplateOption = Annotated[
    list[str] | None,
    typer.Option(
        "--template-options", metavar="NAME=VALUE", help="For the chat template, such as enable_thinking=false."
    ),
]
KeyOption = Annotated[str | None, typer.Option(envvar="MMPRM_API_KEY", help="Bearer token of the servers.")]
RootsOption = Annotated[
    list[str] | None,
    typer.Option("--figures-root", metavar="DIR", help="Look for figures that the data name in this folder, too."),
]
UrlsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-urls", metavar="HOST", help=f"Fetch figures that the data name by address from HOST; {_PUBLIC}: any."
    ),
]
ColumnsOption = Annotated[
    list[str] | None,
    typer.Option("--columns", metavar="OURS=THEIRS,..", help="Columns of the data that have other names than ours."),
]
TimeoutOption = Annotated[
    float, typer.Option("--timeout", metavar="SECONDS", help="Most seconds of one attempt at a request to a server.")
]
ConfigOption = Annotated[
    dict,
    typer.Option(
        "--config",
        parser=Path,
        metavar="FILE",
        callback=_read_config,
        is_eager=True,
        help="YAML file with options, or nano for those of the nano models; flags override it.",
    ),
]
ListOption = Annotated[
    bool,
    typer.Option(
        "--options", callback=_list_options, is_eager=True, help="List what --config takes besides the flags, and end."
    ),
]
SeedOption = Annotated[int, typer.Option(help="Random seed.")]
CandidatesOption = Annotated[int, typer.Option(help="Candidates per problem.")]
AggregationOption = Annotated[Aggregation, typer.Option(help="How step scores become one score.")]
JsonOption = Annotated[
    bool, typer.Option("--json", callback=_note_json, is_eager=True, help="Print one JSON document, also for an error.")
]
