"""Files that are whole or not there: written beside their place, and moved into it once complete."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

FREE_SPACE = "free some space, or check its permissions"


@contextmanager
def whole_file(path: Path, *, remedy: str = FREE_SPACE) -> Iterator[Path]:
    """Where to write a file that takes its place once the block ends; if the block fails, nothing stays of it.

    Args:
        path: of the file; its folder is there.
        remedy: what to do if it cannot be written.

    Raises:
        OSError: if it cannot be written (a full disk); the message names the file and the remedy.
    """
    partial = path.with_name(f"{path.name}.partial")
    try:
        yield partial
        partial.replace(path)
    except OSError as error:
        _remove(partial)
        raise OSError(f"{path} could not be written ({error}): {remedy}") from error
    except BaseException:
        _remove(partial)
        raise


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, whole or not at all.

    Raises:
        OSError: as :func:`whole_file`.
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


def _remove(partial: Path) -> None:
    """What is not there, or has a name that no file can have, need not be removed."""
    try:
        partial.unlink(missing_ok=True)
    except OSError:
        return


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Write a table's columns, whole or not at all.

    Raises:
        OSError: if it cannot be written; the message names the file.
    """
    with whole_file(path) as partial:
        table.to_csv(partial, index=False)
