"""What is wrong with a DICOM file, in one form: the file, what was found, what to do."""

import re
import struct
import zlib
from pathlib import Path

from PIL import Image
from pydicom.errors import BytesLengthException, InvalidDicomError

from rsna_det.errors import DataError
from rsna_det.files.names import shown
from rsna_det.files.reading import machine_problem

# What pydicom and the JPEG decoders are known to raise for files that are not what their header says.
READ_ERRORS = (
    ArithmeticError, AttributeError, BytesLengthException, EOFError, Image.DecompressionBombError, InvalidDicomError,
    LookupError, MemoryError, NotImplementedError, OSError, RuntimeError, TypeError, ValueError, struct.error,
    zlib.error,
)  # fmt: skip

_DECODERS = re.compile(r"^Unable to decode as exceptions were raised by all available plugins:\s*\w+: ")


class DicomError(DataError):
    """A file that cannot be read as one grey radiograph; the message names the file and the remedy."""


class FrameError(DataError):
    """Pixel data that are damaged or not what the header says; the message does not name the file yet."""


def dicom_error(path: Path, found: str, remedy: str) -> DicomError:
    """An error in the form of them all."""
    return DicomError(f"{shown(path)}: {found}; {remedy}")


def error_of(path: Path, error: BaseException, *, found: str, remedy: str) -> DicomError:
    """Turn an error into one that names the file, and blames the machine where the machine is at fault."""
    problem = machine_problem(error)
    if problem is not None:
        reason, what_to_do = problem
        return dicom_error(path, f"it cannot be read ({reason})", what_to_do)
    return dicom_error(path, f"{found} ({_in_one_line(error) or type(error).__name__})", remedy)


def _in_one_line(error: BaseException) -> str:
    """What it says, without pydicom's list of the single decoder that was tried."""
    return " ".join(_DECODERS.sub("", str(error)).split())
