"""One builder at a time, also between jobs of a sweep on several machines."""

import fcntl
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_LOG = logging.getLogger(__name__)


@contextmanager
def exclusive(file: Path) -> Iterator[None]:
    """Lets one process at a time through, on all machines that see ``file``; others wait, and say for whom.

    The lock is the system's own, so that a killed process lets go of it; the file itself stays.

    Raises:
        OSError: the file cannot be made, or its file system knows no locks.
    """
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip() or "another process"
            _LOG.warning("waiting for %s, which holds %s", holder, file)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        # The name is only for whoever waits: it may be missing where the disk is full.
        with suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
