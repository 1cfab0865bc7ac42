"""From head outputs to the final boxes of one image, one box at a time.

Source: the published code, as one chain: scores above a floor, the best of an image, decoding, radiograph's pixels,
non-maximum suppression, a cut relative to the best score, an absolute cut.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from tests.oracles.coding import decode
from tests.oracles.losses import log_sigmoid
from tests.oracles.matching import exact_iou


@dataclass(frozen=True, kw_only=True)
class ImageCandidates:
    """Candidates of one image in falling order of score; ``count`` is their number before the cap."""

    boxes: list[list[float]]
    scores: list[float]
    anchor_index: list[int]
    count: int


def score_of(logit: float) -> float:
    """Sigmoid as single precision stores it: two logits beyond its resolution have equal scores."""
    return float(np.float32(np.exp(np.float64(log_sigmoid(float(logit))))))


def to_source(*, box: Sequence[float], image_size: int, source_size: tuple[int, int]) -> list[float]:
    """A box of the padded square image in the radiograph's own pixels, clipped to the radiograph.

    The longer side fills the square and the content lies at the top left, so both axes have one factor.
    """
    height, width = source_size
    factor = max(height, width) / image_size
    limits = (width, height, width, height)
    return [min(max(value * factor, 0.0), float(limit)) for value, limit in zip(box, limits, strict=True)]


def candidates(
    *,
    logits: Sequence[float],
    deltas: Sequence[Sequence[float]],
    anchors: Sequence[Sequence[float]],
    image_size: int,
    source_size: tuple[int, int],
    score_floor: float,
    max_candidates: int,
) -> ImageCandidates:
    """Score > floor, the best ``max_candidates`` (of equals the lower anchor), decoded; without area is left out."""
    scores = [score_of(logit) for logit in logits]
    above = [index for index in range(len(scores)) if scores[index] > score_floor]
    best_first = sorted(above, key=lambda index: (-scores[index], index))
    found = ImageCandidates(boxes=[], scores=[], anchor_index=[], count=len(above))
    for index in best_first[:max_candidates]:
        decoded = decode(deltas=deltas[index], anchor=anchors[index])
        box = to_source(box=decoded, image_size=image_size, source_size=source_size)
        if box[2] > box[0] and box[3] > box[1]:
            found.boxes.append(box)
            found.scores.append(scores[index])
            found.anchor_index.append(index)
    return found


def detections(
    *,
    boxes: Sequence[Sequence[float]],
    scores: Sequence[float],
    nms_iou: float,
    relative_cut: float,
    cut: float,
) -> list[int]:
    """Rows of the final boxes, best first (of equals the first row).

    A box goes if its IoU with a better box that stays is greater than ``nms_iou``, then if its score is less than
    ``relative_cut`` times the best one, then unless its score is greater than ``cut``. A setting means the decimal
    number that was written, not the nearest binary one.
    """
    limit, share, lowest = (Fraction(str(value)) for value in (nms_iou, relative_cut, cut))
    kept: list[int] = []
    for index in sorted(range(len(scores)), key=lambda row: (-scores[row], row)):
        if all(exact_iou(boxes[index], boxes[better]) <= limit for better in kept):
            kept.append(index)
    if not kept:
        return []
    best = Fraction(float(scores[kept[0]]))
    kept = [index for index in kept if Fraction(float(scores[index])) >= share * best]
    return [index for index in kept if Fraction(float(scores[index])) > lowest]
