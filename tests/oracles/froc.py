"""FROC, area under the ROC curve and COCO's average precision by their definitions, one cut at a time."""

import math
from collections.abc import Sequence
from fractions import Fraction

from tests.oracles.matching import exact_iou

Scored = Sequence[tuple[float, bool]]
Boxes = Sequence[Sequence[float]]


def curve(*, boxes: Scored, num_truths: int, num_images: int) -> list[tuple[float, float, float]]:
    """Score, false positives per image and sensitivity at every different score, from the highest."""
    points = []
    for cut in sorted({score for score, _ in boxes}, reverse=True):
        right = sum(1 for score, is_right in boxes if score >= cut and is_right)
        wrong = sum(1 for score, is_right in boxes if score >= cut and not is_right)
        points.append((cut, wrong / num_images, right / num_truths if num_truths else math.nan))
    return points


def sensitivity_at(points: Sequence[tuple[float, float, float]], rate: float) -> float:
    """The best of the cuts that cost no more false positives than ``rate``; NaN where none costs as much."""
    if not any(cost >= rate for _, cost, _ in points):
        return math.nan
    return max((sensitivity for _, cost, sensitivity in points if cost <= rate), default=0.0)


def auc(scores: Sequence[float], has_opacity: Sequence[bool]) -> float:
    """Share of pairs (an image with, one without) that the scores order rightly; a tie is half a pair."""
    positives = [score for score, positive in zip(scores, has_opacity, strict=True) if positive]
    negatives = [score for score, positive in zip(scores, has_opacity, strict=True) if not positive]
    if not positives or not negatives:
        return math.nan
    wins = sum(1.0 if p > n else 0.5 if p == n else 0.0 for p in positives for n in negatives)
    return wins / (len(positives) * len(negatives))


def average_precision(
    *, detections: Sequence[tuple[Boxes, Sequence[float]]], truths: Sequence[Boxes], iou: Fraction
) -> float:
    """COCO's average precision at one IoU.

    Each image's boxes in order of falling score take the unused true box of highest IoU, if it is at least ``iou``.
    The boxes of all images are then ranked; at each recall of 0, 0.01, ..., 1 counts the best precision there or
    beyond.
    """
    ranked: list[tuple[float, bool]] = []
    for (boxes, scores), image_truths in zip(detections, truths, strict=True):
        unused = list(range(len(image_truths)))
        for index in sorted(range(len(boxes)), key=lambda row: -scores[row]):
            overlaps = {truth: exact_iou(boxes[index], image_truths[truth]) for truth in unused}
            best = max(overlaps, key=lambda truth: overlaps[truth], default=None)
            right = best is not None and overlaps[best] >= iou
            if right:
                unused.remove(best)
            ranked.append((scores[index], right))
    ranked.sort(key=lambda entry: -entry[0])
    total, found, points = sum(len(image_truths) for image_truths in truths), 0, []
    for rank, (_, right) in enumerate(ranked, start=1):
        found += right
        points.append((Fraction(found, total), Fraction(found, rank)))
    recalls = [Fraction(percent, 100) for percent in range(101)]
    best_precisions = [max((p for r, p in points if r >= recall), default=Fraction(0)) for recall in recalls]
    return float(sum(best_precisions, Fraction(0)) / 101)
