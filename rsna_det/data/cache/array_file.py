"""The file of a cache's pixels: one ``.npy`` array, uint8 [images, side, side], whose rows are written in place."""

import io
import os
from pathlib import Path

import numpy as np


def header(*, num_images: int, side: int) -> bytes:
    """What the file begins with."""
    stream = io.BytesIO()
    fields = {"descr": "|u1", "fortran_order": False, "shape": (num_images, side, side)}
    np.lib.format.write_array_header_1_0(stream, fields)
    return stream.getvalue()


def cache_bytes(*, num_images: int, side: int) -> int:
    """Bytes that the pixels of a cache take on disk."""
    return len(header(num_images=num_images, side=side)) + num_images * side * side


def file_size(file: Path) -> int:
    """Bytes of a file; -1 if there is none."""
    return file.stat().st_size if file.is_file() else -1


def sync(path: Path) -> None:
    """Return once a file, or the names in a folder, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
