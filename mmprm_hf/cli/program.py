"""The program: its verbs in sections, and the one place where an error becomes a line and an exit code."""

from __future__ import annotations

import dataclasses
import errno
import importlib.metadata
import logging
import os
import signal
import tempfile
import traceback
import warnings
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from ..errors import EngineUnavailableError, RunStoppedError, UnknownNameError
from ..files import is_out_of_room
from ..progress import SILENCING_VARIABLES
from . import data_verbs, evaluate_verbs, hub_verbs, model_verbs, solve_verbs
from .check_verbs import check
from .options import JSON, show, unknown_option

SECTIONS = {
    "Solve and score": (
        solve_verbs.demo,
        solve_verbs.rerank,
        solve_verbs.score,
        evaluate_verbs.evaluate,
        solve_verbs.app,
    ),
    "Data and labels": (
        data_verbs.data,
        data_verbs.curate,
        data_verbs.restructure,
        data_verbs.label,
        check,
    ),
    "Models": (model_verbs.train, model_verbs.convert),
    "Publish": (hub_verbs.report, hub_verbs.card, hub_verbs.push),
}


_ANYWHERE = ("--debug", "--quiet", "-q")  # flags of the program that may also stand behind the verb
_QUIET = {
    **dict.fromkeys((*SILENCING_VARIABLES, "HF_DATASETS_DISABLE_PROGRESS_BARS"), "1"),
    "TRANSFORMERS_VERBOSITY": "error",
    "PYTHONWARNINGS": "ignore",  # of processes that libraries start
}


@dataclasses.dataclass
class _State:
    """What a signal finds: whether a verb is running, and what the verb finds: whether SIGTERM came."""

    is_running: bool = False
    is_terminated: bool = False


class _Program(TyperGroup):
    """Prints the verbs by section, and turns errors of users into one line."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:
        ctx.meta[JSON] = "--json" in args  # also where an error comes before the flag is read
        ours = [arg for arg in args if arg in _ANYWHERE]
        return super().parse_args(ctx, [*ours, *(arg for arg in args if arg not in _ANYWHERE)])

    def format_commands(self, ctx: typer.Context, formatter: Any) -> None:
        width = formatter.width - max(map(len, self.commands)) - 6
        for section, verbs in SECTIONS.items():
            names = [verb.info.name if isinstance(verb, typer.Typer) else verb.__name__ for verb in verbs]
            with formatter.section(section):
                formatter.write_dl([(name, self.commands[name].get_short_help_str(width)) for name in names])

    def invoke(self, ctx: typer.Context) -> Any:
        state = ctx.obj or _State()
        try:
            state.is_running = True
            return super().invoke(ctx)
        except Exception as error:  # noqa: BLE001 (the one place where an error becomes a line)
            if hasattr(error, "format_message"):  # of typer, which prints it
                _show_error(ctx, error.format_message(), error.exit_code)
            is_of_typer = isinstance(error, (typer.Exit, typer.Abort)) or hasattr(error, "show")
            if is_of_typer or ctx.params.get("debug"):
                raise
            _end(error, ctx)
        except KeyboardInterrupt:
            what, code = ("terminated", 143) if state.is_terminated else ("interrupted", 130)
            typer.echo(("" if state.is_terminated else "\n") + f"mmprm: {what}. {_KEPT}", err=True)
            _show_error(ctx, f"{what}. {_KEPT}", code)
            raise typer.Exit(code) from None
        finally:
            state.is_running = False


def _end(error: Exception, ctx: typer.Context) -> None:
    """Turn an error into a line; the traceback of one that may be ours goes to a file."""
    is_foreseen = isinstance(error, (ValueError, OSError, RunStoppedError, EngineUnavailableError))
    if isinstance(error, UnknownNameError) and error.what == "option":
        message, code = unknown_option(ctx, error), 2
    else:
        message, code = (_sentence if is_foreseen or is_out_of_room(error) else _unexpected)(error), 1
    typer.echo(f"mmprm: {message}", err=True)
    _show_error(ctx, message, code)
    raise typer.Exit(code) from error


def _show_error(ctx: typer.Context, message: str, code: int) -> None:
    """Print an error on standard output as well, as the one JSON document, if that was asked for."""
    if ctx.meta.get(JSON):
        show({"error": message, "exit_code": code}, True, str)


def _sentence(error: Exception) -> str:
    """The message of an error, and a sentence for the errors of the operating system, which are a number and a name."""
    name = f"{str(error.filename)!r:.300}" if getattr(error, "filename", None) else "A file"
    if is_out_of_room(error):
        return f"{name} cannot be written: the disk is full, a quota used up, or the file too large. Make room."
    if not isinstance(error, OSError) or error.errno is None or error.filename is None:
        return str(error) or f"{type(error).__name__} without a message."
    sentences = {
        errno.ENOENT: f"There is no file or folder {name}. Check the path.",
        errno.EISDIR: f"{name} is a folder, and a file is needed there. Name a file in it.",
        errno.ENOTDIR: f"{name} does not lie in a folder: a part of the path is a file. Choose another path.",
        errno.EEXIST: f"{name} is a file, and a folder is needed there. Choose another path.",
        errno.EACCES: f"{name} may not be read or written. Correct its permissions, or choose another path.",
        errno.ENAMETOOLONG: f"The path {name[:80]}... is too long. Choose a shorter one.",
    }
    return sentences.get(error.errno, f"{name} cannot be read or written ({error.strerror}). Check the path.")


def _unexpected(error: Exception) -> str:
    """The message of an error that no rule foresaw; its traceback is written to a file."""
    with tempfile.NamedTemporaryFile("w", prefix="mmprm-", suffix=".log", delete=False, encoding="utf-8") as file:
        file.writelines(traceback.format_exception(error))
    first = next((line for line in str(error).splitlines() if line.strip()), "no message")
    return (
        f"unexpected {type(error).__name__} ({first[:300]}). An input has a form that nothing checks, or mmprm has a "
        f"fault: the traceback is in {file.name}; `mmprm --debug ...` shows it."
    )


def _silence(is_asked: bool) -> None:
    """Show results and errors alone. The libraries read these variables when they are first imported."""
    if is_asked:
        os.environ |= _QUIET
        logging.getLogger().setLevel(logging.ERROR)
        warnings.simplefilter("ignore")


def _version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"mmprm_hf {importlib.metadata.version('mmprm_hf')}")
        raise typer.Exit


app = typer.Typer(
    name="mmprm",
    cls=_Program,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # rich alone takes as long to import as all else that --help needs
    context_settings={"max_content_width": 100, "help_option_names": ["-h", "--help"]},
)


@app.callback()
def _program(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", callback=_silence, help="Show no progress bars and no warnings.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Multimodal process reward models: data, step labels, training, reranking, evaluation.

    Every option can also be given in a YAML file (--config FILE), as num_candidates: 16; flags override it. Exit codes:
    0 done, 1 failed or stopped, 2 wrong flags or configuration, 130 interrupted, 143 terminated.
    """


for _verb in (verb for verbs in SECTIONS.values() for verb in verbs):
    if isinstance(_verb, typer.Typer):
        app.add_typer(_verb)
    else:
        app.command()(_verb)


_KEPT = "What was written stays; the same command resumes where it can."


def _end_on_sigterm(state: _State) -> None:
    """Let SIGTERM, which schedulers and containers send, end the program as Ctrl-C does."""
    program = os.getpid()

    def end(number: int, frame: Any) -> None:
        if os.getpid() != program:  # a forked worker, which has nothing to put in order
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)
        if not state.is_running:  # before the verb or after it: there is nothing to put in order
            os.write(2, f"mmprm: terminated. {_KEPT}\n".encode())
            os._exit(143)
        state.is_terminated = True
        on_interrupt = signal.getsignal(signal.SIGINT)  # a running event loop has its own; in the background, none
        (on_interrupt if callable(on_interrupt) else signal.default_int_handler)(signal.SIGINT, frame)

    signal.signal(signal.SIGTERM, end)


def main() -> None:
    """Entry point of `mmprm`."""
    state = _State()
    _end_on_sigterm(state)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    app(obj=state)
