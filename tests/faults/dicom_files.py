"""Sound DICOM files of every syntax and display, for the fuzzer to damage."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.uid import (
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
)

from tests.data.dicom.files import compressed, write

_SHAPE = (48, 64)


def _pixels(bits: int) -> np.ndarray:
    rows, columns = np.indices(_SHAPE)
    noise = np.random.default_rng(0).integers(0, 2 ** (bits - 4), _SHAPE)
    values = (rows * 5 + columns * 3) * 2 ** (bits - 9) + noise
    return values.astype(np.uint8 if bits == 8 else np.uint16)


def _table(first: int) -> list[Dataset]:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [256, first, 12])
    item.add_new("LUTData", "US", list(range(0, 4096, 16)))
    return [item]


def _jpeg(path: Path, **options: object) -> Path:
    return write(path, _pixels(8), syntax=JPEGBaseline8Bit, encoded=compressed(_pixels(8), "JPEG", **options))


def _colour(path: Path) -> Path:
    encoded = compressed(np.repeat(_pixels(8)[..., None], 3, axis=2), "JPEG", quality=95)
    return write(path, _pixels(8), syntax=JPEGBaseline8Bit, encoded=encoded, SamplesPerPixel=3,
                 PhotometricInterpretation="YBR_FULL_422", PlanarConfiguration=0)  # fmt: skip


def _jpeg2000(path: Path, bits: int, **options: object) -> Path:
    pixels = _pixels(bits)
    encoded = compressed(pixels, "JPEG2000", **options)
    return write(path, pixels, syntax=JPEG2000 if bits == 8 else JPEG2000Lossless, encoded=encoded)


SOUND: dict[str, Callable[[Path], Path]] = {
    "implicit": lambda path: write(
        path, _pixels(12), syntax=ImplicitVRLittleEndian, bits=12, WindowCenter=900, WindowWidth=1500
    ),
    "explicit": lambda path: write(path, _pixels(8), syntax=ExplicitVRLittleEndian),
    "big endian": lambda path: write(
        path, _pixels(16), syntax=ExplicitVRBigEndian, RescaleSlope=2, RescaleIntercept=-9
    ),
    "deflated": lambda path: write(
        path, _pixels(12), syntax=DeflatedExplicitVRLittleEndian, bits=12, PixelPaddingValue=0
    ),
    "signed": lambda path: write(
        path, (_pixels(12).astype(np.int16) - 900), bits=13, WindowCenter=0, WindowWidth=900, VOILUTFunction="SIGMOID"
    ),
    "voi lut": lambda path: write(path, _pixels(12), bits=12, VOILUTSequence=_table(500)),
    "modality lut": lambda path: write(path, _pixels(12), bits=12, ModalityLUTSequence=_table(500)),
    "rle 8": lambda path: write(path, _pixels(8), syntax=RLELossless),
    "rle 16": lambda path: write(path, _pixels(16), syntax=RLELossless),
    "jpeg": _jpeg,
    "jpeg progressive": lambda path: _jpeg(path, progressive=True),
    "jpeg restarts": lambda path: _jpeg(path, restart_marker_rows=1),
    "jpeg colour": _colour,
    "jpeg 2000 8": lambda path: _jpeg2000(path, 8, no_jp2=True),
    "jpeg 2000 16": lambda path: _jpeg2000(path, 16, no_jp2=True),
    "jpeg 2000 boxed": lambda path: _jpeg2000(path, 8),
}
"""What a file is called -> writes it."""
