"""Anchors and label boxes -> what each anchor should learn, for a whole batch at once."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torchvision.ops import box_iou

from rsna_det.boxes.geometry import area
from rsna_det.structures import AnchorTargets

NEGATIVE_BELOW_IOU = 0.4
POSITIVE_FROM_IOU = 0.5
_MARGIN = 1e-3


def match_anchors(
    *,
    anchors: Float[Tensor, "anchors 4"],
    boxes: Float[Tensor, "batch boxes 4"],
    box_mask: Bool[Tensor, "batch boxes"],
) -> AnchorTargets:
    """Assign each anchor the box of highest IoU, or none.

    An anchor is positive from IoU 0.5, negative below 0.4 and ignored in between (numbers of the published code). No
    anchor is forced upon a box, so a box that fits no anchor is not learnt. Boxes without area match nothing. For the
    CPU: a loader's worker calls it.

    Args:
        anchors: ``x1, y1, x2, y2`` in network pixels.
        boxes: likewise, padded.
        box_mask: False where ``boxes`` is padded.
    """
    labels = torch.zeros(len(boxes), len(anchors), dtype=torch.int8, device=anchors.device)
    box_index = torch.zeros(labels.shape, dtype=torch.long, device=anchors.device)
    areas = area(anchors)
    for image in box_mask.any(dim=1).nonzero().flatten().tolist():
        best_iou = anchors.new_zeros(len(anchors))
        for row in box_mask[image].nonzero().flatten().tolist():
            box = boxes[image, row]
            near = _may_match(box, anchors, areas)
            iou = box_iou(box[None], anchors[near])[0]
            better = iou > best_iou[near]
            best_iou[near[better]] = iou[better]
            box_index[image, near[better]] = row
        labels[image, best_iou >= NEGATIVE_BELOW_IOU] = -1
        labels[image, best_iou >= POSITIVE_FROM_IOU] = 1
    return AnchorTargets(labels=labels, box_index=box_index)


def _may_match(
    box: Float[Tensor, " 4"], anchors: Float[Tensor, "anchors 4"], areas: Float[Tensor, " anchors"]
) -> Int[Tensor, " near"]:
    """Anchors among which are all that are not negative: of two boxes with an IoU, the areas differ by no more."""
    least = NEGATIVE_BELOW_IOU - _MARGIN
    own = area(box)
    alike = ((areas > least * own) & (areas * least < own)).nonzero().flatten()
    x1, y1, x2, y2 = anchors[alike].unbind(dim=1)
    return alike[(x1 < box[2]) & (x2 > box[0]) & (y1 < box[3]) & (y2 > box[1])]
