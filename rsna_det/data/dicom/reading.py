"""One DICOM file -> uint8 pixels; every error names the file, what was found and what to do."""

import os
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from pydicom import Dataset, dcmread
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.uid import (
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    RLELossless,
)

from rsna_det.data.dicom.display import DisplayError, display_of
from rsna_det.data.dicom.greyscale import to_display
from rsna_det.errors import DataError, MissingFileError
from rsna_det.files.reading import readable

# Decoder by name: pydicom would otherwise prefer whatever slower plugin happens to be installed.
_PLUGINS = {
    ImplicitVRLittleEndian: "",
    ExplicitVRLittleEndian: "",
    ExplicitVRBigEndian: "",
    DeflatedExplicitVRLittleEndian: "",
    RLELossless: "pydicom",
    JPEGBaseline8Bit: "pillow",
    JPEGExtended12Bit: "pillow",
    JPEG2000: "pillow",
    JPEG2000Lossless: "pillow",
}
_SIZE_TAGS = ["Rows", "Columns"]
_FORMAT_TAGS = ["SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored", "PixelRepresentation"]
_OPTIONAL_TAGS = [
    "NumberOfFrames",
    "PlanarConfiguration",
    "ModalityLUTSequence",
    "RescaleSlope",
    "RescaleIntercept",
    "VOILUTSequence",
    "WindowCenter",
    "WindowWidth",
    "VOILUTFunction",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
    "PixelData",
]
# What pydicom and Pillow are known to raise for files that are not what their header says.
_READ_ERRORS = (
    ArithmeticError, AttributeError, BytesLengthException, EOFError, InvalidDicomError, LookupError,
    NotImplementedError, OSError, RuntimeError, TypeError, ValueError, struct.error, zlib.error,
)  # fmt: skip


class DicomError(DataError):
    """A file that cannot be read as one grey radiograph; the message names the file and the remedy."""


def read_radiograph(path: str | Path) -> UInt8[np.ndarray, "height width"]:
    """The radiograph as a viewer shows it, in its own size (source pixels).

    Takes 8 to 16 bits, signed or not, uncompressed, RLE, or any JPEG that Pillow decodes. Rescale, LUTs, window and
    MONOCHROME1 are applied (see :func:`rsna_det.data.dicom.greyscale.to_display`); colour files pass where all
    channels are equal.

    Raises:
        DicomError: the file is missing, damaged, no DICOM file, or holds something other than one grey radiograph.
    """
    path = Path(path).expanduser()
    # Only pydicom and Pillow warn in here, and only of what does not touch the pixels (a wrong value representation, a
    # padded frame); what does touch them raises.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = _load(path, tags=_SIZE_TAGS + _FORMAT_TAGS + _OPTIONAL_TAGS, pixels=True)
        if "Rows" not in dataset and "Rows" in _load(path, tags=_SIZE_TAGS, pixels=False):
            # pydicom returns an empty data set where the compressed pixels have no end.
            raise _error(path, f"its pixel data break off at byte {path.stat().st_size}", "fetch the file again")
        try:
            _check_size(path, dataset)
            _check_format(path, dataset)
            display = display_of(dataset)
        except DicomError:
            raise
        except _READ_ERRORS as error:
            raise _header_error(path, error) from error
        stored = _decode(path, dataset)
    try:
        return to_display(stored, display)
    except DisplayError as error:
        raise _header_error(path, error) from error


def read_size(path: Path) -> tuple[int, int]:
    """Height and width in source pixels, from the header alone.

    Raises:
        DicomError: the file is missing, is no DICOM file, or states no size.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = _load(path, tags=_SIZE_TAGS, pixels=False)
        return _check_size(path, dataset)


def find_dicoms(folder: Path) -> dict[str, Path]:
    """Image id (the file's stem) -> path of every ``.dcm`` file in the folder, sorted by id.

    Hidden files are skipped: archive programs leave ``._<id>.dcm`` beside the real file.

    Raises:
        MissingFileError: there is no such folder.
        StorageError: it cannot be read.
        DicomError: two files share a stem (``a.dcm`` and ``a.DCM``).
    """
    if not folder.is_dir():
        raise MissingFileError(f"{folder}: expected a folder of .dcm files, found none; check data.root")
    found: dict[str, Path] = {}
    with readable(folder), os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if entry.is_file())
    for name in names:
        path = folder / name
        if path.suffix.lower() != ".dcm" or name.startswith("."):
            continue
        if path.stem in found:
            raise _error(path, f"{found[path.stem].name} has the same image id", "remove one of the two files")
        found[path.stem] = path
    return dict(sorted(found.items()))


def _error(path: Path, found: str, remedy: str) -> DicomError:
    return DicomError(f"{path}: {found}; {remedy}")


def _header_error(path: Path, error: Exception) -> DicomError:
    return _error(path, f"its header is invalid ({error})", "correct it, or export it again")


def _load(path: Path, *, tags: list[str], pixels: bool) -> Dataset:
    try:
        if not path.is_file():
            raise _error(path, "there is no such file", "check the path and the image id")
        return dcmread(path, specific_tags=list(tags), stop_before_pixels=not pixels)
    except DicomError:
        raise
    except _READ_ERRORS as error:
        if isinstance(error, OSError) and error.errno:
            raise _error(path, f"it cannot be read ({error.strerror})", "check its permissions and the disk") from error
        found = f"not a DICOM file, or a damaged one ({error})"
        raise _error(path, found, "fetch the file again, or export it as DICOM part 10") from error


def _check_size(path: Path, dataset: Dataset) -> tuple[int, int]:
    try:
        size = int(dataset.Rows), int(dataset.Columns)
    except _READ_ERRORS as error:
        found = f"no usable Rows and Columns in its header ({error})"
        raise _error(path, found, "fetch the file again: it holds no image, or is truncated") from error
    if min(size) < 1:
        raise _error(path, f"an image of {size[0]} rows and {size[1]} columns", "export it again with its pixels")
    return size


def _check_format(path: Path, dataset: Dataset) -> None:
    missing = [name for name in _FORMAT_TAGS if dataset.get(name) is None]
    if missing:
        raise _error(path, f"no {', '.join(missing)} in its header", "export the file again")
    if "PixelData" not in dataset:
        raise _error(path, "no pixel data", "fetch the file again: it holds no image, or is truncated")
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames > 1:
        raise _error(path, f"{frames} frames; expected a single radiograph", "export one frame as a file of its own")
    allocated, stored = int(dataset.BitsAllocated), int(dataset.BitsStored)
    if allocated not in (8, 16) or not 8 <= stored <= allocated:
        found = f"{stored} bits stored in {allocated}; expected 8 to 16 bits"
        raise _error(path, found, "export it with 8 to 16 bits a pixel")
    photometric = str(dataset.PhotometricInterpretation)
    grey = dataset.SamplesPerPixel == 1 and photometric in ("MONOCHROME1", "MONOCHROME2")
    colour = dataset.SamplesPerPixel == 3 and photometric.startswith(("RGB", "YBR"))
    if not grey and not colour:
        found = f"{photometric} with {dataset.SamplesPerPixel} samples a pixel; expected MONOCHROME1 or MONOCHROME2"
        raise _error(path, found, "export it in grey")
    syntax = UID(dataset.file_meta.get("TransferSyntaxUID", ""))
    if syntax not in _PLUGINS:
        found = f"transfer syntax {syntax.name or '(none)'}; expected uncompressed, RLE, or a JPEG that Pillow reads"
        raise _error(path, found, "convert it, for instance with `gdcmconv --raw` (GDCM) or `dcmdjpeg` (DCMTK)")


def _decode(path: Path, dataset: Dataset) -> np.ndarray:
    """The stored values of the single frame, [height, width]."""
    syntax = UID(dataset.file_meta.TransferSyntaxUID)
    try:
        dataset.pixel_array_options(decoding_plugin=_PLUGINS[syntax])
        stored = dataset.pixel_array
    except _READ_ERRORS as error:
        found = f"its {syntax.name} pixel data cannot be decoded ({error})"
        remedy = "fetch the file again, or convert it with `gdcmconv --raw` (GDCM) or `dcmdjpeg` (DCMTK)"
        raise _error(path, found, remedy) from error
    size = (int(dataset.Rows), int(dataset.Columns))
    if stored.shape == (*size, 3):
        if not (stored == stored[..., :1]).all():
            raise _error(path, "a colour image whose channels differ; expected grey", "export it in grey")
        stored = stored[..., 0]
    if stored.shape != size:
        found = f"pixel data of shape {stored.shape} where the header says {size}"
        raise _error(path, found, "export one frame as a file of its own")
    return stored
