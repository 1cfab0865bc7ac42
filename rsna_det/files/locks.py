"""One process at a time works in a folder or on a file, on all machines that see it.

The lock is the system's own and ends with its process, however that ends; processes that it forks do not share it.
Some file systems keep locks within one machine. A holder on another machine is therefore also known by its beats: it
rewrites the lock's file now and then, and a lock that looks abandoned there is watched before it is taken.
"""

import errno
import fcntl
import itertools
import logging
import os
import stat
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rsna_det.errors import InUseError, StorageError
from rsna_det.files.atomic import FREE_SPACE
from rsna_det.files.heartbeat import BEAT_SECONDS, MISSED_BEATS, UNKNOWN, Holder, beating, read_holder, sign

log = logging.getLogger(__name__)

LOCK = ".in_use.lock"
"""Name of the lock's file in a folder that is being written."""

# A process that only looks at a lock holds it for a moment.
_ATTEMPTS, _ATTEMPT_SECONDS = 5, 0.2
_POLL_SECONDS = 0.5
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)
# What this process holds: the system would grant it the same lock twice, and drop it when either is closed. The process
# id is part of the key because a fork inherits this table and not the locks.
_held: dict[tuple[int, str], Holder] = {}


class _HeldError(InUseError):
    """Another process or thread holds the lock."""

    def __init__(self, file: Path, by: Holder) -> None:
        super().__init__(f"{file} is held by {by}")
        self.by = by


class _NoLocksError(StorageError):
    """The file system has no locks."""


@contextmanager
def lock(file: Path, *, beat_seconds: float = BEAT_SECONDS) -> Iterator[None]:
    """Hold a file, or fail at once if another process or thread does.

    Args:
        file: of the lock; it is made and stays.
        beat_seconds: how often the holder writes that it is alive.

    Raises:
        InUseError: naming the holder's host and process.
        StorageError: the file cannot be written, or its file system has no locks.
    """
    own = Holder.own()
    key = _key(file)
    before = _held.setdefault(key, own)
    if before is not own:
        raise _HeldError(file, before)
    try:
        with _opened(file) as descriptor:
            with _as_storage_error(file):
                _take(file, descriptor, beat_seconds)
                sign(descriptor, own)
            with beating(descriptor, own, beat_seconds):
                yield
    finally:
        del _held[key]


@contextmanager
def wait_for_lock(file: Path) -> Iterator[None]:
    """Hold a file; while another process or thread does, wait, and say once for whom.

    Raises:
        StorageError: as :func:`lock`.
    """
    with ExitStack() as held:
        for attempt in itertools.count():
            try:
                held.enter_context(lock(file))
                break
            except _HeldError as error:
                if attempt == 0:
                    log.warning("waiting for %s, which holds %s", error.by, file)
                time.sleep(_POLL_SECONDS)
        yield


@contextmanager
def in_use(
    folder: Path, *, name: str = LOCK, remedy: str = "wait for it to end, or choose another `out`"
) -> Iterator[None]:
    """Make a folder and keep other processes from writing into it.

    Where the file system has no locks, a warning says so and the block runs all the same.

    Args:
        folder: of the results.
        name: of the lock's file in it.
        remedy: what to do if the folder is taken.

    Raises:
        InUseError: another process writes into it; naming the process.
        StorageError: the folder cannot be made or written into.
    """
    with _as_storage_error(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        try:
            held.enter_context(lock(folder / name))
        except _HeldError as error:
            raise InUseError(f"{folder} is being written by {error.by}: {remedy}") from error
        except _NoLocksError:
            log.warning("%s: its file system has no locks; make sure that no other process writes there", folder)
        yield


def holder(file: Path) -> Holder | None:
    """Who holds a lock's file now; None for nobody, or for a process that was killed.

    Raises:
        StorageError: the file cannot be read.
    """
    own = _held.get(_key(file))
    if own is not None:
        return own
    with _as_storage_error(file):
        try:
            descriptor = _open(file, os.O_RDONLY)
        except FileNotFoundError:
            return None
        try:
            return _holder(descriptor)
        finally:
            os.close(descriptor)


def _holder(descriptor: int) -> Holder | None:
    found = read_holder(descriptor)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return found or UNKNOWN
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    # Either way: a clock that is ahead would keep a dead holder alive for as long as that.
    beaten = abs(time.time() - os.fstat(descriptor).st_mtime) < MISSED_BEATS * BEAT_SECONDS
    return found if found is not None and found.is_elsewhere and beaten else None


def _key(file: Path) -> tuple[int, str]:
    return os.getpid(), os.path.realpath(file)


@contextmanager
def _opened(file: Path) -> Iterator[int]:
    with _as_storage_error(file):
        descriptor = _open(file, os.O_RDWR | os.O_CREAT)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _open(file: Path, flags: int) -> int:
    """A lock's own file, opened: neither what a link leads to, nor a pipe that nobody writes into.

    Raises:
        StorageError: if something else lies there.
        OSError: if it cannot be opened.
    """
    try:
        descriptor = os.open(file, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    except OSError as error:
        kinds = {errno.ELOOP: "a symbolic link", errno.EISDIR: "a folder", errno.ENXIO: "a socket"}
        if error.errno not in kinds:
            raise
        raise _not_a_lock(file, kinds[error.errno]) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _not_a_lock(file, "no file" if not file.is_dir() else "a folder")
    return descriptor


def _not_a_lock(file: Path, found: str) -> StorageError:
    return StorageError(f"{file} is {found}; expected the file of a lock: remove it, and start again")


@contextmanager
def _as_storage_error(path: Path) -> Iterator[None]:
    try:
        yield
    except (InUseError, StorageError):
        raise
    except OSError as error:
        if error.errno in _NO_LOCKS:
            raise _NoLocksError(f"{path}: its file system has no locks; choose a folder on another one") from error
        raise StorageError(f"{path} cannot be written ({error.strerror or error}): {FREE_SPACE}") from error


def _take(file: Path, descriptor: int, beat_seconds: float) -> None:
    """Get the system's lock, and make sure that no holder on another machine is alive."""
    for attempt in range(_ATTEMPTS):
        try:
            # Not flock: its locks are shared with forked loaders, which may outlive a killed run.
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except (BlockingIOError, PermissionError) as error:
            if attempt == _ATTEMPTS - 1:
                raise _HeldError(file, read_holder(descriptor) or UNKNOWN) from error
            time.sleep(_ATTEMPT_SECONDS)
    _watch(file, descriptor, beat_seconds)


def _watch(file: Path, descriptor: int, beat_seconds: float) -> None:
    """Look for beats of a holder on another machine that never released its lock."""
    before = read_holder(descriptor)
    if before is None or not before.is_elsewhere:
        return
    deadline = time.monotonic() + MISSED_BEATS * beat_seconds
    while time.monotonic() < deadline:
        time.sleep(beat_seconds / 2)
        # The time of change makes network file systems look at the server rather than at what they remember.
        file.stat()
        now = read_holder(descriptor)
        if now != before:
            raise _HeldError(file, now or before)
