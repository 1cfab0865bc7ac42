"""A radiograph of any shape -> the square that the network sees."""

import cv2
import numpy as np
from jaxtyping import UInt8


def square_scale(height: int, width: int, side: int) -> float:
    """What to multiply source pixels by to get network pixels, on both axes.

    Args:
        height: of the radiograph, source pixels.
        width: likewise.
        side: of the square, network pixels.

    Raises:
        ValueError: a length below one pixel.
    """
    if min(height, width, side) < 1:
        raise ValueError(f"expected lengths of at least one pixel, got {height} x {width} to {side}")
    return side / max(height, width)


def fit_square(pixels: UInt8[np.ndarray, "height width"], side: int) -> UInt8[np.ndarray, "side side"]:
    """The radiograph scaled so that its longer side fills a square; the rest, at the right or bottom, is black.

    Area interpolation, linear if it enlarges. The source is padded *before* it is scaled, so that both axes have
    exactly the factor of :func:`square_scale` and rounding a side moves no box.

    Raises:
        ValueError: an image or a side without a pixel.
    """
    height, width = pixels.shape
    scale = square_scale(height, width, side)
    longest = max(height, width)
    if height != width:
        padding = ((0, longest - height), (0, longest - width))
        pixels = np.pad(pixels, padding)
    if longest == side:
        return np.ascontiguousarray(pixels)
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels, (side, side), interpolation=interpolation), dtype=np.uint8)
