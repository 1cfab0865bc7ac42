"""Every file below a folder, through links as well, each folder once."""

import os
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Folder:
    """One folder of a walk.

    Attributes:
        path: as it was reached.
        files: names of what is no folder, links to nothing among them.
        passed_over: names of the folders in it that are not entered.
        error: why it cannot be listed; None if it can.
        same_as: the folder that it is a link to, if that was visited before; it is then not entered again.
    """

    path: Path
    files: tuple[str, ...] = ()
    passed_over: tuple[str, ...] = ()
    error: OSError | None = None
    same_as: Path | None = None


def walk(root: Path, *, enters: Callable[[str], bool] = lambda _: True) -> Iterator[Folder]:
    """Visit a folder and all below it, sorted by name.

    Links to folders are followed once all real folders have been visited, so that a folder goes by its own name where
    it has one; a folder that was visited before is named but not entered again, and links in a circle come to an end.

    Args:
        root: the folder to begin with.
        enters: whether a folder of this name is entered.
    """
    visited: dict[tuple[int, int], Path] = {}
    links = deque([root])
    while links:
        waiting = [links.popleft()]
        while waiting:
            folder, below, linked = _visit(waiting.pop(), visited, enters)
            yield folder
            waiting += reversed(below)
            links += linked


def _visit(
    path: Path, visited: dict[tuple[int, int], Path], enters: Callable[[str], bool]
) -> tuple[Folder, list[Path], list[Path]]:
    """The folder, the real folders in it, and the links to folders."""
    try:
        status = path.stat()
        first = visited.setdefault((status.st_dev, status.st_ino), path)
        if first != path:
            return Folder(path=path, same_as=first), [], []
        with os.scandir(path) as scan:
            entries = sorted(scan, key=lambda entry: entry.name)
    except OSError as error:
        return Folder(path=path, error=error), [], []
    folders = [entry for entry in entries if _is_folder(entry)]
    names = {entry.name for entry in folders}
    entered = [entry for entry in folders if enters(entry.name)]
    files = tuple(entry.name for entry in entries if entry.name not in names)
    below = [path / entry.name for entry in entered if not entry.is_symlink()]
    passed_over = tuple(entry.name for entry in folders if not enters(entry.name))
    found = Folder(path=path, files=files, passed_over=passed_over)
    return found, below, [path / entry.name for entry in entered if entry.is_symlink()]


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:
        # A link that leads in a circle, or through a folder that may not be entered: a name like any other.
        return False
