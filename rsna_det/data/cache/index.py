"""What a pixel cache knows of its sources: which file became which row, and whether that file is still the same.

The index has one JSON object a line and only ever grows while a cache is built, so that a killed build loses no more
than its last, half-written line. Each line ends in its own checksum, and holds that of its pixels. They are CRCs: cheap
enough to be compared at every read, and sure to find what a disk or a cable changes; they are no seal against somebody
who means to change a cache.
"""

import hashlib
import json
import os
import zlib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from rsna_det.data.dicom.reading import find_dicoms
from rsna_det.data.layout import IMAGES_DIR
from rsna_det.errors import DataError, MissingFileError
from rsna_det.files.atomic import whole_file
from rsna_det.files.reading import readable

DECODER_VERSION = 2
"""Raised whenever the same file would be decoded or resized to other pixels than before."""

PIXELS_FILE = "pixels.npy"
INDEX_FILE = "index.jsonl"
_CHECKSUM = "line_crc32"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One decoded file.

    Attributes:
        image_id: of the radiograph.
        row: its place in the file of pixels.
        height: of the radiograph, source pixels.
        width: likewise.
        file_size: of its DICOM file, bytes.
        mtime_ns: when that was changed.
        digest: hash of that file's content.
        pixels_crc32: checksum of the decoded square, compared whenever it is read.
    """

    image_id: str
    row: int
    height: int
    width: int
    file_size: int
    mtime_ns: int
    digest: str
    pixels_crc32: int

    def with_time(self, mtime_ns: int) -> "Entry":
        """The entry of a file that was touched but not changed."""
        return replace(self, mtime_ns=mtime_ns)


@dataclass(frozen=True, kw_only=True)
class Source:
    """One DICOM file as it is on disk now."""

    image_id: str
    path: Path
    file_size: int
    mtime_ns: int


def find_sources(root: Path) -> list[Source]:
    """The training images below ``root``, sorted by image id: their place in this list is their row.

    Raises:
        MissingFileError: there is no such folder, or no ``.dcm`` file in it.
        DicomError: two files have one id.
    """
    paths = find_dicoms(root / IMAGES_DIR)
    if not paths:
        raise MissingFileError(f"{root / IMAGES_DIR} holds no .dcm file: is {root} the challenge's folder?")
    with readable(root / IMAGES_DIR):
        stats = [(image_id, path, path.stat()) for image_id, path in sorted(paths.items())]
    return [Source(image_id=i, path=p, file_size=s.st_size, mtime_ns=s.st_mtime_ns) for i, p, s in stats]


def cache_folder(*, root: Path, cache_dir: Path, side: int, sources: Iterable[Source]) -> Path:
    """The folder of the cache of exactly these files: its name ends in a hash of everything that decides the pixels."""
    inputs = json.dumps([DECODER_VERSION, side, [[source.image_id, source.file_size] for source in sources]])
    key = hashlib.blake2b(inputs.encode()).hexdigest()[:12]
    return cache_dir / f"{folder_prefix(root=root, side=side)}{key}"


def folder_prefix(*, root: Path, side: int) -> str:
    """How the names of all caches of ``root`` at ``side`` begin, whatever the state of its files."""
    return f"{root.resolve().name}_{side}px_"


def digest(path: Path) -> str:
    """Hash of a file's content.

    Raises:
        MissingFileError, StorageError: the file cannot be read.
    """
    with readable(path), path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=20)).hexdigest()


def read_index(file: Path) -> dict[str, Entry]:
    """Image id -> entry, the last one of an image counting; an unfinished last line is ignored.

    Raises:
        DataError: a line is damaged.
        StorageError: the file cannot be read.
    """
    if not file.is_file():
        return {}
    try:
        with readable(file):
            lines = file.read_text(encoding="utf-8").split("\n")
        # Text after the last line break is the beginning of a line that a killed build did not finish.
        entries = [_entry(line) for line in lines[:-1] if line]
    except (ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{file} is damaged ({error})") from error
    return {entry.image_id: entry for entry in entries}


def write_index(file: Path, entries: Iterable[Entry]) -> None:
    """Write a whole index at once, complete or not at all.

    Raises:
        StorageError: the file cannot be written.
    """
    with whole_file(file) as partial, partial.open("w", encoding="utf-8") as stream:
        stream.writelines(_line(entry) for entry in entries)
        stream.flush()
        os.fsync(stream.fileno())


def append_to_index(file: Path, entries: Iterable[Entry]) -> None:
    """Add entries and return once they are on disk."""
    with file.open("a", encoding="utf-8") as stream:
        stream.writelines(_line(entry) for entry in entries)
        stream.flush()
        os.fsync(stream.fileno())


def find_changed(entries: Mapping[str, Entry], sources: Iterable[Source]) -> list[Source]:
    """Files whose content has changed since they were decoded.

    Size and modification time tell at once that most have not; only a file with a new time is read.
    """
    changed, suspects = list[Source](), list[Source]()
    for source in sources:
        entry = entries[source.image_id]
        if entry.file_size != source.file_size:
            changed.append(source)
        elif entry.mtime_ns != source.mtime_ns:
            suspects.append(source)
    with ThreadPoolExecutor() as pool:
        digests = pool.map(digest, [source.path for source in suspects])
        changed += [s for s, value in zip(suspects, digests, strict=True) if value != entries[s.image_id].digest]
    return changed


def _line(entry: Entry) -> str:
    return json.dumps(asdict(entry) | {_CHECKSUM: _checksum(entry)}) + "\n"


def _entry(line: str) -> Entry:
    values = json.loads(line)
    checksum = values.pop(_CHECKSUM, None)
    entry = Entry(**values)
    if checksum != _checksum(entry):
        raise ValueError(f"a line's checksum is {checksum} and should be {_checksum(entry)}: {line[:80]}")
    return entry


def _checksum(entry: Entry) -> int:
    return zlib.crc32(repr(list(vars(entry).items())).encode("utf-8", "surrogatepass"))
