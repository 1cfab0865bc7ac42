"""Finds the DICOM files that a command line names, with or without suffix, and gives each an id."""

import logging
import re
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rsna_det.errors import MissingFileError
from rsna_det.files.names import shown
from rsna_det.files.paths import matching_paths, place_of
from rsna_det.files.walking import walk

log = logging.getLogger(__name__)

# A file without one of these has its whole name as id: a name such as 1.2.840.113619 has dots but no suffix.
_SUFFIXES = (".dcm", ".dicom", ".ima")
_MAGIC = b"DICM"
_MAGIC_AT = 128
# A data set without preamble: the first elements of group 2 or 8, with their representation or their length.
_BARE = re.compile(rb"[\x02\x08]\0[\0-\x20]\0(?:[A-Z]{2}|[\0-\x40]\0)|\0[\x02\x08]\0[\0-\x20][A-Z]{2}", re.DOTALL)
# The table of contents of a disc: a DICOM file without an image.
_CONTENTS = "DICOMDIR"


@dataclass(frozen=True, kw_only=True)
class _Found:
    """A file, and its path below the folder that was searched."""

    path: Path
    relative: Path

    @property
    def stem(self) -> str:
        name = self.relative.name
        return self.relative.stem if self.relative.suffix.lower() in _SUFFIXES else name


def find_radiographs(places: str | Sequence[str]) -> dict[str, Path]:
    """Image id -> file, sorted by id.

    Folders are searched to any depth, and through links, each folder once. Of their files, and of those that a glob
    matches, the ones with a DICOM suffix or DICOM's mark after the preamble are taken, those that begin like a data
    set, and what cannot be opened: links to nothing, and folders that cannot be listed. Others are left out with a
    warning, hidden ones without. A file that is named itself is always taken. Two names of one file are two images.

    The id is the file's stem; if two share one, it is the path below the folder with ``_`` for separators, and a
    warning says so. Characters other than letters, digits, ``.``, ``_`` and ``-`` become ``_``, since ids name files
    (see :data:`rsna_det.data.labels.csv_tables.SAFE_ID`).

    Args:
        places: a folder, a file, a glob, or several.

    Raises:
        MissingFileError: a place matches nothing, or holds no DICOM file.
    """
    found: dict[Path, _Found] = {}
    others: dict[Path, Path] = {}
    for place in [places] if isinstance(places, str) else places:
        itself = Path(place).expanduser()
        paths = [p for p in matching_paths(place, option="images") if p == itself or not _is_passed_over(p.name)]
        files = [file for path in paths for file in _files(path)]
        taken = {file: None for file in files if file.path == itself or _is_dicom(file.path)}
        if not taken:
            raise MissingFileError(f"images={shown(place)}: no DICOM file is in it; is it the right folder?")
        for file in taken:
            found.setdefault(place_of(file.path), file)
        others |= {place_of(file.path): file.path for file in files if file not in taken}
    _warn_of_others([path for place, path in others.items() if place not in found])
    return dict(sorted(_with_ids(sorted(found.values(), key=lambda file: str(file.path)))))


def _files(path: Path) -> Iterator[_Found]:
    """The file, or the folder's files except hidden ones and tables of contents; and folders that cannot be listed."""
    if not path.is_dir():
        yield _Found(path=path, relative=Path(path.name))
        return
    for folder in walk(path, enters=lambda name: not _is_passed_over(name)):
        if folder.same_as is not None:
            log.warning("%s leads to %s, whose files are taken once", shown(folder.path), shown(folder.same_as))
        if folder.error is not None:
            # Reading it says what is wrong: what may lie in it must not be lost without a word.
            yield _Found(path=folder.path, relative=Path(path.absolute().name) / folder.path.relative_to(path))
        for name in folder.files:
            if not _is_passed_over(name):
                file = folder.path / name
                yield _Found(path=file, relative=file.relative_to(path))


def _is_passed_over(name: str) -> bool:
    return name.startswith(".") or name == _CONTENTS


def _warn_of_others(files: Sequence[Path]) -> None:
    if files:
        log.warning("%d files are not DICOM files and are left out (the first: %s)", len(files), shown(files[0]))


def _is_dicom(file: Path) -> bool:
    if file.suffix.lower() in _SUFFIXES:
        return True
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            # A folder is here because it cannot be listed. To open a pipe would wait for ever.
            return file.is_dir()
        with file.open("rb") as stream:
            start = stream.read(_MAGIC_AT + len(_MAGIC))
            return start[_MAGIC_AT:] == _MAGIC or _BARE.match(start) is not None
    except OSError:
        # It may be a radiograph: reading it says what is wrong.
        return True


def _with_ids(files: Sequence[_Found]) -> Iterator[tuple[str, Path]]:
    counts = Counter(_safe(file.stem) for file in files)
    shared = [name for name, count in counts.items() if count > 1]
    if shared:
        total = sum(counts[name] for name in shared)
        log.warning("%d files share a name with another (the first: %s): their ids contain folders", total, shared[0])
    taken = {name for name, count in counts.items() if count == 1}
    for file in files:
        name = _safe(file.stem)
        if counts[name] > 1:
            name = _free("_".join([*map(_safe, file.relative.parts[:-1]), name]), taken)
            taken.add(name)
        yield name, file.path


def _safe(name: str) -> str:
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", name)
    return f"_{safe[1:]}" if safe.startswith(".") else safe


def _free(name: str, taken: set[str]) -> str:
    number, free = 2, name
    while free in taken:
        free = f"{name}_{number}"
        number += 1
    return free
