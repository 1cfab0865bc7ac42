"""Evaluation by plain loops: the grid, the honest choice, the bootstrap, FROC and ROC.

Sources: paper, sections 3 and 6, and the textbook definitions.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction

from tests.oracles.decoding import detections
from tests.oracles.matching import exact_iou
from tests.oracles.metric import Boxes, challenge_map, image_score


def cell(
    *,
    candidates: Sequence[tuple[Boxes, Sequence[float]]],
    truths: Sequence[Boxes],
    nms_iou: float,
    relative_cut: float,
    cut: float,
    factor: Fraction = Fraction(1),
) -> Fraction | None:
    """The challenge's score of all images at one NMS IoU and one cut."""
    return challenge_map(
        predictions=[
            resized(
                [
                    boxes[i]
                    for i in detections(boxes=boxes, scores=scores, nms_iou=nms_iou, relative_cut=relative_cut, cut=cut)
                ],
                factor,
            )
            for boxes, scores in candidates
        ],
        truths=truths,
    )


def resized(boxes: Boxes, factor: Fraction) -> Boxes:
    """Width and height times the factor, about the centre."""
    smaller = []
    for x1, y1, x2, y2 in ([Fraction(float(value)) for value in box] for box in boxes):
        across, down = (x2 - x1) * (1 - factor) / 2, (y2 - y1) * (1 - factor) / 2
        smaller.append([x1 + across, y1 + down, x2 - across, y2 - down])
    return smaller


def choose_and_report(
    *, scores: Mapping[tuple[int, float], Sequence[float | None]], chosen_on: Sequence[int], reported_on: Sequence[int]
) -> tuple[tuple[int, float], float]:
    """The (epoch, cut) of highest mean over some images (of equals the first), and its mean over others."""

    def mean(values: Sequence[float | None], images: Sequence[int]) -> float:
        known = [values[i] for i in images if values[i] is not None]
        return sum(known) / len(known) if known else float("-inf")

    best = None
    for name, values in scores.items():
        if best is None or mean(values, chosen_on) > mean(scores[best], chosen_on):
            best = name
    return best, mean(scores[best], reported_on)


def froc(
    *, found: Sequence[tuple[Boxes, Sequence[float]]], truths: Sequence[Boxes]
) -> list[tuple[float, float, float]]:
    """(score, false positives per image, sensitivity) for each different score, from the highest."""
    different = sorted({score for _, scores in found for score in scores}, reverse=True)
    total = sum(map(len, truths))
    points = []
    for lowest in different:
        right = wrong = 0
        for (boxes, scores), true_boxes in zip(found, truths, strict=True):
            unused = list(true_boxes)
            for box, score in zip(boxes, scores, strict=True):
                if score < lowest:
                    continue
                best = max(unused, key=lambda truth: exact_iou(box, truth), default=None)
                if best is not None and exact_iou(box, best) > Fraction(40, 100):
                    unused.remove(best)
                    right += 1
                else:
                    wrong += 1
        points.append((lowest, wrong / len(found), right / total))
    return points


def auc(scores: Sequence[float], positive: Sequence[bool]) -> float:
    """Share of pairs of a positive and a negative in the right order; equal scores count half."""
    pairs = [
        (p > n) + (p == n) / 2
        for p, is_positive in zip(scores, positive, strict=True)
        for n, is_other_positive in zip(scores, positive, strict=True)
        if is_positive and not is_other_positive
    ]
    return sum(pairs) / len(pairs)


__all__ = ["auc", "cell", "choose_and_report", "froc", "image_score", "resized"]
