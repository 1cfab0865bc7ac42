"""Folders that are there or gone: one that is being removed no longer has its name."""

import shutil
import uuid
from pathlib import Path

from rsna_det.errors import StorageError
from rsna_det.files.atomic import FREE_SPACE

_REMOVED = ".removed"


def remove_folder(folder: Path) -> None:
    """Remove a folder, and what a kill left of one that was being removed; one that is not there is no error.

    Raises:
        StorageError: if it cannot be removed; naming it.
    """
    try:
        if folder.is_dir():
            folder.replace(folder.with_name(f"{folder.name}{_REMOVED}-{uuid.uuid4().hex[:6]}"))
    except OSError as error:
        raise StorageError(f"{folder} cannot be removed ({error.strerror or error}): {FREE_SPACE}") from error
    clear_removed(folder)


def clear_removed(folder: Path) -> None:
    """Remove what a kill left of a folder of this name; what cannot be removed is in nobody's way."""
    for left in folder.parent.glob(f"{folder.name}{_REMOVED}-*"):
        shutil.rmtree(left, ignore_errors=True)


def clear_partial(folder: Path) -> None:
    """Remove the half-written files that kills left in a folder and in those right below it; its process holds it."""
    for left in (*folder.glob("*.partial"), *folder.glob("*/*.partial")):
        if left.is_file() and not left.is_symlink():
            left.unlink(missing_ok=True)
