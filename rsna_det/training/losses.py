"""The multi-task loss: focal for the box class, smooth L1 for the boxes, cross-entropy for the whole image."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy, smooth_l1_loss
from torchvision.ops import sigmoid_focal_loss

from rsna_det.errors import InvalidValueError
from rsna_det.structures import AnchorTargets, BatchTargets, BoxDeltas, HeadOutputs, Losses
from rsna_det.training.targets import batch_targets

LOSS_NAMES = ("box_class", "box_regression", "global_class")
"""The fields of :class:`~rsna_det.structures.Losses`."""

FOCAL_ALPHA = 0.25
FOCAL_GAMMA = 2.0
SMOOTH_L1_BETA = 1 / 9


def image_losses(
    *,
    outputs: HeadOutputs,
    targets: AnchorTargets,
    anchors: Float[Tensor, "anchors 4"],
    boxes: Float[Tensor, "batch boxes 4"],
    categories: Int[Tensor, " batch"],
) -> Losses:
    """The three unweighted losses of each image for targets that were just matched; see :func:`batch_losses`.

    Args:
        outputs: of the network.
        targets: what each anchor should learn.
        anchors: in network pixels.
        boxes: padded label boxes in network pixels, indexed by ``targets.box_index``.
        categories: number of each image's category.
    """
    found = batch_targets(targets, anchors=anchors, boxes=boxes)
    return batch_losses(outputs=outputs, targets=found, categories=categories)


def batch_losses(*, outputs: HeadOutputs, targets: BatchTargets, categories: Int[Tensor, " batch"]) -> Losses:
    """The three unweighted losses of each image, with the published code's numbers; the host waits for nothing.

    An image without boxes has only negative anchors: it adds to the
    box-class loss (paper, section 4.1) and has a regression loss of 0.

    Args:
        outputs: of the network.
        targets: what the anchors should learn, on the device of the outputs.
        categories: number of each image's category.
    """
    positive = targets.labels == 1
    positives = positive.sum(dim=1).clamp(min=1)
    return Losses(
        box_class=_focal_sums(outputs.box_logits.squeeze(-1), positive, ignored=targets.labels < 0) / positives,
        box_regression=_smooth_l1_sums(outputs.box_deltas, targets) / positives,
        global_class=_global_class_loss(outputs.global_logits, categories, like=outputs.box_logits),
    )


def _focal_sums(
    logits: Float[Tensor, "batch anchors"],
    positive: Bool[Tensor, "batch anchors"],
    *,
    ignored: Bool[Tensor, "batch anchors"],
) -> Float[Tensor, " batch"]:
    """Focal loss summed over the anchors that are not ignored."""
    losses = sigmoid_focal_loss(logits, positive.to(logits), alpha=FOCAL_ALPHA, gamma=FOCAL_GAMMA)
    sums: Tensor = losses.masked_fill(ignored, 0).sum(dim=1)
    return sums


def _smooth_l1_sums(deltas: BoxDeltas, targets: BatchTargets) -> Float[Tensor, " batch"]:
    """Smooth L1, averaged over the four coordinates, summed over an image's positive anchors."""
    predicted = deltas.at(image=targets.image, anchor=targets.anchor, windows=targets.windows)
    wanted = targets.deltas.to(predicted)
    losses = smooth_l1_loss(predicted, wanted, beta=SMOOTH_L1_BETA, reduction="none").mean(dim=1)
    return losses.new_zeros(len(targets.labels)).index_add(0, targets.image, losses)


def _global_class_loss(
    logits: Float[Tensor, "batch 3"] | None, categories: Int[Tensor, " batch"], *, like: Tensor
) -> Float[Tensor, " batch"]:
    if logits is None:
        return torch.zeros(len(categories), device=like.device)
    return cross_entropy(logits, categories, reduction="none")


class MultiTaskLoss:
    """The weighted sum of the three losses, averaged over all images of the batch, with and without boxes.

    Args:
        box_class: weight of the focal loss.
        box_regression: weight of the smooth L1 loss.
        global_class: weight of the cross-entropy; 0.1 in the published code.

    Raises:
        InvalidValueError: if a weight is negative, or all are 0.
    """

    def __init__(self, *, box_class: float, box_regression: float, global_class: float) -> None:
        weights = {"box_class": box_class, "box_regression": box_regression, "global_class": global_class}
        if min(weights.values()) < 0 or not any(weights.values()):
            raise InvalidValueError(f"loss weights must be 0 or more and not all 0, got {weights}")
        self.weights = weights

    def __call__(self, losses: Losses) -> Float[Tensor, ""]:
        """The scalar to minimise."""
        # Weights of 0 stay in the sum: distributed training waits for a gradient of every parameter.
        return torch.stack([w * getattr(losses, name).mean() for name, w in self.weights.items()]).sum()
