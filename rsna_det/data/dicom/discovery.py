"""Finds the DICOM files that a command line names, with or without suffix, and gives each an id."""

import logging
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rsna_det.data.dicom.kinds import SUFFIXES, Kind, kind_of
from rsna_det.errors import MissingFileError
from rsna_det.files.names import shown
from rsna_det.files.paths import matching_paths, place_of
from rsna_det.files.walking import walk

log = logging.getLogger(__name__)

_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class _Found:
    """A file, and its path below the folder that was searched."""

    path: Path
    relative: Path

    @property
    def stem(self) -> str:
        # Without one of the suffixes the whole name counts: one such as 1.2.840.113619 has dots but no suffix.
        return self.relative.stem if self.relative.suffix.lower() in SUFFIXES else self.relative.name


def find_radiographs(places: str | Sequence[str]) -> dict[str, Path]:
    """Image id -> file, sorted by id.

    Folders are searched to any depth, and through links, each folder once. Of their files, and of those that a glob
    matches, the ones with a DICOM suffix or DICOM's mark after the preamble are taken, those that begin like a data
    set, and what may be a damaged radiograph: links to nothing, folders that cannot be listed, and files without suffix
    that are empty or hold no text. Others are left out with a warning. Hidden files and folders and a disc's tables of
    contents (``DICOMDIR``) are left out, and the log says so. A file that is named itself is always taken. Two names of
    one file are two images.

    The id is the file's stem; if two share one, it is the path below the folder with ``_`` for separators, and a
    warning says so. Characters other than letters, digits, ``.``, ``_`` and ``-`` become ``_``, since ids name files
    (see :data:`rsna_det.data.labels.csv_tables.SAFE_ID`).

    Args:
        places: a folder, a file, a glob, or several.

    Raises:
        MissingFileError: a place matches nothing, or holds no DICOM file.
    """
    found: dict[Path, _Found] = {}
    left_out: dict[Kind, dict[Path, Path]] = {"hidden": {}, "contents": {}, "other": {}}
    for place in [places] if isinstance(places, str) else places:
        itself, taken = Path(place).expanduser(), 0
        for file in (file for path in matching_paths(place, option="images") for file in _files(path, itself)):
            kind = "radiograph" if file.path == itself else kind_of(file.path)
            if kind == "radiograph":
                taken += 1
                found.setdefault(place_of(file.path), file)
            else:
                left_out[kind][place_of(file.path)] = file.path
        if not taken:
            raise MissingFileError(f"images={shown(place)}: no DICOM file is in it; is it the right folder?")
    for kind, files in left_out.items():
        _tell(kind, [path for place, path in files.items() if place not in found])
    return dict(sorted(_with_ids(sorted(found.values(), key=lambda file: str(file.path)))))


def _files(path: Path, itself: Path) -> Iterator[_Found]:
    """The file, or the folder's files; and folders that cannot be listed, or are hidden, which are not entered."""
    if not path.is_dir() or (path != itself and _is_hidden(path.name)):
        yield _Found(path=path, relative=Path(path.name))
        return
    for folder in walk(path, enters=lambda name: not _is_hidden(name)):
        if folder.same_as is not None:
            log.warning("%s leads to %s, whose files are taken once", shown(folder.path), shown(folder.same_as))
        if folder.error is not None:
            # Reading it says what is wrong: what may lie in it must not be lost without a word.
            yield _Found(path=folder.path, relative=Path(path.absolute().name) / folder.path.relative_to(path))
        for name in (*folder.files, *folder.passed_over):
            file = folder.path / name
            yield _Found(path=file, relative=file.relative_to(path))


def _is_hidden(name: str) -> bool:
    return name.startswith(".")


def _tell(kind: Kind, files: Sequence[Path]) -> None:
    """How many files are left out, and the names of the first."""
    if not files:
        return
    first = ", ".join(shown(path) for path in files[:_SHOWN])
    if kind == "hidden":
        log.info("%d hidden files and folders are left out (the first: %s)", len(files), first)
    elif kind == "contents":
        log.info("%d tables of contents hold no image and are left out (the first: %s)", len(files), first)
    else:
        log.warning("%d files are not DICOM files and are left out (the first: %s)", len(files), first)


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
