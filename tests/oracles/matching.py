"""Which box each anchor should learn, one anchor at a time, in exact rational arithmetic.

Source: the published code. IoU without "+1"; an anchor is negative below 0.4, positive from 0.5 and ignored between;
no box forces its best anchor.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

NEGATIVE_BELOW = Fraction(4, 10)
POSITIVE_FROM = Fraction(5, 10)


def exact_area(box: Sequence[float]) -> Fraction:
    """Area of ``x1, y1, x2, y2``; 0 for a box without width or height."""
    left, top, right, bottom = (Fraction(float(value)) for value in box)
    return max(right - left, Fraction(0)) * max(bottom - top, Fraction(0))


def exact_iou(first: Sequence[float], second: Sequence[float]) -> Fraction:
    """Intersection over union of the numbers as stored, without rounding; 0 where nothing overlaps."""
    left, top = max(first[0], second[0]), max(first[1], second[1])
    right, bottom = min(first[2], second[2]), min(first[3], second[3])
    if right <= left or bottom <= top:
        return Fraction(0)
    shared = exact_area((left, top, right, bottom))
    return shared / (exact_area(first) + exact_area(second) - shared)


@dataclass(frozen=True, kw_only=True)
class Match:
    """One anchor's target.

    Attributes:
        label: 1 positive, 0 negative, -1 ignored.
        box: row of the best box (of equals the first); None without any box.
        iou: that box's IoU.
        lead: by how much it leads over the next best box.
    """

    label: int
    box: int | None
    iou: Fraction
    lead: Fraction


def match_anchor(*, anchor: Sequence[float], boxes: Sequence[Sequence[float]], mask: Sequence[bool]) -> Match:
    """The target of one anchor among one image's boxes, of which only those with a true ``mask`` exist."""
    best, best_iou, second_iou = None, Fraction(0), Fraction(0)
    for index, (box, exists) in enumerate(zip(boxes, mask, strict=True)):
        if not exists:
            continue
        iou = exact_iou(anchor, box)
        if best is None or iou > best_iou:
            second_iou = best_iou if best is not None else Fraction(0)
            best, best_iou = index, iou
        elif iou > second_iou:
            second_iou = iou
    label = -1
    if best_iou < NEGATIVE_BELOW:
        label = 0
    if best_iou >= POSITIVE_FROM:
        label = 1
    return Match(label=label, box=best, iou=best_iou, lead=best_iou - second_iou)
