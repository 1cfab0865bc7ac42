"""One DICOM file -> uint8 pixels; every error names the file, what was found and what to do."""

import logging
import os
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Integer, UInt8
from pydicom import Dataset, dcmread

from rsna_det.data.dicom.display import DisplayError, display_of
from rsna_det.data.dicom.frames import decode_frame
from rsna_det.data.dicom.greyscale import to_display
from rsna_det.data.dicom.header import SIZE_TAGS, TAGS, Format, check_format, check_size
from rsna_det.data.dicom.limits import DEFAULT_LIMITS, ONE_GREY_LEVEL, Limits
from rsna_det.data.dicom.opening import BoundedFile, check_file, has_mark, inflated
from rsna_det.data.dicom.problems import READ_ERRORS, DicomError, FrameError, dicom_error, error_of
from rsna_det.data.dicom.stored_bits import stored_values
from rsna_det.errors import MissingFileError
from rsna_det.files.names import shown
from rsna_det.files.reading import readable

# pydicom logs what it warns of, and the traceback of every frame that it cannot decode, besides raising it. To import
# it sets the level of its log.
logging.getLogger("pydicom").setLevel(logging.CRITICAL)

_FETCH = "fetch the file again, or export it as DICOM part 10"
_CONVERT = "fetch the file again, or convert it with `gdcmconv --raw` (GDCM) or `dcmdjpeg` (DCMTK)"
_CORRECT = "correct it, or export it again"


def read_radiograph(path: str | Path, *, limits: Limits = DEFAULT_LIMITS) -> UInt8[np.ndarray, "height width"]:
    """The radiograph as a viewer shows it, in its own size (source pixels).

    Takes 8 to 16 bits, signed or not, uncompressed, RLE, JPEG of 8 bits or JPEG 2000. Rescale, LUTs, window and
    MONOCHROME1 are applied; without a window, deep data are stretched between percentiles (see
    :func:`rsna_det.data.dicom.greyscale.to_display`). Colour files pass where all channels are equal. A file without
    DICOM's preamble or transfer syntax is read as what it parses as, with a warning.

    Args:
        path: of the file.
        limits: on its size, and which doubts are accepted.

    Raises:
        DicomError: the file is missing, damaged, no DICOM file, beyond the limits, holds something other than one grey
            radiograph, is not what its header says, or would be shown as one grey level; or memory, permissions or the
            disk keep it from being read.
    """
    path = Path(path).expanduser()
    try:
        # Only pydicom and Pillow warn in here, and only of what does not touch the pixels (a wrong value
        # representation, a padded frame); what does touch them raises.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pixels = _read(path, limits)
    except MemoryError as error:
        raise error_of(path, error, found="", remedy="") from error
    darkest, brightest = int(pixels.min()), int(pixels.max())
    if darkest == brightest and ONE_GREY_LEVEL not in limits.accept:
        found = f"all of its pixels would be shown as the same grey level, {darkest}"
        remedy = f"correct its pixels or its window, or accept it with `reading.accept=[{ONE_GREY_LEVEL}]`"
        raise dicom_error(path, found, remedy)
    return pixels


def read_size(path: Path, *, limits: Limits = DEFAULT_LIMITS) -> tuple[int, int]:
    """Height and width in source pixels, from the header alone.

    Raises:
        DicomError: the file is missing, is no DICOM file, states no size, or one beyond the limits.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = _load(path, tags=SIZE_TAGS, pixels=False, limits=limits)
        return check_size(path, dataset, limits)


def find_dicoms(folder: Path) -> dict[str, Path]:
    """Image id (the file's stem) -> path of every ``.dcm`` file in the folder, sorted by id.

    Hidden files are skipped: archive programs leave ``._<id>.dcm`` beside the real file.

    Raises:
        MissingFileError: there is no such folder.
        StorageError: it cannot be read.
        DicomError: two files share a stem (``a.dcm`` and ``a.DCM``), or one is a link to nothing.
    """
    if not folder.is_dir():
        raise MissingFileError(f"{shown(folder)}: expected a folder of .dcm files, found none; check data.root")
    found: dict[str, Path] = {}
    with readable(folder), os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if entry.is_file() or entry.is_symlink())
    for name in names:
        path = folder / name
        if path.suffix.lower() != ".dcm" or name.startswith(".") or path.is_dir():
            continue
        if not path.is_file():
            raise dicom_error(path, "a link to a file that is not there", "restore the file, or remove the link")
        if path.stem in found:
            raise dicom_error(path, f"{found[path.stem].name} has the same image id", "remove one of the two files")
        found[path.stem] = path
    return dict(sorted(found.items()))


def _read(path: Path, limits: Limits) -> UInt8[np.ndarray, "height width"]:
    dataset = _load(path, tags=TAGS, pixels=True, limits=limits)
    if "Rows" not in dataset and "Rows" in _load(path, tags=SIZE_TAGS, pixels=False, limits=limits):
        # pydicom returns an empty data set where the compressed pixels have no end.
        raise dicom_error(path, f"its pixel data break off at byte {path.stat().st_size}", "fetch the file again")
    check_size(path, dataset, limits)
    try:
        form = check_format(path, dataset, limits)
        display = display_of(dataset)
    except DicomError:
        raise
    except READ_ERRORS as error:
        raise error_of(path, error, found="its header is invalid", remedy=_CORRECT) from error
    stored = _stored(path, dataset, form)
    try:
        return to_display(stored, display)
    except DisplayError as error:
        raise error_of(path, error, found="its header is invalid", remedy=_CORRECT) from error


def _load(path: Path, *, tags: Sequence[str], pixels: bool, limits: Limits) -> Dataset:
    try:
        check_file(path, limits)
        with BoundedFile(path) as file:
            stream = inflated(path, file, limits)
            marked = has_mark(stream)
            dataset = dcmread(stream, force=True, specific_tags=list(tags), stop_before_pixels=not pixels)
    except DicomError:
        raise
    except READ_ERRORS as error:
        raise error_of(path, error, found="not a DICOM file, or a damaged one", remedy=_FETCH) from error
    if not marked and "Rows" not in dataset:
        raise dicom_error(path, "not a DICOM file, or a damaged one (no DICM prefix, and no image)", _FETCH)
    return dataset


def _stored(path: Path, dataset: Dataset, form: Format) -> Integer[np.ndarray, "height width"]:
    """The stored values of the single frame."""
    try:
        words = decode_frame(dataset, form.syntax)
        if words.ndim == 3:
            if not (words == words[..., :1]).all():
                raise dicom_error(path, "a colour image whose channels differ; expected grey", "export it in grey")
            words = words[..., 0]
    except DicomError:
        raise
    except READ_ERRORS as error:
        found = f"its {form.syntax.name} pixel data cannot be decoded"
        raise error_of(path, error, found=found, remedy=_CONVERT) from error
    try:
        return stored_values(words, bits=form.bits, high_bit=form.high_bit, signed=form.signed)
    except FrameError as error:
        # The pixels are sound: to fetch or convert the file would not help.
        raise error_of(path, error, found="its header is invalid", remedy=_CORRECT) from error
