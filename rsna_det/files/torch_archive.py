"""What a file of tensors may be before torch opens it: no larger inside than outside, and nothing in it but data.

``torch.load(weights_only=True)`` runs no code of a file, but inflates what is compressed in it, and calls a few
constructors that take whatever size the file says. Here both are refused by looking, without loading anything.
"""

import pickletools
import zipfile
from collections.abc import Iterator
from pathlib import Path

from rsna_det.errors import DataError

_PICKLE = "data.pkl"
_LARGEST_PICKLE = 2**26
_MOST_RECORDS = 100_000
_CHUNK = 2**20
# What zipfile raises on a damaged archive; it checks each record's CRC-32 as it reads.
_DAMAGED = (zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError, OverflowError, EOFError, IndexError)

_STORAGES = (
    *("Half", "BFloat16", "Float", "Double", "ComplexFloat", "ComplexDouble"),
    *("Char", "Short", "Int", "Long", "Byte", "Bool"),
)
_ALLOWED = frozenset(
    {
        "collections OrderedDict",
        "torch._utils _rebuild_tensor_v2",
        "torch._utils _rebuild_parameter",
        "torch Size",
        "torch device",
        *(f"torch {name}Storage" for name in _STORAGES),
        *(f"torch {name}" for name in ("float16", "bfloat16", "float32", "float64", "int32", "int64", "uint8", "bool")),
    }
)
"""What a file of tensors may name: none of these takes memory that the file does not have."""

# They name or call something in another way than the opcode that is looked at.
_OTHER_CALLS = {"STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4", "PERSID"}


class HoldsObjectsError(DataError):
    """A file that holds Python objects and not only data."""


def check_archive(path: Path, *, every_byte: bool) -> None:
    """Refuse an archive that would inflate, contradicts itself, or names anything but tensors and plain data.

    Args:
        path: of a zip file.
        every_byte: whether each record's check sum is computed too.

    Raises:
        HoldsObjectsError: if it names something that is called when it is read.
        DataError: if it is damaged or would inflate.
        OSError: if it cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            problem = next(_problems(archive, path.stat().st_size), None)
            if problem is None:
                pickled = next(info for info in archive.infolist() if _is_pickle(info))
                _check_names(path, archive.read(pickled))
                if every_byte:
                    _read_all(archive)
    except _DAMAGED as error:
        if isinstance(error, DataError):
            raise
        problem = str(error) or type(error).__name__
    if problem is not None:
        raise DataError(f"{path} is damaged ({problem})")


def _problems(archive: zipfile.ZipFile, size: int) -> Iterator[str]:
    records = archive.infolist()
    names = [info.filename for info in records]
    if len(records) > _MOST_RECORDS:
        yield f"it has {len(records)} records"
    if len(set(names)) < len(names):
        yield "two of its records have one name"
    if [info.header_offset for info in records if info.header_offset == 0] != [0]:
        yield "it does not begin with a record"
    if any(info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size for info in records):
        yield "it holds compressed records, which torch does not write"
    if sum(info.file_size for info in records) > size:
        yield "its records are larger than the file"
    pickles = [info.file_size for info in records if _is_pickle(info)]
    if len(pickles) != 1 or pickles[0] > _LARGEST_PICKLE:
        yield f"expected one {_PICKLE} of up to {_LARGEST_PICKLE:,} bytes, found {pickles}"


def _is_pickle(info: zipfile.ZipInfo) -> bool:
    return info.filename.rpartition("/")[2] == _PICKLE


def _check_names(path: Path, pickled: bytes) -> None:
    for operation, argument, _ in pickletools.genops(pickled):
        if operation.name in _OTHER_CALLS or (operation.name == "GLOBAL" and argument not in _ALLOWED):
            named = f" ({str(argument).replace(' ', '.')[:100]!r})" if operation.name == "GLOBAL" else ""
            raise HoldsObjectsError(f"{path} holds Python objects{named}")


def _read_all(archive: zipfile.ZipFile) -> None:
    for info in archive.infolist():
        with archive.open(info) as record:
            while record.read(_CHUNK):
                pass
