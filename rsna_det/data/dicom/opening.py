"""Opens a DICOM file as a pydicom data set, within limits, even where its first part is missing."""

import io
import logging
import os
import stat
import zlib
from pathlib import Path
from typing import BinaryIO, cast

from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_file_meta_info
from pydicom.tag import BaseTag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from rsna_det.data.dicom.limits import Limits
from rsna_det.data.dicom.problems import dicom_error
from rsna_det.files.names import shown

log = logging.getLogger(__name__)

_MAGIC_AT, _MAGIC = 128, b"DICM"
_START = _MAGIC_AT + len(_MAGIC)
_META_GROUP = 2
_BEGINNING = 4096
_SMALL = 2**16
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
    return start[_MAGIC_AT:] == _MAGIC


def inflated(path: Path, stream: io.BufferedIOBase, limits: Limits) -> io.BufferedIOBase:
    """The same file with its data set inflated, if it is deflated; else the stream itself, at its beginning.

    pydicom would inflate whatever comes out: of a megabyte, a gigabyte.

    Raises:
        DicomError: more than the limit comes out, or the stream breaks off.
        zlib.error: the stream is damaged.
    """
    beginning = stream.read(_BEGINNING)
    stream.seek(0)
    if DeflatedExplicitVRLittleEndian.encode() not in beginning:
        return stream
    if beginning[_MAGIC_AT:_START] == _MAGIC:
        stream.seek(_START)
    meta = _file_meta(stream)
    if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        stream.seek(0)
        return stream
    decompressor = zlib.decompressobj(-zlib.MAX_WBITS)
    content = decompressor.decompress(stream.read(), limits.max_bytes)
    if decompressor.unconsumed_tail:
        found = f"its data set inflates to more than {limits.max_bytes} bytes"
        raise dicom_error(path, found, "raise reading.max_bytes if it is a radiograph")
    if not decompressor.eof:
        raise dicom_error(path, "its deflated data break off", "fetch the file again")
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    whole = DicomBytesIO()
    whole.write(bytes(_MAGIC_AT) + _MAGIC)
    write_file_meta_info(whole, meta, enforce_standard=False)
    whole.write(content)
    return io.BytesIO(whole.getvalue())


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


def _file_meta(stream: io.BufferedIOBase) -> FileMetaDataset:
    """The group that comes before a data set; the stream is at its end afterwards."""
    file = cast("BinaryIO", stream)
    return FileMetaDataset(read_dataset(file, is_implicit_VR=False, is_little_endian=True, stop_when=_is_no_meta))


def _is_no_meta(tag: BaseTag, _representation: str | None, _length: int) -> bool:
    return tag.group != _META_GROUP
