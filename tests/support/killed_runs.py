"""`mmprm` commands in processes that get a signal at a given moment.

As a program it loads torch and the stages once, and starts a process for each line of its input, a JSON list of
arguments, seconds, the signal's number and the file for what the command prints. The process is signalled after so many
seconds (0: never) and waited for. The program answers with a line: ``[exit code, seconds]``; of a process that a signal
ended the code is minus its number.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path


@contextlib.contextmanager
def commands() -> Iterator[Callable[..., tuple[int, float]]]:
    """Yield ``run(arguments, printed, seconds=0.0, number=0)``, which returns exit code and seconds."""
    with subprocess.Popen(
        [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as program:

        def run(arguments: list, printed: Path, seconds: float = 0.0, number: int = 0) -> tuple[int, float]:
            program.stdin.write(json.dumps([[*map(str, arguments)], seconds, number, str(printed)]) + "\n")
            program.stdin.flush()
            return tuple(json.loads(program.stdout.readline()))

        yield run
        program.stdin.close()


def run_in_child(arguments: list[str], seconds: float, number: int, printed: str) -> tuple[int, float]:
    """Run a command in a forked process; return its exit code and how long it took."""
    start = time.monotonic()
    child = os.fork()
    if not child:
        code = 1
        try:
            with open(printed, "wb") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
            sys.argv = ["mmprm", *arguments]
            main()
        except SystemExit as error:
            code = error.code or 0
        except BaseException:  # noqa: BLE001 (shown, for the process ends here)
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    status = None
    while seconds and time.monotonic() - start < seconds:
        ended, status_now = os.waitpid(child, os.WNOHANG)
        if ended:
            status = status_now
            break
        time.sleep(0.002)
    if status is None:
        if seconds:
            os.kill(child, number)
        _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), time.monotonic() - start


if __name__ == "__main__":
    import mmprm_hf  # noqa: I001 (first, as users do)
    import datasets  # noqa: F401
    import peft  # noqa: F401
    import torch
    import transformers  # noqa: F401

    import mmprm_hf.labelling.driver
    import mmprm_hf.rerank.pipeline
    import mmprm_hf.stages.benchmark_stage
    import mmprm_hf.stages.label_stage
    import mmprm_hf.stages.rerank_stage
    import mmprm_hf.stages.restructure_stage
    import mmprm_hf.stages.train_stage
    import mmprm_hf.training.prm_trainer  # noqa: F401
    from mmprm_hf.cli.program import main

    torch.set_num_threads(1)  # a forked process has no pool of threads
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        print(json.dumps(run_in_child(*json.loads(line))), file=replies, flush=True)
