"""One process at a time works on a cell, on all machines that see its folder."""

import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

BEAT_SECONDS = 20.0
"""How often a holder says that it is alive."""

_MISSED_BEATS = 3
_ATTEMPTS, _ATTEMPT_SECONDS = 5, 0.2


@dataclass(frozen=True, kw_only=True)
class Holder:
    """Who works on a cell; ``beats`` counts while it lives."""

    host: str
    pid: int
    since: str
    beats: int = 0

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.since}"


class TakenError(RuntimeError):
    """Another process works on the cell."""


@contextmanager
def lock(file: Path, *, beat_seconds: float = BEAT_SECONDS) -> Iterator[None]:
    """Hold a file, or learn that another process does.

    The lock is the system's own and ends with its process, however that ends. Processes that it forks do not have it.
    Where file systems keep locks within one machine, a holder on another one is known by its beats: what looks
    like the lock of a killed process there is watched for a while before it is taken over.

    Args:
        file: of the lock; stays.
        beat_seconds: how often the holder writes that it is alive.

    Raises:
        TakenError: naming host and process.
        OSError: the file cannot be made, or its file system knows no locks.
    """
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if not _locked(descriptor):
            raise TakenError(str(_read(descriptor) or "another process"))
        _watch(file, descriptor, beat_seconds)
        ended = threading.Event()
        own = Holder(host=socket.gethostname(), pid=os.getpid(), since=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"))
        _write(descriptor, own)
        beating = threading.Thread(target=_beat, args=(descriptor, own, ended, beat_seconds), daemon=True)
        beating.start()
        try:
            yield
        finally:
            ended.set()
            beating.join()
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def holder(file: Path) -> Holder | None:
    """Who holds a file now; None for nobody, or for one who was killed.

    Not to be asked by the holder itself: the system would let go of its lock.
    """
    try:
        descriptor = os.open(file, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        found = _read(descriptor)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            return found or Holder(host="unknown host", pid=0, since="now")
        elsewhere = found is not None and found.host != socket.gethostname()
        beaten = time.time() - os.fstat(descriptor).st_mtime < _MISSED_BEATS * BEAT_SECONDS
        return found if elsewhere and beaten else None
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    """Whether the lock was free; whoever only looks at it holds it for a moment."""
    for attempt in range(_ATTEMPTS):
        try:
            # Not flock: its locks are shared with forked loaders, which may outlive a killed run.
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            if attempt < _ATTEMPTS - 1:
                time.sleep(_ATTEMPT_SECONDS)
        else:
            return True
    return False


def _watch(file: Path, descriptor: int, beat_seconds: float) -> None:
    """Look for beats of a holder elsewhere, who did not let go of its lock in order."""
    before = _read(descriptor)
    if before is None or before.host == socket.gethostname():
        return
    deadline = time.monotonic() + _MISSED_BEATS * beat_seconds
    while time.monotonic() < deadline:
        time.sleep(beat_seconds / 2)
        # The time of change makes network file systems look at the server rather than at what they remember.
        file.stat()
        now = _read(descriptor)
        if now != before:
            raise TakenError(str(now or before))


def _beat(descriptor: int, own: Holder, ended: threading.Event, beat_seconds: float) -> None:
    beats = 0
    while not ended.wait(beat_seconds):
        beats += 1
        _write(descriptor, replace(own, beats=beats))


def _write(descriptor: int, own: Holder) -> None:
    os.pwrite(descriptor, (json.dumps(asdict(own)) + "\n").encode(), 0)
    os.fsync(descriptor)


def _read(descriptor: int) -> Holder | None:
    lines = os.pread(descriptor, 1000, 0).decode(errors="replace").splitlines()
    try:
        return Holder(**json.loads(lines[0])) if lines else None
    except (ValueError, TypeError):
        return None
