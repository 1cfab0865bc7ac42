"""Pictures of radiographs with their labelled boxes, as they are and augmented."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float32, UInt8
from PIL import Image

from rsna_det.data.cache.resize import fit_square, square_scale
from rsna_det.data.dicom.reading import find_dicoms, read_radiograph
from rsna_det.data.layout import IMAGES_DIR
from rsna_det.drawing.boxes import draw_boxes, sheet
from rsna_det.errors import DataError, InvalidValueError
from rsna_det.files.atomic import whole_file
from rsna_det.structures import Detections

Augment = Callable[[np.ndarray, np.ndarray, int], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True, kw_only=True)
class Example:
    """One tile of a sheet.

    Attributes:
        row: of :func:`rsna_det.data.labels.reading.read_labels`.
        augment: takes image, boxes and seed.
        seed: of the draw.
        caption: written above the tile.
    """

    row: pd.Series
    augment: Augment
    seed: int
    caption: str


def save_examples(
    path: Path, examples: Sequence[Example], *, root: Path, image_size: int, columns: int, tile: int
) -> Path:
    """Write a sheet of radiographs with their boxes, each after one draw of an augmentation (paper, figure 5).

    Args:
        path: of the PNG.
        examples: the tiles, row by row.
        root: folder in the challenge's layout.
        image_size: side of the network's image, which is augmented.
        columns: tiles in a row.
        tile: side of a tile, in pixels of the sheet.

    Returns:
        The path.

    Raises:
        DicomError: a radiograph cannot be read.
        DataError: a labelled image has no file.
        StorageError: the sheet cannot be written.
    """
    rows = {example.row["image_id"]: example.row for example in examples}
    images = {image_id: network_image(row, root=root, side=image_size) for image_id, row in rows.items()}
    pictures = [
        labelled_picture(*example.augment(*images[example.row["image_id"]], example.seed), side=tile)
        for example in examples
    ]
    picture = sheet(pictures, captions=[example.caption for example in examples], columns=columns, side=tile)
    with whole_file(path) as partial:
        Image.fromarray(picture).save(partial, format="PNG")
    return path


def rows_with_boxes(images: pd.DataFrame, *, image_id: str | None, where: Path) -> pd.DataFrame:
    """The row of the named radiograph, or those of all with boxes.

    Args:
        images: of :func:`rsna_det.data.labels.reading.read_labels`.
        image_id: None for all with boxes.
        where: the labels come from, for the message.

    Raises:
        InvalidValueError: there is none.
    """
    wanted = images["boxes"].map(len) > 0 if image_id is None else images["image_id"] == image_id
    if not wanted.any():
        raise InvalidValueError(f"there is no image {image_id or 'with boxes'} in {where}")
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
        DicomError: the file cannot be read.
        DataError: there is no such file.
    """
    paths = find_dicoms(root / IMAGES_DIR)
    if row["image_id"] not in paths:
        raise DataError(f"{root / IMAGES_DIR} has no file of image {row['image_id']}, which is labelled")
    pixels = read_radiograph(paths[row["image_id"]])
    scale = square_scale(pixels.shape[0], pixels.shape[1], side)
    return fit_square(pixels, side), row["boxes"] * np.float32(scale)


def labelled_picture(
    image: UInt8[np.ndarray, "height width"], boxes: Float32[np.ndarray, "boxes 4"], *, side: int
) -> UInt8[np.ndarray, "picture_height picture_width 3"]:
    """A radiograph with its boxes, scaled so that its longer side is that of a tile.

    Args:
        image: grey values.
        boxes: in pixels of the image.
        side: of the tile.
    """
    nothing = Detections(boxes=torch.zeros(0, 4), scores=torch.zeros(0))
    return draw_boxes(image, detections=nothing, truths=boxes, zoom=side / max(image.shape))
