"""The challenge's metric, one prediction at a time, in exact rational arithmetic.

Source: paper, section 3, equation 1, and the challenge's rules. IoU thresholds 0.40, 0.45, ..., 0.75. In order of
falling confidence a prediction is a hit at t if its IoU with an unused true box is greater than t. An image's score is
the mean over t of TP / (TP + FP + FN); the final score the mean over images. An image with neither a true nor a
predicted box is left out; one with no true box and any prediction scores 0.
"""

from collections.abc import Sequence
from fractions import Fraction

from tests.oracles.matching import exact_iou

Boxes = Sequence[Sequence[float]]

THRESHOLDS = tuple(Fraction(percent, 100) for percent in (40, 45, 50, 55, 60, 65, 70, 75))


def hits_at(*, predictions: Boxes, truths: Boxes, threshold: Fraction) -> list[bool]:
    """Whether each prediction, best first, hits; it takes the unused true box of highest IoU (of equals the first)."""
    unused = list(range(len(truths)))
    hits = []
    for prediction in predictions:
        best, best_iou = None, Fraction(-1)
        for index in unused:
            iou = exact_iou(prediction, truths[index])
            if iou > best_iou:
                best, best_iou = index, iou
        hit = best is not None and best_iou > threshold
        if hit:
            unused.remove(best)
        hits.append(hit)
    return hits


def hits(*, predictions: Boxes, truths: Boxes) -> list[list[bool]]:
    """Row by prediction, column by threshold."""
    columns = [hits_at(predictions=predictions, truths=truths, threshold=t) for t in THRESHOLDS]
    return [[column[row] for column in columns] for row in range(len(predictions))]


def image_score(*, predictions: Boxes, truths: Boxes) -> Fraction | None:
    """One image's score; None where the image is left out of the mean."""
    if not truths and not predictions:
        return None
    if not truths:
        return Fraction(0)
    precisions = []
    for threshold in THRESHOLDS:
        true_positives = sum(hits_at(predictions=predictions, truths=truths, threshold=threshold))
        false_positives = len(predictions) - true_positives
        false_negatives = len(truths) - true_positives
        precisions.append(Fraction(true_positives, true_positives + false_positives + false_negatives))
    return sum(precisions, Fraction(0)) / len(precisions)


def challenge_map(*, predictions: Sequence[Boxes], truths: Sequence[Boxes]) -> Fraction | None:
    """Mean over the images that count; None where none does."""
    scores = []
    for image_predictions, image_truths in zip(predictions, truths, strict=True):
        score = image_score(predictions=image_predictions, truths=image_truths)
        if score is not None:
            scores.append(score)
    return sum(scores, Fraction(0)) / len(scores) if scores else None


def challenge_map_at(
    *, predictions: Sequence[Boxes], confidences: Sequence[Sequence[float]], truths: Sequence[Boxes], cut: float
) -> Fraction | None:
    """The score of the predictions whose confidence is greater than ``cut``."""
    kept = [
        [box for box, confidence in zip(boxes, image_confidences, strict=True) if confidence > cut]
        for boxes, image_confidences in zip(predictions, confidences, strict=True)
    ]
    return challenge_map(predictions=kept, truths=truths)
