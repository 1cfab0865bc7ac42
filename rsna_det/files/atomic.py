"""Files that are complete or absent: written beside their place and moved into it at the end.

The unfinished file is always one of this package's own: what lies under its name before, a link to somebody's file
perhaps, is taken away and never written through.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rsna_det.errors import RsnaDetError, StorageError
from rsna_det.files.reading import FOLDER_THERE

FREE_SPACE = "free some space, or check its permissions"


@contextmanager
def whole_file(path: Path, *, remedy: str = FREE_SPACE) -> Iterator[Path]:
    """Where to write a file, which takes its place once the block ends; if the block fails, nothing is left of it.

    An empty file is there already when the block begins.

    Args:
        path: of the file; its folder exists.
        remedy: what to do if it cannot be written.

    Raises:
        StorageError: if it cannot be written (a full disk); the message names the file and the remedy.
    """
    partial = path.with_name(f"{path.name}.partial")
    try:
        _make(partial)
        yield partial
        partial.replace(path)
    except BaseException as error:
        _remove(partial)
        if isinstance(error, OSError) and not isinstance(error, RsnaDetError):
            remedy = FOLDER_THERE if path.is_dir() else remedy
            raise StorageError(f"{path} could not be written ({error}): {remedy}") from error
        raise


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, whole or not at all.

    Raises:
        StorageError: as :func:`whole_file`.
    """
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def is_disk_full(error: BaseException | None) -> bool:
    """Whether an error, or what it was raised from, says that no space or no quota is left."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__
    return False


def _make(partial: Path) -> None:
    """An empty file of our own: not what a killed process left, nor what somebody else put in its place."""
    partial.unlink(missing_ok=True)
    os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666))


def _remove(partial: Path) -> None:
    """A file that is absent, or has a name that no file can have, need not be removed."""
    try:
        partial.unlink(missing_ok=True)
    except OSError:
        return
