"""Who holds a lock, written into its file again and again, so that other machines see that the holder is alive."""

import itertools
import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime

from rsna_det.files.atomic import is_disk_full

BEAT_SECONDS = 20.0
"""How often a holder says that it is alive."""

MISSED_BEATS = 3
"""After so many a holder counts as dead."""


_LONGEST = 255


@dataclass(frozen=True, kw_only=True)
class Holder:
    """The process that holds a lock; ``beats`` counts while it lives."""

    host: str
    pid: int
    since: str
    beats: int = 0

    @classmethod
    def own(cls) -> "Holder":
        """This process."""
        return cls(host=socket.gethostname(), pid=os.getpid(), since=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"))

    @property
    def is_elsewhere(self) -> bool:
        """Whether it runs on another machine."""
        return self.host != socket.gethostname()

    @property
    def is_plain(self) -> bool:
        """Whether its values are of the right types and can be shown: the file may be a stranger's."""
        texts = (self.host, self.since)
        numbers = (self.pid, self.beats)
        return all(type(text) is str and text.isprintable() and len(text) <= _LONGEST for text in texts) and all(
            type(number) is int and number >= 0 for number in numbers
        )

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.since}" if self.pid else "another process"


UNKNOWN = Holder(host="unknown host", pid=0, since="now")


def read_holder(descriptor: int) -> Holder | None:
    """The holder that a lock's file names; None if it is empty or damaged."""
    lines = os.pread(descriptor, 1000, 0).decode(errors="replace").splitlines()
    try:
        found = Holder(**json.loads(lines[0])) if lines else None
    except (ValueError, TypeError, RecursionError):
        return None
    return found if found is not None and found.is_plain else None


def sign(descriptor: int, own: Holder) -> None:
    """Write who holds the lock; on a full disk the lock holds all the same, and the next beat tries again."""
    try:
        _write(descriptor, own)
    except OSError as error:
        if not is_disk_full(error):
            raise


@contextmanager
def beating(descriptor: int, own: Holder, beat_seconds: float) -> Iterator[None]:
    """Beat until the block ends; then the empty file says that its holder let go in order."""
    ended = threading.Event()
    thread = threading.Thread(target=_beat, args=(descriptor, own, ended, beat_seconds), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        with suppress(OSError):
            os.ftruncate(descriptor, 0)


def _beat(descriptor: int, own: Holder, ended: threading.Event, beat_seconds: float) -> None:
    for beats in itertools.count(1):
        if ended.wait(beat_seconds):
            return
        # A beat that cannot be written is missed, and the next one is tried.
        with suppress(OSError):
            _write(descriptor, replace(own, beats=beats))


def _write(descriptor: int, own: Holder) -> None:
    os.pwrite(descriptor, (json.dumps(asdict(own)) + "\n").encode(), 0)
    os.fsync(descriptor)
