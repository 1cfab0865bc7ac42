"""Pictures of radiographs with their labelled boxes, as they are and augmented."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float32, UInt8

from rsna_det.data.cache.resize import fit_square, square_scale
from rsna_det.data.dicom.reading import find_dicoms, read_radiograph
from rsna_det.data.layout import IMAGES_DIR
from rsna_det.drawing.boxes import draw_boxes
from rsna_det.structures import Detections

Augment = Callable[[np.ndarray, np.ndarray, int], tuple[np.ndarray, np.ndarray]]


def rows_with_boxes(images: pd.DataFrame, *, image_id: str | None, where: Path) -> pd.DataFrame:
    """The rows of the named radiograph, or of all that have boxes.

    Args:
        images: of :func:`rsna_det.data.labels.reading.read_labels`.
        image_id: None for all with boxes.
        where: the labels come from, for the message.

    Raises:
        ValueError: if there is none.
    """
    wanted = images["boxes"].map(len) > 0 if image_id is None else images["image_id"] == image_id
    if not wanted.any():
        raise ValueError(f"there is no image {image_id or 'with boxes'} in {where}")
    return images[wanted]


def network_image(
    row: pd.Series, *, root: Path, side: int
) -> tuple[UInt8[np.ndarray, "side side"], Float32[np.ndarray, "boxes 4"]]:
    """A radiograph as the network gets it, and its boxes in network pixels.

    Args:
        row: of :func:`rsna_det.data.labels.reading.read_labels`.
        root: folder in the challenge's layout.
        side: of the network's image.

    Raises:
        DicomError: if the file cannot be read.
        ValueError: if there is no such file.
    """
    paths = find_dicoms(root / IMAGES_DIR)
    if row["image_id"] not in paths:
        raise ValueError(f"{root / IMAGES_DIR} has no file of the image {row['image_id']}, which is labelled")
    pixels = read_radiograph(paths[row["image_id"]])
    scale = square_scale(pixels.shape[0], pixels.shape[1], side)
    return fit_square(pixels, side), row["boxes"] * np.float32(scale)


def labelled_picture(
    image: UInt8[np.ndarray, "height width"], boxes: Float32[np.ndarray, "boxes 4"], *, side: int
) -> UInt8[np.ndarray, "picture_height picture_width 3"]:
    """A radiograph with its boxes, its longer side that of a tile.

    Args:
        image: grey values.
        boxes: in pixels of the image.
        side: of the tile.
    """
    nothing = Detections(boxes=torch.zeros(0, 4), scores=torch.zeros(0))
    return draw_boxes(image, detections=nothing, truths=boxes, zoom=side / max(image.shape))


def augmented_picture(
    augment: Augment,
    image: UInt8[np.ndarray, "height width"],
    boxes: Float32[np.ndarray, "boxes 4"],
    *,
    seed: int,
    side: int,
) -> UInt8[np.ndarray, "picture_height picture_width 3"]:
    """The same after one draw of an augmentation (paper, figure 5)."""
    changed, moved = augment(image, boxes, seed)
    return labelled_picture(changed, moved, side=side)
