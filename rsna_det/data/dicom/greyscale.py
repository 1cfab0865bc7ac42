"""Stored values of a radiograph -> the grey values that a viewer would show, as uint8.

The chain is the standard's (DICOM PS3.4, annex N.2): modality LUT or rescale, then VOI LUT or window, then
MONOCHROME1 inverted. Every step maps a pixel by its value alone, so the chain is computed once per stored value
(65,536 at most) and the image is looked up in that table.
"""

from typing import TypeAlias

import numpy as np
from jaxtyping import Float64, Integer, UInt8
from pydicom import Dataset
from pydicom.pixels.processing import apply_windowing

Values: TypeAlias = Float64[np.ndarray, " values"]


def to_display(stored: Integer[np.ndarray, "height width"], header: Dataset) -> UInt8[np.ndarray, "height width"]:
    """The radiograph as a viewer shows it: 0 is black, air dark and bone bright.

    Without a VOI LUT or window, 8-bit data keep their values. Deeper data are stretched from their own smallest
    to their largest value (padding left out): ``BitsStored`` is of no use there, since files of 16 bits often hold 12,
    and such an image would be nearly black.

    Args:
        stored: one frame of at least one pixel, as decoded.
        header: the file's data set.

    Raises:
        ValueError: a lookup table, rescale or window that the standard does not allow, or that yields no finite
            grey values.
    """
    base = min(0, int(stored.min()))
    codes = np.arange(base, int(stored.max()) + 1, dtype=np.float64)
    grey = _grey_values(codes, stored, header)
    table = np.rint(grey).clip(0, 255).astype(np.uint8)
    if header.PhotometricInterpretation == "MONOCHROME1":
        table = 255 - table
    if stored.dtype == np.uint8 and np.array_equal(table, codes):
        return stored
    shown: UInt8[np.ndarray, "height width"] = table[stored if base == 0 else stored.astype(np.int32) - base]
    return shown


def _grey_values(codes: Values, stored: Integer[np.ndarray, "height width"], header: Dataset) -> Values:
    """Stored values -> grey values from 0 to 255, not yet rounded or clipped."""
    # The exponential of a narrow SIGMOID window overflows far from its centre; infinity is the right limit there,
    # since 255 / (1 + infinity) is black.
    with np.errstate(over="ignore", invalid="ignore"):
        values = _modality(codes, header)
        grey = _voi(values, header)
        if grey is None:
            grey = _stretch(values, _modality(_ends(stored, header), header))
    if not np.isfinite(grey).all():
        raise ValueError("its rescale and window yield grey values that are not finite numbers")
    return grey


def _modality(codes: Values, header: Dataset) -> Values:
    """Stored values -> the modality's own values (PS3.3, C.11.1)."""
    if header.get("ModalityLUTSequence"):
        return _look_up(codes, header.ModalityLUTSequence[0], header)
    slope, intercept = header.get("RescaleSlope"), header.get("RescaleIntercept")
    if slope is None or intercept is None:
        return codes
    if float(slope) == 0 or not np.isfinite([float(slope), float(intercept)]).all():
        raise ValueError(f"RescaleSlope {slope} and RescaleIntercept {intercept}; expected finite numbers, slope not 0")
    return np.asarray(codes * float(slope) + float(intercept))


def _voi(values: Values, header: Dataset) -> Values | None:
    """The modality's values -> grey values from 0 to 255 by the first VOI LUT or window, None without one."""
    if header.get("VOILUTSequence"):
        item = header.VOILUTSequence[0]
        return np.asarray(_look_up(values, item, header) * (255 / (2 ** int(item.LUTDescriptor[2]) - 1)))
    if header.get("WindowCenter") is None or header.get("WindowWidth") is None:
        return None
    # 8 unsigned bits and no rescale make pydicom's output range exactly 0..255; the rescale has been applied here.
    window = Dataset()
    window.PhotometricInterpretation, window.BitsStored, window.PixelRepresentation = "MONOCHROME2", 8, 0
    window.WindowCenter, window.WindowWidth = header.WindowCenter, header.WindowWidth
    window.VOILUTFunction = header.get("VOILUTFunction") or "LINEAR"
    return np.asarray(apply_windowing(values, window), dtype=np.float64)


def _look_up(values: Values, item: Dataset, header: Dataset) -> Values:
    """Values through one LUT (PS3.3, C.11.1.1 and C.11.2.1.1); values outside it take its first or last entry.

    pydicom's own lookup wraps around if an 8-bit table has more than 256 entries, or if the index exceeds the pixels'
    type.
    """
    count, first, depth = (int(number) for number in item.LUTDescriptor)
    count = count or 2**16
    entries = _lut_entries(item, header, count=count, depth=depth)
    if not 8 <= depth <= 16 or len(entries) < count:
        raise ValueError(f"a lookup table of {depth} bits with {len(entries)} of its {count} entries")
    index = (np.rint(values) - first).clip(0, count - 1).astype(np.int64)
    return np.asarray(entries[index])


def _lut_entries(item: Dataset, header: Dataset, *, count: int, depth: int) -> Values:
    """The LUT's entries, stored as numbers or as 16-bit words; those of 8 bits may be packed two to a word."""
    data, order = item.LUTData, ">" if header.original_encoding[1] is False else "<"
    if not isinstance(data, bytes):
        data = np.atleast_1d(np.asarray(data)).astype(f"{order}u2").tobytes()
    packed = depth == 8 and count > 1 and len(data) in (count, count + count % 2)
    return np.frombuffer(data, dtype="u1" if packed else f"{order}u2").astype(np.float64)


def _ends(stored: Integer[np.ndarray, "height width"], header: Dataset) -> Float64[np.ndarray, " ends"]:
    """The stored values that become black and white if the file has no VOI LUT and no window."""
    if int(header.BitsStored) == 8 and not header.get("ModalityLUTSequence"):
        lowest = -128 if header.PixelRepresentation else 0
        return np.array([lowest, lowest + 255.0])
    kept = stored
    if header.get("PixelPaddingValue") is not None:
        padding = int(header.PixelPaddingValue)
        limit = int(header.get("PixelPaddingRangeLimit") or padding)
        kept = stored[(stored < min(padding, limit)) | (stored > max(padding, limit))]
    kept = kept if kept.size else stored
    return np.arange(int(kept.min()), int(kept.max()) + 1, dtype=np.float64)


def _stretch(values: Values, ends: Float64[np.ndarray, " ends"]) -> Values:
    """Values mapped so that the smallest of ``ends`` becomes 0 and the largest 255."""
    low, high = ends.min(), ends.max()
    return np.asarray((values - low) * (255 / (high - low))) if high > low else np.zeros_like(values)
