"""One cell of the grid of epochs, NMS IoUs and cuts at a time: every image decoded and scored anew for each cell."""

from collections.abc import Sequence
from fractions import Fraction

from tests.oracles import decoding, metric

Boxes = Sequence[Sequence[float]]
ImageRows = tuple[Boxes, Sequence[float]]


def rescaled(*, box: Sequence[float], factor: float) -> list[float]:
    """A box of ``factor`` times the width and height about the same centre."""
    corners, result = [Fraction(float(value)) for value in box], [0.0] * 4
    for low, high in ((0, 2), (1, 3)):
        centre, size = (corners[low] + corners[high]) / 2, (corners[high] - corners[low]) * Fraction(str(factor))
        result[low], result[high] = float(centre - size / 2), float(centre + size / 2)
    return result


def final_boxes(
    *, image: ImageRows, nms_iou: float, relative_cut: float, cut: float, rescale_factor: float
) -> tuple[list[list[float]], list[float]]:
    """Boxes and scores after NMS, relative cut and cut, the sizes corrected last."""
    boxes, scores = image
    kept = decoding.detections(boxes=boxes, scores=scores, nms_iou=nms_iou, relative_cut=relative_cut, cut=cut)
    return [rescaled(box=boxes[row], factor=rescale_factor) for row in kept], [scores[row] for row in kept]


def image_scores(
    *,
    images: Sequence[ImageRows],
    truths: Sequence[Boxes],
    nms_iou: float,
    relative_cut: float,
    cut: float,
    rescale_factor: float,
) -> list[Fraction | None]:
    """Score of each image; None where it does not count."""
    scores = []
    for image, image_truths in zip(images, truths, strict=True):
        boxes, _ = final_boxes(
            image=image, nms_iou=nms_iou, relative_cut=relative_cut, cut=cut, rescale_factor=rescale_factor
        )
        scores.append(metric.image_score(predictions=boxes, truths=image_truths))
    return scores


def cell(scores: Sequence[Fraction | None], group: Sequence[bool]) -> tuple[Fraction, int]:
    """Sum and count of the images of a group that count."""
    counting = [score for score, member in zip(scores, group, strict=True) if member and score is not None]
    return sum(counting, Fraction(0)), len(counting)
