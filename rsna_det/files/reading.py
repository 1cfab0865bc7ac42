"""Files that cannot be read are named, with what to do; the machine's errors are told from the file's."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rsna_det.errors import DataError, MissingFileError, RsnaDetError, StorageError
from rsna_det.files.names import shown

_MEMORY = ("memory ran out", "close other programs, or use fewer workers")
_PERMISSIONS = "check its permissions and the disk"
_DISK = "check the disk, or the connection to the server that it lies on"
_OPEN_FILES = "raise the limit of open files (`ulimit -n`), close other programs, or use fewer workers"
FOLDER_THERE = "a folder lies where the file belongs: move it away"
_REMEDIES = {
    errno.EACCES: _PERMISSIONS,
    errno.EPERM: _PERMISSIONS,
    errno.EMFILE: _OPEN_FILES,
    errno.ENFILE: _OPEN_FILES,
    errno.EIO: _DISK,
    errno.ENXIO: _DISK,
    errno.ENODEV: _DISK,
    errno.ESTALE: _DISK,
    errno.ETIMEDOUT: _DISK,
    errno.EISDIR: FOLDER_THERE,
    errno.ELOOP: "its links lead in a circle: remove one",
}


def machine_problem(error: BaseException | None) -> tuple[str, str] | None:
    """What the machine lacks or denies, and what to do about it; None if the error says nothing of the machine.

    An error, or what it was raised from, is the machine's if it is a :class:`MemoryError` or has an ``errno``. Only
    EINVAL may come from the content of a file: an offset before its beginning.
    """
    while error is not None:
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
            return _MEMORY
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            return error.strerror or str(error), _REMEDIES.get(error.errno, _PERMISSIONS)
        error = error.__cause__
    return None


@contextmanager
def readable(path: Path, *, missing: str = "check its name") -> Iterator[None]:
    """Turn the system's errors within the block, which reads one file or folder, into errors that name it.

    Args:
        path: of the file or folder.
        missing: what was expected there, or what to do if it is not there.

    Raises:
        MissingFileError: there is no such file.
        StorageError: it cannot be read: permissions, memory, open files, a failing disk.
    """
    try:
        yield
    except RsnaDetError:
        raise
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MissingFileError(f"{shown(path)}: there is no such file; {missing}") from error
    except (OSError, MemoryError) as error:
        reason, remedy = machine_problem(error) or (str(error), _PERMISSIONS)
        raise StorageError(f"{shown(path)} cannot be read ({reason}): {remedy}") from error


def bounded_bytes(path: Path, *, largest: int, remedy: str) -> bytes:
    """The content of a small file.

    Args:
        path: of the file.
        largest: number of bytes that such a file may have.
        remedy: what to do if it is larger.

    Raises:
        MissingFileError, StorageError: it cannot be read.
        DataError: it is larger.
    """
    with readable(path):
        size = path.stat().st_size
        if size > largest:
            raise DataError(f"{path} is damaged (it has {size:,} bytes; expected up to {largest:,}): {remedy}")
        return path.read_bytes()
