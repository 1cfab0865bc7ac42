"""One process at a time writes into a folder of results, or trains in that of a run."""

import errno
import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rsna_det.files.locks import TakenError, holder, lock

log = logging.getLogger(__name__)

LOCK = ".in_use.lock"
_ANOTHER_OUT = "wait for it to end, or choose another `out`"
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)


def check_not_in_use(folder: Path) -> None:
    """Refuse a folder that another process writes into; not to be asked by the process that does.

    Raises:
        FileExistsError: naming the process.
    """
    found = holder(folder / LOCK)
    if found is not None:
        raise _taken(folder, found, _ANOTHER_OUT)


@contextmanager
def in_use(folder: Path, *, name: str = LOCK, remedy: str = _ANOTHER_OUT) -> Iterator[None]:
    """Make a folder, and keep other processes from writing into it; a killed process does not keep it.

    Args:
        folder: of the results.
        name: of the lock's file in it.
        remedy: what to do if the folder is taken.

    Raises:
        FileExistsError: if another process writes into it; naming the process.
        OSError: if the folder cannot be made or written into.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        try:
            held.enter_context(lock(folder / name))
        except TakenError as taken:
            raise _taken(folder, taken, remedy) from taken
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            log.warning("the file system of %s knows no locks: see to it that no other process writes there", folder)
        yield


def _taken(folder: Path, by: object, remedy: str) -> FileExistsError:
    return FileExistsError(f"{folder} is being written by {by}: {remedy}")
