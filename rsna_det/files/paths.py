"""What a path or a glob on the command line means."""

from pathlib import Path


def matching_paths(place: str, *, option: str) -> list[Path]:
    """The files and folders that a path or a glob names, sorted.

    A name that exists is taken as it is, whatever marks it has; ``~`` is the home folder, ``**`` any depth.

    Args:
        place: path or glob.
        option: that it was given for, named in the error.

    Raises:
        FileNotFoundError: if it matches nothing.
    """
    path = Path(place).expanduser()
    if path.exists():
        return [path]
    if not set(place) & set("*?["):
        raise FileNotFoundError(f"{option}={place}: there is no such file or folder")
    found = sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
    if not found:
        raise FileNotFoundError(f"{option}={place}: no file or folder matches")
    return found
