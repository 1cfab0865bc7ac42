"""Words as decoded -> stored values: only the bits that the header calls stored, with their sign."""

import numpy as np
from jaxtyping import Integer

from rsna_det.data.dicom.problems import FrameError


def stored_values(
    words: Integer[np.ndarray, "height width"], *, bits: int, high_bit: int, signed: bool
) -> Integer[np.ndarray, "height width"]:
    """The values that the header describes (PS3.5, section 8.1.1).

    Bits above the stored ones hold overlays, or nothing, and never count. Where the highest stored bit is not
    ``bits - 1``, values are shifted down to it.

    Args:
        words: as decoded, of 8, 16 or more bits.
        bits: BitsStored.
        high_bit: HighBit.
        signed: whether the values are in two's complement.

    Raises:
        FrameError: if the words contradict ``high_bit``: all bits above ``bits`` are empty and those below the stored
            ones are not.
    """
    container = 8 * words.dtype.itemsize
    shift = high_bit + 1 - bits
    if shift == 0 and bits == container and signed == (words.dtype.kind == "i"):
        return words
    plain: Integer[np.ndarray, "height width"] = words.astype(np.uint16 if container > 8 else np.uint8, copy=False)
    if shift:
        if not (plain >> bits).any() and (plain & ((1 << shift) - 1)).any():
            raise FrameError(f"HighBit {high_bit}, but the values lie in the lowest {bits} bits")
        plain = plain >> shift
    values = plain & np.array((1 << bits) - 1, dtype=plain.dtype)
    return with_sign(values, bits=bits) if signed else values


def with_sign(values: Integer[np.ndarray, "..."], *, bits: int) -> Integer[np.ndarray, "..."]:
    """Values of so many bits read in two's complement."""
    half = 1 << (bits - 1)
    wide = (values.astype(np.int32) ^ half) - half
    return wide.astype(np.int8 if values.dtype.itemsize == 1 else np.int16)


def as_stored(value: int, *, bits: int, signed: bool) -> int:
    """A header's value as the pixels have it, whichever sign it was written with."""
    kept = value & ((1 << bits) - 1)
    return kept - (1 << bits) if signed and kept >> (bits - 1) else kept
