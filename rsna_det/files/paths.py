"""What a path or a glob on the command line means."""

import os
from collections.abc import Iterator
from pathlib import Path

from rsna_det.errors import InvalidValueError, MissingFileError
from rsna_det.files.names import shown
from rsna_det.files.reading import readable
from rsna_det.files.walking import walk

_ANY_DEPTH = "**"


def matching_paths(place: str, *, option: str) -> list[Path]:
    """The files and folders that a path or a glob names, sorted.

    A path that exists is taken literally, even with ``*`` in its name; ``~`` is the home folder, ``**`` any depth,
    through links to folders as well, each folder once.

    Args:
        place: path or glob.
        option: the one that it was given for, named in the error.

    Raises:
        InvalidValueError: if it is no glob.
        MissingFileError: if it matches nothing.
        StorageError: if it cannot be looked up.
    """
    path = Path(place).expanduser()
    with readable(path):
        # A broken link counts as named: reading it reports what is wrong.
        if path.exists() or path.is_symlink():
            return [path]
    if not set(place) & set("*?["):
        raise MissingFileError(f"{option}={shown(place)}: there is no such file or folder")
    try:
        with readable(path):
            found = sorted(set(_matches(Path(path.anchor), path.relative_to(path.anchor).parts)))
    except ValueError as error:
        raise InvalidValueError(f"{option}={shown(place)} is no glob: {error}") from error
    if not found:
        raise MissingFileError(f"{option}={shown(place)}: no file or folder matches")
    return found


def place_of(path: Path) -> Path:
    """A path with its folder resolved and its own name kept: two names of one file stay two places."""
    absolute = path.absolute()
    return Path(os.path.realpath(absolute.parent)) / absolute.name


def _matches(folder: Path, parts: tuple[str, ...]) -> Iterator[Path]:
    """What matches below a folder; pathlib's own ``**`` passes over links."""
    if _ANY_DEPTH not in parts:
        yield from folder.glob(str(Path(*parts))) if parts else [folder]
        return
    at = parts.index(_ANY_DEPTH)
    for start in folder.glob(str(Path(*parts[:at]))) if at else [folder]:
        for visited in walk(start) if start.is_dir() else ():
            if visited.same_as is None:
                yield from _matches(visited.path, parts[at + 1 :])
