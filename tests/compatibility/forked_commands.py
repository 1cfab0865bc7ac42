"""Run commands as ``python -m <module> ...`` does, each in a fork of one process that has imported the libraries.

Most of a short command's time goes into importing torch and its company; here they are imported once. The package
itself is not: every command imports it anew, from its checkout.

As a program it serves: a line of JSON in (``module``, ``arguments``, ``checkout``, ``folder``, ``log``), a line with
the exit status out.
"""

import atexit
import importlib
import json
import os
import runpy
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn

LIBRARIES = (
    "albumentations",
    "faster_coco_eval",
    "matplotlib.pyplot",
    "pandas",
    "pyarrow.parquet",
    "pydantic",
    "pydicom",
    "pytorch_lightning",
    "scipy.stats",
    "sklearn.model_selection",
    "timm",
    "torchmetrics.detection",
    "torchvision",
    "wandb",
)
"""What the commands import sooner or later."""


def import_libraries() -> None:
    """What all commands share; nothing of it starts threads."""
    for name in LIBRARIES:
        importlib.import_module(name)


def run_command(
    module: str, arguments: Sequence[str], *, folder: Path, log: Path, before: Callable[[], None] | None = None
) -> int:
    """Run one command in a process of its own.

    Args:
        module: as after ``python -m``.
        arguments: of the command line.
        folder: the working directory.
        log: file that all it prints is added to.
        before: called in the command's process before the command starts.

    Returns:
        Its exit status; a signal's number, negative, if one ended it.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        _live(module, arguments, folder, log, before)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _live(
    module: str, arguments: Sequence[str], folder: Path, log: Path, before: Callable[[], None] | None
) -> NoReturn:
    """The child's whole life."""
    status = 1
    # What the process that it was forked from has registered is for that one to run.
    atexit._clear()
    try:
        os.chdir(folder)
        with log.open("a") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        sys.argv = ["", *arguments]
        if before is not None:
            before()
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        status = 0
    except SystemExit as end:
        status = _status(end.code)
    except BaseException:  # noqa: BLE001  # as the interpreter does
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _status(code: object) -> int:
    """As the interpreter reads what a program exits with."""
    if isinstance(code, int):
        return code
    if code is not None:
        sys.stderr.write(f"{code}\n")
    return int(code is not None)


def serve() -> None:
    """Run commands until there are no more lines."""
    import_libraries()
    for line in sys.stdin:
        task = json.loads(line)
        status = run_command(
            task["module"],
            task["arguments"],
            folder=Path(task["folder"]),
            log=Path(task["log"]),
            before=partial(_use, task["checkout"]),
        )
        sys.stdout.write(f"{status}\n")
        sys.stdout.flush()


def _use(checkout: str) -> None:
    """Import the package from there, in this process and in those that it starts."""
    sys.path.insert(0, checkout)
    os.environ["PYTHONPATH"] = checkout


if __name__ == "__main__":
    serve()
