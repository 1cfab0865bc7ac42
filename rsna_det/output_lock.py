"""One process at a time writes into a folder of results."""

import errno
import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rsna_det.cell_lock import TakenError, holder, lock

log = logging.getLogger(__name__)

LOCK = ".in_use.lock"
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)


def check_not_in_use(folder: Path) -> None:
    """Refuse a folder that another process writes into; not to be asked by the process that does.

    Raises:
        FileExistsError: naming the process.
    """
    found = holder(folder / LOCK)
    if found is not None:
        raise _taken(folder, found)


@contextmanager
def in_use(folder: Path) -> Iterator[None]:
    """Make a folder, and keep other processes from writing into it; a killed process does not keep it.

    Raises:
        FileExistsError: if another process writes into it; naming the process.
        OSError: if the folder cannot be made or written into.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        try:
            held.enter_context(lock(folder / LOCK))
        except TakenError as taken:
            raise _taken(folder, taken) from taken
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            log.warning("the file system of %s knows no locks: see to it that no other process writes there", folder)
        yield


def _taken(folder: Path, by: object) -> FileExistsError:
    return FileExistsError(f"{folder} is being written by {by}: wait for it to end, or choose another `out`")
