"""Anchors and label boxes -> what each anchor should learn, for a whole batch at once."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torchvision.ops import box_iou

from rsna_det.structures import AnchorTargets

NEGATIVE_BELOW_IOU = 0.4
POSITIVE_FROM_IOU = 0.5


def match_anchors(
    *,
    anchors: Float[Tensor, "anchors 4"],
    boxes: Float[Tensor, "batch boxes 4"],
    box_mask: Bool[Tensor, "batch boxes"],
) -> AnchorTargets:
    """Assign each anchor the box of highest IoU, or none.

    An anchor is positive from IoU 0.5, negative below 0.4 and ignored in between (numbers of the published code). No
    anchor is forced upon a box, so a box that fits no anchor is not learnt. Boxes without area match nothing.

    Args:
        anchors: ``x1, y1, x2, y2`` in network pixels.
        boxes: likewise, padded.
        box_mask: False where ``boxes`` is padded.
    """
    batch, num_boxes = box_mask.shape
    if num_boxes == 0:
        nothing = torch.zeros(batch, len(anchors), dtype=torch.long, device=anchors.device)
        return AnchorTargets(labels=nothing.to(torch.int8), box_index=nothing)
    iou = box_iou(boxes, anchors.expand(batch, -1, -1))
    # A padded row has no area; anchors always have some, so no IoU is 0 / 0.
    iou = iou.masked_fill_(~box_mask[..., None], 0)
    best_iou, box_index = iou.max(dim=1)
    labels = torch.full_like(best_iou, -1, dtype=torch.int8)
    labels[best_iou < NEGATIVE_BELOW_IOU] = 0
    labels[best_iou >= POSITIVE_FROM_IOU] = 1
    return AnchorTargets(labels=labels, box_index=box_index)
