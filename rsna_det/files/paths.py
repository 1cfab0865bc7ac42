"""What a path or a glob on the command line means."""

from pathlib import Path

from rsna_det.errors import InvalidValueError, MissingFileError
from rsna_det.files.reading import readable


def matching_paths(place: str, *, option: str) -> list[Path]:
    """The files and folders that a path or a glob names, sorted.

    A path that exists is taken literally, even with ``*`` in its name; ``~`` is the home folder, ``**`` any depth.

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
        if path.exists():
            return [path]
    if not set(place) & set("*?["):
        raise MissingFileError(f"{option}={place}: there is no such file or folder")
    try:
        found = sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
    except ValueError as error:
        raise InvalidValueError(f"{option}={place} is no glob: {error}") from error
    if not found:
        raise MissingFileError(f"{option}={place}: no file or folder matches")
    return found
