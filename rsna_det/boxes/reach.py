"""Which label boxes the anchors of a pyramid can learn at all."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torchvision.ops import box_iou

from rsna_det.boxes.anchors import ANCHORS_PER_CELL, pyramid_anchors


def best_anchor_ious(
    *,
    boxes: Float[Tensor, "boxes 4"],
    image_size: int,
    feature_sizes: Sequence[tuple[int, int]],
    levels: Sequence[int],
) -> Float[Tensor, " boxes"]:
    """The highest IoU of each box with any anchor; one without area has 0.

    Only the anchors of the cell that holds a box's centre are compared: of anchors of one shape, none overlaps the box
    by more than the one whose centre is nearest on both axes. A box is learnt if its IoU reaches
    :data:`~rsna_det.boxes.matching.POSITIVE_FROM_IOU`.

    Args:
        boxes: ``x1, y1, x2, y2`` in network pixels.
        image_size: side of the square image in network pixels.
        feature_sizes: height and width of each level's map.
        levels: numbers of the levels, 2 for P2.
    """
    anchors = pyramid_anchors(image_size=image_size, feature_sizes=feature_sizes, levels=levels)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    best = boxes.new_zeros(len(boxes))
    first = 0
    for height, width in feature_sizes:
        column = (centres[:, 0] * width / image_size).floor().long().clamp(0, width - 1)
        row = (centres[:, 1] * height / image_size).floor().long().clamp(0, height - 1)
        cell = first + ANCHORS_PER_CELL * (row * width + column)
        nearest = anchors[cell[:, None] + torch.arange(ANCHORS_PER_CELL)]
        best = best.maximum(box_iou(boxes[:, None], nearest).squeeze(1).amax(dim=1))
        first += ANCHORS_PER_CELL * height * width
    return best
