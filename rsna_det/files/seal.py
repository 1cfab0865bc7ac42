"""A zip file that carries the digest of its own bytes, so that a single changed bit is noticed when it is read.

The digest stands in the archive's comment, at the very end: every program that reads zip files passes over it. It
covers all bytes before it, the comment's length included.
"""

import hashlib
import os
from pathlib import Path
from typing import BinaryIO

from rsna_det.errors import DataError

_MARK = b"rsna_det sha256 "
_HEX = 64
_COMMENT = len(_MARK) + _HEX
# What a zip file begins with; the record that ends it: a signature, 16 bytes, and two of the comment's length.
_BEGIN = b"PK\x03\x04"
_END, _END_BYTES = b"PK\x05\x06", 22


def seal(path: Path) -> None:
    """Add the digest to a zip file that has no comment.

    Raises:
        ValueError: if the file does not end as such a file does.
        OSError: if it cannot be written.
    """
    with path.open("r+b") as file:
        if not _ends_bare(file):
            raise ValueError(f"{path} is no zip file without a comment")
        file.seek(-2, os.SEEK_END)
        file.write(_COMMENT.to_bytes(2, "little"))
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0, os.SEEK_END)
        file.write(_MARK + digest.encode())


def looks_like_zip(path: Path) -> bool:
    """Whether a file begins and ends as a zip file with this package's comment or none does.

    Raises:
        OSError: if it cannot be read.
    """
    with path.open("rb") as file:
        begins = file.read(len(_BEGIN)) == _BEGIN
        file.seek(max(0, file.seek(0, os.SEEK_END) - _END_BYTES - _COMMENT))
        return begins and _END in file.read()


def check_seal(path: Path) -> bool:
    """Whether a zip file carries its digest; False for one that was written without, which has no comment at all.

    Raises:
        DataError: if the digest is another than that of the file's bytes, or the file has another comment.
        OSError: if it cannot be read.
    """
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        if _ends_bare(file):
            return False
        body = size - _COMMENT
        file.seek(max(0, body))
        comment = file.read()
        if body < _END_BYTES or comment != _MARK + _digest_of_first(file, body).encode():
            raise DataError(f"{path} is damaged: its bytes do not have the digest that it was written with")
    return True


def _ends_bare(file: BinaryIO) -> bool:
    if file.seek(0, os.SEEK_END) < _END_BYTES:
        return False
    file.seek(-_END_BYTES, os.SEEK_END)
    end = file.read()
    return end.startswith(_END) and end.endswith(b"\0\0")


def _digest_of_first(file: BinaryIO, count: int) -> str:
    digest, chunk = hashlib.sha256(), bytearray(2**20)
    file.seek(0)
    while count > 0:
        read = file.readinto(memoryview(chunk)[: min(len(chunk), count)])  # type: ignore[attr-defined]
        if not read:
            break
        digest.update(memoryview(chunk)[:read])
        count -= read
    return digest.hexdigest()
