"""Where a radiograph's square of pixels comes from: the cache, or its DICOM file if there is none."""

import zlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from rsna_det.data.cache.array_file import cache_bytes, file_size, header
from rsna_det.data.cache.resize import fit_square
from rsna_det.data.dicom.reading import read_radiograph, read_size
from rsna_det.errors import ResourceError
from rsna_det.files.reading import readable

PREPARE_AGAIN = "run `python -m rsna_det.prepare` again"


class CacheError(ResourceError):
    """What keeps a cache from being built or used; the message names the files and the remedy."""


class PixelSource(ABC):
    """Image id -> pixels. Every source gives the same pixels for the same file and side.

    Attributes:
        side: side of the squares in network pixels.
    """

    side: int

    @property
    @abstractmethod
    def sizes(self) -> Mapping[str, tuple[int, int]]:
        """Height and width of each radiograph in source pixels."""

    @abstractmethod
    def read(self, image_id: str) -> UInt8[np.ndarray, "side side"]:
        """The radiograph fitted into a square (see :func:`rsna_det.data.cache.resize.fit_square`).

        Raises:
            KeyError: there is no such image.
        """


class DicomSource(PixelSource):
    """Decodes the DICOM file at every read.

    Args:
        paths: the file of each image id.
        side: side of the squares in network pixels.

    Raises:
        ValueError: ``side`` is below 1.
    """

    def __init__(self, *, paths: Mapping[str, Path], side: int) -> None:
        if side < 1:
            raise ValueError(f"side must be at least 1 pixel, got {side}")
        self.side = side
        self._paths = dict(paths)

    @cached_property
    def sizes(self) -> Mapping[str, tuple[int, int]]:
        """Height and width of each radiograph in source pixels; the first use reads every file's header."""
        return {image_id: read_size(path) for image_id, path in self._paths.items()}

    def read(self, image_id: str) -> UInt8[np.ndarray, "side side"]:
        """The radiograph fitted into a square.

        Raises:
            DicomError: the file is missing or cannot be read as a radiograph.
            KeyError: there is no such image.
        """
        if image_id not in self._paths:
            raise KeyError(f"no DICOM file for image {image_id!r} among {len(self._paths)}")
        return fit_square(read_radiograph(self._paths[image_id]), self.side)


class PixelCache(PixelSource):
    """Decoded radiographs in one memory-mapped file, ``uint8 [images, side, side]``.

    Every square is compared with its checksum whenever it is read: 0.1 ms for 512 x 512 pixels, and nothing when the
    cache is opened. Cheap to pickle: a process that gets it opens the file itself, at its first read.

    Args:
        file: the ``.npy`` file.
        side: side of the squares in network pixels.
        rows: the row of each image id.
        checksums: CRC-32 of each image's square.
        sizes: height and width of each radiograph in source pixels.
    """

    def __init__(
        self,
        *,
        file: Path,
        side: int,
        rows: Mapping[str, int],
        checksums: Mapping[str, int],
        sizes: Mapping[str, tuple[int, int]],
    ) -> None:
        self.file = file
        self.side = side
        self._rows = dict(rows)
        self._checksums = dict(checksums)
        self._sizes = dict(sizes)

    @property
    def sizes(self) -> Mapping[str, tuple[int, int]]:
        """Height and width of each radiograph in source pixels."""
        return self._sizes

    @cached_property
    def _pixels(self) -> UInt8[np.ndarray, "images side side"]:
        expected = header(num_images=len(self._rows), side=self.side)
        with readable(self.file, missing=f"the cache was removed: {PREPARE_AGAIN}"):
            with self.file.open("rb") as stream:
                found = stream.read(len(expected))
            size = cache_bytes(num_images=len(self._rows), side=self.side)
            if found != expected or file_size(self.file) != size:
                raise CacheError(f"{self.file} does not begin or end as it was written: {PREPARE_AGAIN}")
            shape = (len(self._rows), self.side, self.side)
            return np.asarray(np.memmap(self.file, dtype=np.uint8, mode="r", offset=len(expected), shape=shape))

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_pixels"}

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, image_id: object) -> bool:
        return image_id in self._rows

    def read(self, image_id: str) -> UInt8[np.ndarray, "side side"]:
        """The radiograph fitted into a square: a read-only view of the file, nothing is copied.

        Raises:
            KeyError: there is no such image.
            CacheError: its pixels are not those that were written.
            MissingFileError, StorageError: the file cannot be opened.
        """
        if image_id not in self._rows:
            raise KeyError(f"no image {image_id!r} among {len(self._rows)} in {self.file}")
        if not self._is_sound(image_id):
            found = f"the pixels of {image_id} in {self.file} have changed since they were written"
            raise CacheError(f"{found}: {PREPARE_AGAIN}, and check the disk")
        return np.asarray(self._pixels[self._rows[image_id]])

    def damaged(self) -> list[str]:
        """Ids of the images whose pixels are not those that were written, by reading all of them."""
        with ThreadPoolExecutor() as pool:
            sound = list(pool.map(self._is_sound, self._rows))
        return [image_id for image_id, is_sound in zip(self._rows, sound, strict=True) if not is_sound]

    def _is_sound(self, image_id: str) -> bool:
        return zlib.crc32(self._pixels[self._rows[image_id]].data) == self._checksums[image_id]
