"""What a DICOM header says about display, as plain numbers: modality LUT or rescale, VOI LUT or window, padding."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64
from pydicom import Dataset
from pydicom.multival import MultiValue

from rsna_det.data.dicom.stored_bits import as_stored
from rsna_det.errors import DataError

_BYTE = 8
_WORD = 2**16
_WINDOW = ("WindowCenter", "WindowWidth")
_FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")


class DisplayError(DataError):
    """A lookup table, rescale or window that the standard does not allow, or that yields no grey values."""


@dataclass(frozen=True, kw_only=True)
class LookUpTable:
    """Values from ``first`` on -> entries of ``depth`` bits (PS3.3, C.11.1.1 and C.11.2.1.1).

    ``first`` is what the file says, which may be the right number with the other sign.
    """

    first: int
    depth: int
    entries: Float64[np.ndarray, " entries"]

    @property
    def white(self) -> float:
        """The entry that is shown as white: the largest that ``depth`` bits hold.

        Some files promise 16 bits of entries that have 12 (Agfa's CR), others fewer bits than there are. Where the
        highest bit is never used, or more bits are, the largest entry is white. A table of 8 bits means what it says.
        """
        largest, full = float(self.entries.max()), float(2**self.depth - 1)
        contradicted = largest > full or (self.depth > _BYTE and 0 < largest <= full / 2)
        return largest if contradicted else full


@dataclass(frozen=True, kw_only=True)
class Window:
    """Which values become the grey values from black to white (PS3.3, C.11.2.1.2 and C.11.2.1.3)."""

    centre: float
    width: float
    function: str


@dataclass(frozen=True, kw_only=True)
class Display:
    """How stored values become grey values.

    Attributes:
        inverted: whether small values are bright (MONOCHROME1).
        modality: lookup table, or slope and intercept, of the modality; None for neither.
        voi: lookup table or window of the values of interest; None for neither.
        black_and_white: the stored values that become black and white if there is no ``voi``; None for the image's own
            (see :func:`rsna_det.data.dicom.greyscale.to_display`).
        padding: smallest and largest stored value that only fills the image up; None for none.
    """

    inverted: bool
    modality: LookUpTable | tuple[float, float] | None = None
    voi: LookUpTable | Window | None = None
    black_and_white: tuple[int, int] | None = None
    padding: tuple[int, int] | None = None


def display_of(header: Dataset) -> Display:
    """Read a header.

    Raises:
        DisplayError: values that the standard does not allow; besides whatever pydicom raises for damaged ones.
    """
    modality, voi = _modality(header), _voi(header)
    plain = int(header.BitsStored) == 8 and not isinstance(modality, LookUpTable)
    lowest = -128 if header.PixelRepresentation else 0
    return Display(
        inverted=header.PhotometricInterpretation == "MONOCHROME1",
        modality=modality,
        voi=voi,
        black_and_white=(lowest, lowest + 255) if plain else None,
        padding=_padding(header) if voi is None and not plain else None,
    )


def _modality(header: Dataset) -> LookUpTable | tuple[float, float] | None:
    """The modality LUT, or the rescale: of the two, which no file should have together, viewers follow the LUT."""
    if header.get("ModalityLUTSequence"):
        return _table(header.ModalityLUTSequence[0], header)
    slope, intercept = header.get("RescaleSlope"), header.get("RescaleIntercept")
    if slope is None and intercept is None:
        return None
    slope, intercept = 1 if slope is None else slope, 0 if intercept is None else intercept
    if float(slope) == 0 or not np.isfinite([float(slope), float(intercept)]).all():
        raise DisplayError(
            f"RescaleSlope {slope} and RescaleIntercept {intercept}; expected finite numbers, slope not 0"
        )
    return float(slope), float(intercept)


def _voi(header: Dataset) -> LookUpTable | Window | None:
    """The first VOI LUT or window."""
    if header.get("VOILUTSequence"):
        return _table(header.VOILUTSequence[0], header)
    missing = [name for name in _WINDOW if header.get(name) is None]
    if len(missing) == len(_WINDOW):
        return None
    if missing:
        (given,) = (name for name in _WINDOW if name not in missing)
        raise DisplayError(f"{given} without {missing[0]}; expected both, or neither")
    centre, width = float(_first(header.WindowCenter)), float(_first(header.WindowWidth))
    function = str(header.get("VOILUTFunction") or "LINEAR").upper()
    if function not in _FUNCTIONS:
        raise DisplayError(f"VOI LUT Function {function}; expected one of {', '.join(_FUNCTIONS)}")
    wide_enough = width >= 1 if function == "LINEAR" else width > 0
    if not wide_enough or not np.isfinite([centre, width]).all():
        expected = "1 or more" if function == "LINEAR" else "more than 0"
        raise DisplayError(f"Window Center {centre:g} and Window Width {width:g}; expected a width of {expected}")
    return Window(centre=centre, width=width, function=function)


def _first(value: Any) -> Any:  # noqa: ANN401  # one of pydicom's number types
    return value[0] if isinstance(value, MultiValue) else value


def _table(item: Dataset, header: Dataset) -> LookUpTable:
    count, first, depth = (int(number) for number in item.LUTDescriptor)
    # 65,536 is written as 0, and a signed count is an unsigned one whose highest bit is set.
    count = count % _WORD or _WORD
    entries = _entries(item, header, count=count, depth=depth)
    if not 8 <= depth <= 16 or len(entries) < count:
        raise DisplayError(f"a lookup table of {depth} bits with {len(entries)} of its {count} entries")
    return LookUpTable(first=first, depth=depth, entries=entries[:count])


def _entries(item: Dataset, header: Dataset, *, count: int, depth: int) -> Float64[np.ndarray, " entries"]:
    """The table's entries, stored as numbers or as 16-bit words; those of 8 bits may be packed two to a word."""
    data, order = item.LUTData, ">" if header.original_encoding[1] is False else "<"
    if not isinstance(data, bytes):
        data = np.atleast_1d(np.asarray(data)).astype(f"{order}u2").tobytes()
    packed = depth == 8 and count > 1 and len(data) in (count, count + count % 2)
    return np.frombuffer(data, dtype="u1" if packed else f"{order}u2").astype(np.float64)


def _padding(header: Dataset) -> tuple[int, int] | None:
    """The smallest and largest padding, as the pixels have them: files write it with either sign."""
    if header.get("PixelPaddingValue") is None:
        return None
    limit = header.get("PixelPaddingRangeLimit")
    ends = header.PixelPaddingValue, header.PixelPaddingValue if limit is None else limit
    bits, signed = int(header.BitsStored), bool(header.PixelRepresentation)
    shift = int(header.get("HighBit") or bits - 1) + 1 - bits
    values = [as_stored(int(end) >> shift, bits=bits, signed=signed) for end in ends]
    return min(values), max(values)
