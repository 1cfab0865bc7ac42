"""One radiograph with its boxes, as a reader wants to see it: outlines, scores next to them, a caption below."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8

from rsna_det.drawing.boxes import DETECTION_COLOUR, TRUTH_COLOUR
from rsna_det.structures import Detections

LARGEST_SIDE, SMALLEST_SIDE = 1536, 512
"""Limits of a picture's longer side in its pixels: for a manageable file, and for a caption that fits."""

MOST_SCORES = 30
"""Boxes of one picture that have their score next to them, those of highest score."""

DISCLAIMER = "research use only, not for diagnosis"

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_BLACK, _WHITE, _STRIP = (0, 0, 0), (235, 235, 235), (24, 24, 24)
Colour = tuple[int, int, int]
Rectangle = tuple[int, int, int, int]


@dataclass(frozen=True, kw_only=True)
class _Pen:
    """Lines and letters in proportion to the picture, in its pixels."""

    line: int
    letters: float

    @classmethod
    def for_picture(cls, picture: np.ndarray) -> "_Pen":
        longest = max(picture.shape[:2])
        return cls(line=max(1, round(longest / 640)), letters=longest / 1400)

    def size(self, text: str) -> tuple[int, int]:
        """Width and height of a line of text."""
        (width, height), below = cv2.getTextSize(text, _FONT, self.letters, self.line)
        return width, height + below


def annotated(
    image: UInt8[np.ndarray, "height width"],
    *,
    detections: Detections,
    truths: Float[np.ndarray, "truths 4"] | None,
    caption: Sequence[str],
) -> UInt8[np.ndarray, "picture_height picture_width 3"]:
    """An RGB picture: the radiograph in its own proportions, boxes as outlines, and a strip with the caption below.

    Boxes are not filled, and text stands outside them if there is room, to leave their content visible. Lines and
    letters have a black edge to show on black and on white.

    Args:
        image: grey values.
        detections: boxes in the pixels of ``image``.
        truths: true boxes, likewise, drawn dashed; None if unknown.
        caption: in parts that line breaks do not split.
    """
    scale = _scale(max(image.shape))
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    resized = cv2.resize(np.ascontiguousarray(image), None, fx=scale, fy=scale, interpolation=interpolation)
    picture = cv2.cvtColor(resized, cv2.COLOR_GRAY2RGB)
    pen = _Pen.for_picture(picture)
    true_boxes = [_rounded(box, picture) for box in (truths * scale).tolist()] if truths is not None else []
    for box in true_boxes:
        _dashed(picture, box, pen)
    # The box of highest score is drawn last, over the others.
    boxes = [_rounded(box, picture) for box in (detections.boxes * scale).tolist()]
    for box in reversed(boxes):
        _outline(picture, box, pen)
    texts = [f"{score:.2f}" for score in detections.scores.tolist()]
    _write_scores(picture, boxes, texts, pen, others=true_boxes)
    return np.vstack([picture, _strip(picture.shape[1], caption, pen, with_legend=truths is not None)])


def _scale(longest: int) -> float:
    return min(1.0, LARGEST_SIDE / longest) if longest >= SMALLEST_SIDE else SMALLEST_SIDE / longest


def _rounded(box: Sequence[float], picture: np.ndarray) -> Rectangle:
    """Corner pixels of a box, inside the picture."""
    height, width = picture.shape[:2]
    x1, y1, x2, y2 = (round(value) for value in box)
    return min(max(x1, 0), width - 1), min(max(y1, 0), height - 1), min(x2, width) - 1, min(y2, height) - 1


def _outline(picture: np.ndarray, box: Rectangle, pen: _Pen) -> None:
    for colour, thickness in ((_BLACK, pen.line + 2), (DETECTION_COLOUR, pen.line)):
        cv2.rectangle(picture, box[:2], box[2:], colour, thickness)


def _dashed(picture: np.ndarray, box: Rectangle, pen: _Pen) -> None:
    x1, y1, x2, y2 = box
    corners = [(x1, y1), (x2, y1), (x2, y2), (x1, y2)]
    for colour, thickness in ((_BLACK, pen.line + 2), (TRUTH_COLOUR, pen.line)):
        for start, end in zip(corners, [*corners[1:], corners[0]], strict=True):
            _dashes(picture, start, end, colour, thickness, length=7 * pen.line)


def _dashes(
    picture: np.ndarray, start: tuple[int, int], end: tuple[int, int], colour: Colour, thickness: int, *, length: int
) -> None:
    """A dashed line that starts and ends with a dash, to close the corners."""
    first, last = np.array(start, float), np.array(end, float)
    count = max(1, round(float(np.abs(last - first).max()) / (2 * length)))
    edges = np.linspace(0, 1, 2 * count + 2)
    for a, b in zip(edges[0::2], edges[1::2], strict=True):
        begin, finish = (tuple(int(v) for v in np.rint(first + t * (last - first))) for t in (a, b))
        cv2.line(picture, begin, finish, colour, thickness)


def _write_scores(
    picture: np.ndarray, boxes: Sequence[Rectangle], texts: Sequence[str], pen: _Pen, *, others: Sequence[Rectangle]
) -> None:
    """Next to the boxes of highest score: more scores would be illegible."""
    taken: list[Rectangle] = []
    around = np.array([*boxes, *others], np.int64).reshape(-1, 4)
    for box, text in list(zip(boxes, texts, strict=True))[:MOST_SCORES]:
        places = _places(pen.size(text), box, picture.shape[:2], margin=2 * pen.line + 2)
        # Over as little as possible of any box, and of other scores above all.
        hidden = 100 * _overlaps(places, np.array(taken, np.int64).reshape(-1, 4)) + _overlaps(places, around)
        left, top, right, bottom = places[int(hidden.argmin())].tolist()
        taken.append((left, top, right, bottom))
        _write(picture, text, taken[-1], DETECTION_COLOUR, pen)


def _places(size: tuple[int, int], box: Rectangle, shape: Sequence[int], *, margin: int) -> Int[np.ndarray, "places 4"]:
    """Places for a score, best first: above its box, below, at its sides, inside; all within the picture."""
    (width, height), (x1, y1, x2, y2) = size, box
    corners = [(left, top) for top in (y1 - margin - height, y2 + margin) for left in (x1, x2 - width)]
    corners += [(left, top) for left in (x2 + margin, x1 - margin - width) for top in (y1, y2 - height)]
    corners += [(x, y) for y in (y1 + margin, y2 - margin - height) for x in (x1 + margin, x2 - margin - width)]
    last = np.maximum(np.array([shape[1] - width, shape[0] - height]), 0)
    first = np.clip(np.array(corners), 0, last)
    return np.concatenate([first, np.add(first, [width, height])], axis=1)


def _overlaps(
    places: Int[np.ndarray, "places 4"], rectangles: Int[np.ndarray, "rectangles 4"]
) -> Int[np.ndarray, " places"]:
    """Area of each place that all rectangles together cover, in pixels."""
    near = np.maximum(places[:, None, :2], rectangles[None, :, :2])
    far = np.minimum(places[:, None, 2:], rectangles[None, :, 2:])
    return np.asarray((far - near).clip(min=0).prod(axis=2).sum(axis=1))


def _write(picture: np.ndarray, text: str, place: Rectangle, colour: Colour, pen: _Pen) -> None:
    """Letters with a black edge, dilated from the letters: thicker letters would have another spacing."""
    (width, height), below = cv2.getTextSize(text, _FONT, pen.letters, pen.line)
    edge = pen.line + 1
    letters = np.zeros((height + below + 2 * edge, width + 2 * edge), np.uint8)
    cv2.putText(letters, text, (edge, edge + height), _FONT, pen.letters, 255, pen.line, cv2.LINE_AA)
    grown = cv2.dilate(letters, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * edge - 1, 2 * edge - 1)))
    top, left = max(place[1] - edge, 0), max(place[0] - edge, 0)
    part = picture[top : top + letters.shape[0], left : left + letters.shape[1]]
    for mask, shade in ((grown, _BLACK), (letters, colour)):
        share = mask[: part.shape[0], : part.shape[1], None] / np.float32(255)
        part[:] = np.rint(part * (1 - share) + np.array(shade, np.float32) * share)


def _strip(width: int, caption: Sequence[str], pen: _Pen, *, with_legend: bool) -> np.ndarray:
    """The caption and the legend below the radiograph, on as many lines as they need."""
    parts = [(text, _WHITE) for text in caption]
    parts += [("solid: predicted, with score", DETECTION_COLOUR)]
    parts += [("dashed: labelled", TRUTH_COLOUR)] if with_legend else []
    parts += [(DISCLAIMER, _WHITE)]
    pen = _fitting(pen, [text for text, _ in parts], width)
    gap, line_height = pen.size("0")[0], round(1.5 * pen.size("0")[1])
    places, x, y = [], gap, 0
    for text, colour in parts:
        length = pen.size(text)[0]
        if x > gap and x + length + gap > width:
            x, y = gap, y + line_height
        places.append((text, colour, x, y))
        x += length + 2 * gap
    strip = np.full((y + line_height + gap, width, 3), _STRIP, np.uint8)
    for text, colour, left, top in places:
        _write(strip, text, (left, top + gap, 0, 0), colour, pen)
    return strip


def _fitting(pen: _Pen, texts: Sequence[str], width: int) -> _Pen:
    """A pen with letters small enough for the longest part to fit on one line."""
    longest = max(pen.size(text)[0] for text in [*texts, "0"]) + 2 * pen.size("0")[0]
    return pen if longest <= width else _Pen(line=1, letters=pen.letters * width / longest)
