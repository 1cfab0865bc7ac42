"""Stored values of a radiograph -> the grey values that a viewer would show, as uint8.

The chain is the standard's (DICOM PS3.4, annex N.2): modality LUT or rescale, then VOI LUT or window, then
MONOCHROME1 inverted. Every step maps a pixel by its value alone, so the chain is computed once per stored value
(65,536 at most) and the image is looked up in that table.
"""

from typing import TypeAlias

import numpy as np
from jaxtyping import Float64, Integer, UInt8

from rsna_det.data.dicom.display import Display, DisplayError, LookUpTable, Window

Values: TypeAlias = Float64[np.ndarray, " values"]


def to_display(stored: Integer[np.ndarray, "height width"], display: Display) -> UInt8[np.ndarray, "height width"]:
    """The radiograph as a viewer shows it: 0 is black, air dark and bone bright.

    Without a VOI LUT or window, 8-bit data keep their values. Deeper data are stretched from their own smallest
    to their largest value (padding left out): ``BitsStored`` is of no use there, since files of 16 bits often hold 12,
    and such an image would be nearly black.

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
        values = _modality(codes, display)
        grey = _voi(values, display)
        if grey is None:
            grey = _stretch(values, _modality(_ends(stored, display), display))
    if not np.isfinite(grey).all():
        raise DisplayError("rescale and window yield grey values that are not finite numbers")
    return grey


def _modality(codes: Values, display: Display) -> Values:
    """Stored values -> the modality's own values (PS3.3, C.11.1)."""
    if display.modality is None:
        return codes
    if isinstance(display.modality, LookUpTable):
        return _look_up(codes, display.modality)
    slope, intercept = display.modality
    return np.asarray(codes * slope + intercept)


def _voi(values: Values, display: Display) -> Values | None:
    """The modality's values -> grey values from 0 to 255 by the VOI LUT or window, None without one."""
    if display.voi is None:
        return None
    if isinstance(display.voi, LookUpTable):
        return np.asarray(_look_up(values, display.voi) * (255 / (2**display.voi.depth - 1)))
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


def _look_up(values: Values, table: LookUpTable) -> Values:
    """Values through one LUT; values outside it take its first or last entry.

    pydicom's own lookup wraps around if an 8-bit table has more than 256 entries, or if the index exceeds the pixels'
    type.
    """
    index = (np.rint(values) - table.first).clip(0, len(table.entries) - 1).astype(np.int64)
    return np.asarray(table.entries[index])


def _ends(stored: Integer[np.ndarray, "height width"], display: Display) -> Float64[np.ndarray, " ends"]:
    """The stored values from black to white if the file has no VOI LUT and no window."""
    if display.black_and_white is not None:
        return np.array(display.black_and_white, dtype=np.float64)
    kept = stored
    if display.padding is not None:
        lowest, highest = display.padding
        kept = stored[(stored < lowest) | (stored > highest)]
    kept = kept if kept.size else stored
    return np.arange(int(kept.min()), int(kept.max()) + 1, dtype=np.float64)


def _stretch(values: Values, ends: Float64[np.ndarray, " ends"]) -> Values:
    """Values mapped so that the smallest of ``ends`` becomes 0 and the largest 255."""
    low, high = ends.min(), ends.max()
    return np.asarray((values - low) * (255 / (high - low))) if high > low else np.zeros_like(values)
