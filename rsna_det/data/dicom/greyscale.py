"""Stored values of a radiograph -> the grey values that a viewer would show, as uint8.

The chain is the standard's (DICOM PS3.4, annex N.2): modality LUT or rescale, then VOI LUT or window, then
MONOCHROME1 inverted. Every step maps a pixel by its value alone, so the chain is computed once per stored value
(65,536 at most) and the image is looked up in that table.
"""

import math
from typing import TypeAlias

import numpy as np
from jaxtyping import Float64, Int64, Integer, UInt8

from rsna_det.data.dicom.display import Display, DisplayError, LookUpTable, Window

Values: TypeAlias = Float64[np.ndarray, " values"]
Used: TypeAlias = Float64[np.ndarray, " used"]

# At either end of the values: the share of pixels that may be outliers, the share of the rest that is added again, and
# the number of pixels below which there are none.
_RARE, _MARGIN, _FEW_PIXELS = 0.005, 0.1, 20


def to_display(stored: Integer[np.ndarray, "height width"], display: Display) -> UInt8[np.ndarray, "height width"]:
    """The radiograph as a viewer shows it: 0 is black, air dark and bone bright.

    Without a VOI LUT or window, 8-bit data keep their values, such as the challenge's. Deeper data are stretched over
    their own values (padding left out): ``BitsStored`` is of no use there, since files of 16 bits often hold 12, and
    such an image would be nearly black. Black is the 0.5th percentile less a tenth of the distance between the 0.5th
    and the 99.5th, but not below the smallest value, and white likewise: an image without outliers is stretched from
    its smallest to its largest value, and one hot pixel does not take the contrast of all others. Images of fewer
    than 20 pixels have no outliers.

    Args:
        stored: one frame of at least one pixel, as decoded.
        display: of the file's header.

    Raises:
        DisplayError: rescale and window yield no finite grey values.
    """
    base = min(0, int(stored.min()))
    codes = np.arange(base, int(stored.max()) + 1, dtype=np.float64)
    grey = _grey_values(codes, stored, display)
    table = np.rint(grey).clip(0, 255).astype(np.uint8)
    if display.inverted:
        table = 255 - table
    if stored.dtype == np.uint8 and np.array_equal(table, codes):
        return stored
    shown: UInt8[np.ndarray, "height width"] = table[stored if base == 0 else stored.astype(np.int32) - base]
    return shown


def _grey_values(codes: Values, stored: Integer[np.ndarray, "height width"], display: Display) -> Values:
    """Stored values -> grey values from 0 to 255, not yet rounded or clipped."""
    # The exponential of a narrow SIGMOID window overflows far from its centre; infinity is the right limit there,
    # since 255 / (1 + infinity) is black.
    with np.errstate(over="ignore", invalid="ignore"):
        # The table begins at 0 or below; what the image uses of it begins at its smallest value.
        first_used = int(stored.min()) - int(codes[0])
        values = _modality(codes, display, used=codes[first_used:])
        grey = _voi(values, display, used=values[first_used:])
        if grey is None:
            grey = _stretch(values, *_black_and_white(values, stored, display, base=int(codes[0])))
    if not np.isfinite(grey).all():
        raise DisplayError("rescale and window yield grey values that are not finite numbers")
    return grey


def _modality(codes: Values, display: Display, *, used: Used) -> Values:
    """Stored values -> the modality's own values (PS3.3, C.11.1)."""
    if display.modality is None:
        return codes
    if isinstance(display.modality, LookUpTable):
        return _look_up(codes, display.modality, used=used)
    slope, intercept = display.modality
    return np.asarray(codes * slope + intercept)


def _voi(values: Values, display: Display, *, used: Used) -> Values | None:
    """The modality's values -> grey values from 0 to 255 by the VOI LUT or window, None without one."""
    if display.voi is None:
        return None
    if isinstance(display.voi, LookUpTable):
        return np.asarray(_look_up(values, display.voi, used=used) * (255 / display.voi.white))
    return _window(values, display.voi)


def _window(values: Values, window: Window) -> Values:
    """Values through a window (PS3.3, C.11.2.1.2 and C.11.2.1.3)."""
    if window.function == "SIGMOID":
        return np.asarray(255 / (1 + np.exp(-4 * (values - window.centre) / window.width)))
    centre, width = window.centre, window.width
    if window.function == "LINEAR":
        centre, width = centre - 0.5, width - 1
    grey = np.where(values > centre + width / 2, 255.0, 0.0)
    between = (values > centre - width / 2) & (values <= centre + width / 2)
    grey[between] = ((values[between] - centre) / width + 0.5) * 255
    return grey


def _look_up(values: Values, table: LookUpTable, *, used: Used) -> Values:
    """Values through one LUT; values outside it take its first or last entry.

    pydicom's own lookup wraps around if an 8-bit table has more than 256 entries, or if the index exceeds the pixels'
    type.

    Args:
        values: to map.
        table: the LUT.
        used: the values that the image may have; they decide the sign of the table's first value.
    """
    if not np.isfinite(values).all():
        return np.full_like(values, np.nan)
    first = _first(table, lowest=float(used.min()), highest=float(used.max()))
    index = (np.rint(values) - first).clip(0, len(table.entries) - 1).astype(np.int64)
    return np.asarray(table.entries[index])


def _first(table: LookUpTable, *, lowest: float, highest: float) -> int:
    """The table's first value; with the other sign if only then the table covers any of the image's values."""

    def covered(first: int) -> float:
        return min(highest, first + len(table.entries) - 1) - max(lowest, first)

    if covered(table.first) >= 0:
        return table.first
    best = max((table.first - 2**16, table.first + 2**16), key=covered)
    return best if covered(best) >= 0 else table.first


def _black_and_white(
    values: Values, stored: Integer[np.ndarray, "height width"], display: Display, *, base: int
) -> tuple[float, float]:
    """The modality's values from black to white if the file has no VOI LUT and no window.

    Args:
        values: of every stored value from ``base`` on.
        stored: the image.
        display: of its header.
        base: the stored value that ``values`` begin with.
    """
    if display.black_and_white is not None:
        ends = np.array(display.black_and_white, dtype=np.float64)
        ends = _modality(ends, display, used=ends)
        return float(ends.min()), float(ends.max())
    counts = np.bincount((stored.astype(np.int64) - base).ravel(), minlength=len(values))
    if display.padding is not None:
        lowest, highest = (max(end - base, 0) for end in display.padding)
        kept = counts.copy()
        kept[lowest : highest + 1 if display.padding[1] >= base else 0] = 0
        counts = kept if kept.any() else counts
    order = np.argsort(values, kind="stable")
    order = order[counts[order] > 0]
    return _without_outliers(values[order], np.cumsum(counts[order]))


def _without_outliers(values: Values, up_to: Int64[np.ndarray, " values"]) -> tuple[float, float]:
    """The ends of sorted values, of which ``up_to`` counts the pixels up to each (see :func:`to_display`)."""
    smallest, largest, pixels = float(values[0]), float(values[-1]), int(up_to[-1])
    rare = math.ceil(_RARE * pixels) if pixels >= _FEW_PIXELS else 0
    low = float(values[np.searchsorted(up_to, rare, side="right")])
    high = float(values[np.searchsorted(up_to, pixels - rare, side="left")])
    if low == high:
        return smallest, largest
    margin = _MARGIN * (high - low)
    return max(smallest, low - margin), min(largest, high + margin)


def _stretch(values: Values, black: float, white: float) -> Values:
    """Values mapped so that ``black`` becomes 0 and ``white`` 255."""
    return np.asarray((values - black) * (255 / (white - black))) if white > black else np.zeros_like(values)
