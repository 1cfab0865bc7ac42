"""One radiograph under several draws of an augmentation, as a picture (paper, figure 5)."""

import math
from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from rsna_det.data.augmentation import Augmentation

_BOX_COLOUR = (255, 64, 64)
_GAP = 4


def augmentation_sheet(
    *,
    image: UInt8[np.ndarray, "height width"],
    boxes: Float32[np.ndarray, "boxes 4"],
    augmentation: Augmentation,
    seeds: Sequence[int],
) -> UInt8[np.ndarray, "sheet_height sheet_width 3"]:
    """The augmented radiograph for every seed with its boxes drawn, tiled into a grid that is about square.

    Args:
        image: grey values.
        boxes: in pixels of the image.
        augmentation: what to draw from.
        seeds: one tile each, row by row; nine give a grid of three by three.

    Raises:
        ValueError: without any seed.
    """
    if not seeds:
        raise ValueError("a sheet needs at least one seed; got none")
    tiles = [_tile(*augmentation(image, boxes, seed)) for seed in seeds]
    columns = math.ceil(math.sqrt(len(tiles)))
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % columns)
    rows = [np.concatenate(tiles[first : first + columns], axis=1) for first in range(0, len(tiles), columns)]
    return np.concatenate(rows, axis=0)


def _tile(
    image: UInt8[np.ndarray, "height width"], boxes: Float32[np.ndarray, "boxes 4"]
) -> UInt8[np.ndarray, "tile_height tile_width 3"]:
    picture = np.repeat(image[..., None], 3, axis=2)
    thickness = max(1, min(image.shape) // 200)
    for x1, y1, x2, y2 in np.rint(boxes).astype(int).tolist():
        cv2.rectangle(picture, (x1, y1), (max(x1, x2 - 1), max(y1, y2 - 1)), _BOX_COLOUR, thickness)
    return np.pad(picture, ((0, _GAP), (0, _GAP), (0, 0)))
