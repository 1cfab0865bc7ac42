"""Kills at every commit: a fork of this process works, and dies just before or after one of its renames.

Each file that counts is written beside its place and renamed into it, so that the renames are the points at which what
lies on disk changes. Production code has no hook for this: the child patches its own ``os``.
"""

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NoReturn

Moment = Literal["before", "after"]

KILLED = -signal.SIGKILL
_RENAMES = ("replace", "rename")


@dataclass(frozen=True)
class Kill:
    """Where to die: at the rename of that number, from 0."""

    number: int
    moment: Moment


def forked(work: Callable[[], object], *, log: Path, before: Callable[[], None] | None = None) -> int:
    """Do some work in a child process; returns its status, negative for a signal. Its output goes to the log."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        _live(work, log, before)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _live(work: Callable[[], object], log: Path, before: Callable[[], None] | None) -> NoReturn:
    status = 1
    try:
        with log.open("a") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        if before is not None:
            before()
        work()
        status = 0
    except BaseException:  # noqa: BLE001  # as the interpreter does
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def commits(work: Callable[[], object], *, log: Path) -> list[str]:
    """The names of what some work renames into place, in order."""
    noted = log.with_suffix(".commits")
    noted.unlink(missing_ok=True)

    def note(number: int, target: str) -> None:
        with noted.open("a") as file:
            file.write(f"{Path(target).name}\n")

    status = forked(work, log=log, before=lambda: _patch(note, _nothing))
    assert status == 0, log.read_text()
    return noted.read_text().splitlines()


def killed(work: Callable[[], object], kill: Kill, *, log: Path) -> None:
    """Do some work in a child process that dies at one of its renames."""

    def die(number: int, target: str) -> None:
        if number == kill.number:
            os.kill(os.getpid(), signal.SIGKILL)

    first, second = (die, _nothing) if kill.moment == "before" else (_nothing, die)
    assert forked(work, log=log, before=lambda: _patch(first, second)) == KILLED, log.read_text()


def _nothing(number: int, target: str) -> None:
    """The other moment."""


def _patch(first: Callable[[int, str], None], second: Callable[[int, str], None]) -> None:
    """Call the one before and the other after every rename of this process, with its number and target."""
    count = iter(range(10**6))

    def wrapped(rename: Callable[..., None]) -> Callable[..., None]:
        def counted(source: str, target: str, **options: int) -> None:
            number = next(count)
            first(number, os.fspath(target))
            rename(source, target, **options)
            second(number, os.fspath(target))

        return counted

    for name in _RENAMES:
        setattr(os, name, wrapped(getattr(os, name)))


def files_of(folder: Path, *, besides: tuple[str, ...] = ()) -> dict[str, bytes]:
    """The content of each file below a folder, by its path in it."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    named = {path.relative_to(folder).as_posix(): path for path in paths}
    return {name: path.read_bytes() for name, path in named.items() if Path(name).name not in besides}
