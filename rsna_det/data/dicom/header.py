"""Whether a DICOM header describes one grey radiograph that can be decoded."""

from dataclasses import dataclass
from pathlib import Path

from pydicom import Dataset
from pydicom.uid import UID

from rsna_det.data.dicom.frames import READABLE
from rsna_det.data.dicom.limits import Limits
from rsna_det.data.dicom.opening import syntax_of
from rsna_det.data.dicom.presentation import PRESENTATION_TAGS, check_presentation
from rsna_det.data.dicom.problems import READ_ERRORS, dicom_error, error_of

SIZE_TAGS = ("Rows", "Columns")
_FORMAT_TAGS = ("SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored", "PixelRepresentation")
_OPTIONAL_TAGS = (
    "NumberOfFrames",
    "PlanarConfiguration",
    "HighBit",
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
)
TAGS = (*SIZE_TAGS, *_FORMAT_TAGS, *_OPTIONAL_TAGS, *PRESENTATION_TAGS)
"""What is read of a file."""

_GREY = ("MONOCHROME1", "MONOCHROME2")


@dataclass(frozen=True, kw_only=True)
class Format:
    """How a file stores its pixels."""

    syntax: UID
    bits: int
    high_bit: int
    signed: bool


def check_size(path: Path, dataset: Dataset, limits: Limits) -> tuple[int, int]:
    """Height and width.

    Raises:
        DicomError: there are none, or they are beyond the limit.
    """
    try:
        size = int(dataset.Rows), int(dataset.Columns)
        frames, samples = int(dataset.get("NumberOfFrames") or 1), int(dataset.get("SamplesPerPixel") or 1)
    except READ_ERRORS as error:
        remedy = "fetch the file again: it holds no image, or is truncated"
        raise error_of(path, error, found="no usable Rows and Columns in its header", remedy=remedy) from error
    if min(size) < 1:
        raise dicom_error(path, f"an image of {size[0]} rows and {size[1]} columns", "export it again with its pixels")
    if max(size) ** 2 * max(frames, 1) * max(samples, 1) > limits.max_pixels:
        found = (
            f"an image of {size[0]} rows and {size[1]} columns ({frames} frames, {samples} samples): the square around "
            f"it has more than {limits.max_pixels} pixels"
        )
        raise dicom_error(path, found, "raise reading.max_pixels if it is a radiograph")
    return size


def check_format(path: Path, dataset: Dataset, limits: Limits) -> Format:
    """How the pixels are stored.

    Raises:
        DicomError: as something other than one grey radiograph.
    """
    missing = [name for name in _FORMAT_TAGS if dataset.get(name) is None]
    if missing:
        raise dicom_error(path, f"no {', '.join(missing)} in its header", "export the file again")
    if "PixelData" not in dataset:
        raise dicom_error(path, "no pixel data", "fetch the file again: it holds no image, or is truncated")
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames != 1:
        found = f"{frames} frames; expected a single radiograph"
        raise dicom_error(path, found, "export one frame as a file of its own")
    _check_colours(path, dataset)
    check_presentation(path, dataset, limits)
    return _format(path, dataset)


def _check_colours(path: Path, dataset: Dataset) -> None:
    photometric = str(dataset.PhotometricInterpretation)
    grey = dataset.SamplesPerPixel == 1 and photometric in _GREY
    colour = dataset.SamplesPerPixel == 3 and photometric.startswith(("RGB", "YBR"))
    if not grey and not colour:
        found = f"{photometric} with {dataset.SamplesPerPixel} samples a pixel; expected MONOCHROME1 or MONOCHROME2"
        raise dicom_error(path, found, "export it in grey")


def _format(path: Path, dataset: Dataset) -> Format:
    allocated, stored = int(dataset.BitsAllocated), int(dataset.BitsStored)
    high = dataset.get("HighBit")
    high_bit = stored - 1 if high is None else int(high)
    representation = int(dataset.PixelRepresentation)
    if allocated not in (8, 16) or not 8 <= stored <= allocated:
        found = f"{stored} bits stored in {allocated}; expected 8 to 16 bits"
        raise dicom_error(path, found, "export it with 8 to 16 bits a pixel")
    if not stored - 1 <= high_bit < allocated:
        found = f"HighBit {high_bit} with {stored} bits stored in {allocated}; expected {stored - 1}"
        raise dicom_error(path, found, "correct its header, or export it again")
    if representation not in (0, 1):
        found = f"PixelRepresentation {representation}; expected 0 (unsigned) or 1 (signed)"
        raise dicom_error(path, found, "correct its header, or export it again")
    syntax = syntax_of(path, dataset)
    if syntax not in READABLE:
        found = f"transfer syntax {syntax.name}; expected uncompressed, RLE, or a JPEG that Pillow reads"
        remedy = "convert it, for instance with `gdcmconv --raw` (GDCM) or `dcmdjpeg` (DCMTK)"
        raise dicom_error(path, found, remedy)
    return Format(syntax=syntax, bits=stored, high_bit=high_bit, signed=representation == 1)
