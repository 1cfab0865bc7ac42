"""From anchors and label boxes to what each anchor should learn, for a whole batch at once."""

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
    """Give each anchor the box that it overlaps most, or none.

    An anchor is positive from IoU 0.5, negative below 0.4 and ignored between (published code's numbers). No box is
    given an anchor by force: one that no anchor fits goes unlearnt. Boxes without area match nothing.

    Args:
        anchors: ``x1, y1, x2, y2`` in network pixels.
        boxes: likewise, padded.
        box_mask: False where a row of ``boxes`` is padding.
    """
    batch, num_boxes = box_mask.shape
    if num_boxes == 0:
        nothing = torch.zeros(batch, len(anchors), dtype=torch.long, device=anchors.device)
        return AnchorTargets(labels=nothing.to(torch.int8), box_index=nothing)
    iou = box_iou(boxes, anchors.expand(batch, -1, -1))
    # A padded row's area is 0, and 0 / 0 against nothing is not reachable since anchors have area.
    iou = iou.masked_fill_(~box_mask[..., None], 0)
    best_iou, box_index = iou.max(dim=1)
    labels = torch.full_like(best_iou, -1, dtype=torch.int8)
    labels[best_iou < NEGATIVE_BELOW_IOU] = 0
    labels[best_iou >= POSITIVE_FROM_IOU] = 1
    return AnchorTargets(labels=labels, box_index=box_index)
