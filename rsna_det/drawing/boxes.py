"""Boxes on a radiograph, and several radiographs on a sheet."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from rsna_det.structures import Detections

TRUTH_COLOUR = (64, 220, 96)
DETECTION_COLOUR = (255, 176, 32)


@dataclass(frozen=True, kw_only=True)
class BoxedImage:
    """A radiograph as the network sees it, with its boxes on it; nothing is drawn yet.

    Attributes:
        image: grey values.
        detections: boxes in the pixels of ``image``.
        truths: true boxes in the pixels of ``image``.
        caption: that identifies it.
    """

    image: UInt8[np.ndarray, "height width"]
    detections: Detections
    truths: Float[np.ndarray, "truths 4"]
    caption: str


def draw_boxes(
    image: UInt8[np.ndarray, "height width"],
    *,
    detections: Detections,
    truths: Float[np.ndarray, "truths 4"] | None = None,
    zoom: float = 1.0,
) -> UInt8[np.ndarray, "picture_height picture_width 3"]:
    """An RGB picture of a radiograph: true boxes green, detections orange with their scores.

    Args:
        image: grey values.
        detections: boxes in the pixels of ``image``.
        truths: true boxes in the pixels of ``image``; None if unknown.
        zoom: size of the picture relative to ``image``; lines and letters are drawn at the picture's size.
    """
    larger = cv2.resize(np.ascontiguousarray(image), None, fx=zoom, fy=zoom, interpolation=cv2.INTER_LINEAR)
    picture = cv2.cvtColor(larger, cv2.COLOR_GRAY2RGB)
    thickness = max(1, round(max(picture.shape) / 384))
    for box in (truths * zoom).tolist() if truths is not None else ():
        _rectangle(picture, box, TRUTH_COLOUR, thickness)
    for box, score in zip((detections.boxes * zoom).tolist(), detections.scores.tolist(), strict=True):
        _rectangle(picture, box, DETECTION_COLOUR, thickness)
        _label(picture, f"{score:.2f}", box, thickness)
    return np.asarray(picture, np.uint8)


def sheet(
    pictures: Sequence[UInt8[np.ndarray, "_h _w 3"]], *, captions: Sequence[str], columns: int, side: int
) -> UInt8[np.ndarray, "height width 3"]:
    """Pictures on a grid, each fitted into a square with its caption above.

    Args:
        pictures: RGB.
        captions: one per picture.
        columns: pictures per row.
        side: of a square, in pixels of the sheet.
    """
    tiles = [_tile(p, c, side) for p, c in zip(pictures, captions, strict=True)]
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % columns)
    rows = [np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)]
    return np.vstack(rows)


def _rectangle(picture: np.ndarray, box: Sequence[float], colour: tuple[int, int, int], thickness: int) -> None:
    x1, y1, x2, y2 = (round(float(value)) for value in box)
    cv2.rectangle(picture, (x1, y1), (x2 - 1, y2 - 1), colour, thickness)


def _label(picture: np.ndarray, text: str, box: Sequence[float], thickness: int) -> None:
    """Write inside the box's top edge, on a dark ground to be legible on white lungs too."""
    size = max(picture.shape) / 1100
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, thickness)
    x, y = round(box[0]) + 2 * thickness, round(box[1]) + height + 3 * thickness
    cv2.rectangle(picture, (x - thickness, y - height - thickness), (x + width, y + 2 * thickness), (0, 0, 0), -1)
    cv2.putText(picture, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, size, DETECTION_COLOUR, thickness, cv2.LINE_AA)


def _tile(picture: np.ndarray, caption: str, side: int) -> np.ndarray:
    scale = side / max(picture.shape[:2])
    small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    header = max(16, side // 14)
    tile = np.zeros((side + header, side, 3), np.uint8)
    tile[header : header + small.shape[0], : small.shape[1]] = small
    cv2.putText(tile, caption, (4, header - 5), cv2.FONT_HERSHEY_SIMPLEX, header / 40, (255, 255, 255), 1, cv2.LINE_AA)
    return tile
