"""Opens a DICOM file as a pydicom data set, within limits, even where its first part is missing."""

import io
import logging
import os
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_file_meta_info
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from rsna_det.data.dicom.kinds import MAGIC, MAGIC_AT
from rsna_det.data.dicom.limits import Limits
from rsna_det.data.dicom.problems import dicom_error
from rsna_det.files.names import shown

log = logging.getLogger(__name__)

_START = MAGIC_AT + len(MAGIC)
_META_GROUP = 2
_SYNTAX = Tag("TransferSyntaxUID")
_SMALL = 2**16
_PIECE = 2**20
_ITEM = b"\xfe\xff\x00\xe0"


class BoundedFile(io.BufferedReader):
    """A file of which no more is asked for than it has.

    A damaged length of 4 GiB would otherwise take as much memory, even of a small file.
    """

    def __init__(self, path: Path) -> None:
        # As text, since pydicom puts the name into messages.
        super().__init__(io.FileIO(str(path)))
        self._size = os.fstat(self.fileno()).st_size

    def read(self, size: int | None = -1, /) -> bytes:
        """At most ``size`` bytes; all that are left for None or -1."""
        if size is not None and size > _SMALL:
            size = min(size, max(self._size - self.tell(), 0))
        return super().read(size)


def check_file(path: Path, limits: Limits) -> None:
    """Refuse what is no file, and one that is too large to be a radiograph.

    Raises:
        DicomError: saying which.
        OSError: it cannot be looked up.
    """
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        found = "a link to a file that is not there" if path.is_symlink() else "there is no such file"
        raise dicom_error(path, found, "check the path and the image id") from error
    if stat.S_ISDIR(status.st_mode):
        # It may be here because it could not be listed.
        with os.scandir(path):
            raise dicom_error(path, "there is no such file, but a folder", "name the files in it")
    if not stat.S_ISREG(status.st_mode):
        raise dicom_error(path, "there is no such file, but a device or a pipe", "check the path")
    if status.st_size > limits.max_bytes:
        found = f"a file of {status.st_size} bytes; at most {limits.max_bytes} are read"
        raise dicom_error(path, found, "raise reading.max_bytes if it is a radiograph")


def has_mark(stream: io.BufferedIOBase) -> bool:
    """Whether DICOM's mark follows the preamble; the stream is at its beginning afterwards."""
    stream.seek(0)
    start = stream.read(_START)
    stream.seek(0)
    return start[MAGIC_AT:] == MAGIC


def inflated(path: Path, stream: io.BufferedIOBase, limits: Limits) -> io.BufferedIOBase:
    """The same file with its data set inflated, if it is deflated; else the stream itself, at its beginning.

    pydicom would inflate whatever comes out: of a megabyte, a gigabyte.

    Raises:
        DicomError: more than the limit comes out, or the stream breaks off.
        zlib.error: the stream is damaged.
    """
    begin = _START if has_mark(stream) else 0
    deflated_at = _deflated_at(stream, begin)
    if deflated_at is None:
        stream.seek(0)
        return stream
    whole = _beginning()
    stream.seek(deflated_at)
    total = 0
    for piece in _pieces(path, stream):
        total += len(piece)
        if total > limits.max_bytes:
            found = f"its data set inflates to more than {limits.max_bytes} bytes"
            raise dicom_error(path, found, "raise reading.max_bytes if it is a radiograph")
        whole.write(piece)
    whole.seek(0)
    return whole


def syntax_of(path: Path, dataset: Dataset) -> UID:
    """The transfer syntax; where the file does not name it, the one that pydicom has found to parse, with a warning.

    Raises:
        DicomError: the pixels are compressed, and nothing says how.
    """
    meta: FileMetaDataset = getattr(dataset, "file_meta", None) or FileMetaDataset()
    dataset.file_meta = meta
    named = meta.get("TransferSyntaxUID")
    if named:
        return UID(named)
    if bytes((dataset.PixelData or b"")[: len(_ITEM)]) == _ITEM:
        found = "compressed pixels, but no TransferSyntaxUID that says how"
        raise dicom_error(path, found, "export it again as DICOM part 10")
    implicit, little = dataset.original_encoding
    explicit = ExplicitVRBigEndian if little is False else ExplicitVRLittleEndian
    syntax = ImplicitVRLittleEndian if implicit else explicit
    log.warning("%s names no transfer syntax: read as %s", shown(path), syntax.name)
    meta.TransferSyntaxUID = syntax
    return syntax


def _deflated_at(stream: io.BufferedIOBase, begin: int) -> int | None:
    """Where the deflated data set begins; None if the group before it does not say that it is deflated.

    pydicom finds out whether the group is explicit, and passes over its other values, however long they are.
    """
    stream.seek(begin)
    file = cast("BinaryIO", stream)
    group = read_dataset(file, False, is_little_endian=True, stop_when=_is_no_meta, specific_tags=[_SYNTAX])  # noqa: FBT003
    element = FileMetaDataset(group).get_item(_SYNTAX) if _SYNTAX in group else None
    named = bytes(element.value or b"") if isinstance(element, RawDataElement) else b""
    return stream.tell() if named.rstrip(b"\0 ") == DeflatedExplicitVRLittleEndian.encode() else None


def _is_no_meta(tag: BaseTag, _representation: str | None, _length: int) -> bool:
    return tag.group != _META_GROUP


def _beginning() -> io.BytesIO:
    """What comes before a data set that is no longer deflated."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    group = DicomBytesIO()
    write_file_meta_info(group, meta, enforce_standard=False)
    start = io.BytesIO()
    start.write(bytes(MAGIC_AT) + MAGIC + group.getvalue())
    return start


def _pieces(path: Path, stream: io.BufferedIOBase) -> Iterator[bytes]:
    """The inflated data in small pieces, so that the caller can stop early."""
    decompressor = zlib.decompressobj(-zlib.MAX_WBITS)
    while not decompressor.eof:
        taken = decompressor.unconsumed_tail or stream.read(_SMALL)
        piece = decompressor.decompress(taken, _PIECE)
        if not taken and not piece and not decompressor.eof:
            raise dicom_error(path, "its deflated data break off", "fetch the file again")
        yield piece
