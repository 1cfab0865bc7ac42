"""What a batch's anchors should learn, found on the CPU before the batch travels to its device."""

from dataclasses import dataclass, replace

from jaxtyping import Bool, Float
from torch import Tensor

from rsna_det.boxes.anchors import pyramid_anchors
from rsna_det.boxes.coding import encode
from rsna_det.boxes.matching import match_anchors
from rsna_det.models.windows import plan_windows
from rsna_det.structures import AnchorTargets, Batch, BatchTargets


@dataclass(frozen=True, kw_only=True)
class TargetMaker:
    """Adds to batches what their boxes mean for the anchors of a network.

    A loader's worker calls it, so that matching takes no time of the training process and the device is never asked
    which anchors are positive.

    Attributes:
        image_size: side of the square images in network pixels.
        feature_sizes: height and width of each pyramid level's map.
        levels: numbers of the levels, 2 for P2.
    """

    image_size: int
    feature_sizes: tuple[tuple[int, int], ...]
    levels: tuple[int, ...]

    def __call__(self, batch: Batch) -> Batch:
        """The batch with its targets, on the CPU."""
        return replace(batch, targets=self.matched(boxes=batch.boxes, box_mask=batch.box_mask))

    def matched(self, *, boxes: Float[Tensor, "batch boxes 4"], box_mask: Bool[Tensor, "batch boxes"]) -> BatchTargets:
        """The targets of a batch, on the CPU.

        Args:
            boxes: padded label boxes in network pixels.
            box_mask: False where ``boxes`` is padded.
        """
        anchors = pyramid_anchors(
            image_size=self.image_size, feature_sizes=self.feature_sizes, levels=self.levels, device="cpu"
        )
        matched = match_anchors(anchors=anchors, boxes=boxes, box_mask=box_mask)
        found = batch_targets(matched, anchors=anchors, boxes=boxes)
        windows = plan_windows(image=found.image.numpy(), anchor=found.anchor.numpy(), feature_sizes=self.feature_sizes)
        return replace(found, windows=windows)


def batch_targets(
    matched: AnchorTargets, *, anchors: Float[Tensor, "anchors 4"], boxes: Float[Tensor, "batch boxes 4"]
) -> BatchTargets:
    """Targets as they travel, of anchors that are matched; without windows.

    Args:
        matched: what each anchor should learn.
        anchors: in network pixels.
        boxes: padded label boxes in network pixels, indexed by ``matched.box_index``.
    """
    image, anchor = (matched.labels == 1).nonzero(as_tuple=True)
    own_boxes = boxes[image, matched.box_index[image, anchor]]
    return BatchTargets(
        labels=matched.labels,
        image=image,
        anchor=anchor,
        deltas=encode(boxes=own_boxes, anchors=anchors[anchor]),
        windows=None,
    )
