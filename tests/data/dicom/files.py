"""Small DICOM files for tests: every syntax, with whatever a test wants to be wrong with them."""

import io
import struct
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, RLELossless, SecondaryCaptureImageStorage


def write(
    path: Path,
    pixels: np.ndarray,
    *,
    syntax: UID = ExplicitVRLittleEndian,
    encoded: bytes | None = None,
    bits: int | None = None,
    remove: tuple[str, ...] = (),
    **tags: object,
) -> Path:
    """A small DICOM of ``pixels``; ``encoded`` replaces the pixel bytes by one compressed frame."""
    size = pixels.dtype.itemsize
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    dataset.SOPClassUID, dataset.SOPInstanceUID = SecondaryCaptureImageStorage, "1.2.3.4"
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored = 8 * size, bits or 8 * size
    dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, int(pixels.dtype.kind == "i")
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    data = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes() if encoded is None else encapsulate([encoded])
    dataset.add_new("PixelData", "OW" if size == 2 and encoded is None else "OB", data + b"\0" * (len(data) % 2))
    for name, value in tags.items():
        setattr(dataset, name, value)
    for name in remove:
        delattr(dataset, name)
    if syntax == RLELossless:
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.compress(RLELossless)
    dataset.save_as(path, enforce_file_format=True)
    return path


def grey(shape: tuple[int, int] = (6, 9), *, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def smooth(shape: tuple[int, int] = (24, 40)) -> np.ndarray:
    rows, columns = np.indices(shape)
    return (rows * 3 + columns * 2).astype(np.uint8)


def compressed(pixels: np.ndarray, image_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format=image_format, **options)
    return buffer.getvalue()


def deep(bits: int) -> np.ndarray:
    """Values over all of 0..2**bits - 1, so that the stretch has known ends."""
    return np.linspace(0, 2**bits - 1, 35).astype(np.uint16).reshape(5, 7)


def tile_parts(codestream: bytes) -> tuple[bytes, list[bytes]]:
    """The main header and the tile parts, each as long as its Psot says."""
    place = codestream.index(b"\xff\x90")
    header, parts = codestream[:place], []
    while codestream[place : place + 2] == b"\xff\x90":
        (length,) = struct.unpack_from(">I", codestream, place + 6)
        parts.append(codestream[place : place + length])
        place += length
    return header, parts
