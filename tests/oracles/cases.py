"""Random cases for the comparisons with the oracles.

Integer corners make areas, intersections and scores exact in any floating-point type, and small grids make ties, exact
thresholds, duplicates and one-pixel boxes frequent. Random real corners are there for everything else.
"""

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]


def integer_boxes(*, rng: np.random.Generator, count: int, side: int, smallest: int = 1) -> FloatArray:
    """Boxes with integer corners in 0..side, each at least ``smallest`` px wide and high (0 allows degenerate ones)."""
    sizes = rng.integers(smallest, side + 1, size=(count, 2))
    corners = rng.integers(0, side + 1 - sizes)
    return np.concatenate([corners, corners + sizes], axis=1).astype(np.float32)


def real_boxes(*, rng: np.random.Generator, count: int, side: float) -> FloatArray:
    """Boxes with real corners, at least a hundredth of the side wide and high."""
    sizes = rng.uniform(side / 100, side, size=(count, 2))
    corners = rng.uniform(0, side - sizes)
    return np.concatenate([corners, corners + sizes], axis=1).astype(np.float32)


def near_boxes(*, rng: np.random.Generator, boxes: FloatArray, shift: float) -> FloatArray:
    """Each box with its corners moved by up to a share ``shift`` of its size (so IoU is often near the thresholds)."""
    sizes = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    return (boxes + rng.uniform(-shift, shift, size=boxes.shape) * sizes).astype(np.float32)
