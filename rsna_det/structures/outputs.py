"""What networks hand out, what their anchors should learn, and the losses between the two."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int, Int8
from torch import Tensor

from rsna_det.structures.batches import Windows


class BoxDeltas(ABC):
    """The box of every anchor relative to it, as :mod:`rsna_det.boxes.coding` encodes it.

    Only some anchors' boxes are ever needed, the positive ones' in training and the candidates' in prediction, and a
    network computes a third of its operations for all of them.
    """

    @abstractmethod
    def at(
        self, *, image: Int[Tensor, " wanted"], anchor: Int[Tensor, " wanted"], windows: Windows | None = None
    ) -> Float[Tensor, "wanted 4"]:
        """The boxes of some anchors, on the device of the network's outputs.

        Args:
            image: number of the image within the batch.
            anchor: number of the anchor.
            windows: around these anchors, on the device of the outputs, so that the host need not read the numbers.
        """

    @abstractmethod
    def dense(self) -> Float[Tensor, "batch anchors 4"]:
        """The boxes of all anchors."""


@dataclass(frozen=True, kw_only=True)
class DenseDeltas(BoxDeltas):
    """Boxes that are there for all anchors.

    Attributes:
        values: relative to each anchor.
    """

    values: Float[Tensor, "batch anchors 4"]

    def at(
        self,
        *,
        image: Int[Tensor, " wanted"],
        anchor: Int[Tensor, " wanted"],
        windows: Windows | None = None,  # noqa: ARG002
    ) -> Float[Tensor, "wanted 4"]:
        """See :meth:`BoxDeltas.at`."""
        device = self.values.device
        return self.values[image.to(device, non_blocking=True), anchor.to(device, non_blocking=True)]

    def dense(self) -> Float[Tensor, "batch anchors 4"]:
        """See :meth:`BoxDeltas.dense`."""
        return self.values


@dataclass(frozen=True, kw_only=True)
class HeadOutputs:
    """The network's outputs for every anchor and for the whole image, before decoding.

    Attributes:
        box_logits: logit of an opacity at the anchor.
        box_deltas: box relative to its anchor.
        global_logits: logits of the three categories; None without the global head.
        feature_sizes: height and width of each pyramid level's map, finest first, from which the anchors are laid out.
    """

    box_logits: Float[Tensor, "batch anchors 1"]
    box_deltas: BoxDeltas
    global_logits: Float[Tensor, "batch 3"] | None
    feature_sizes: tuple[tuple[int, int], ...]

    def finite_images(self, boxes: Float[Tensor, "batch boxes 4"]) -> Bool[Tensor, " batch"]:
        """For which images all outputs are finite.

        Args:
            boxes: those made of ``box_deltas``, or its values, wherever they were needed.
        """
        parts = [self.box_logits, boxes, self.global_logits]
        finite = [part.isfinite().flatten(1).all(dim=1) for part in parts if part is not None]
        device = self.box_logits.device
        return torch.stack([of_part.to(device, non_blocking=True) for of_part in finite]).all(dim=0)


@dataclass(frozen=True, kw_only=True)
class AnchorTargets:
    """What each anchor should learn.

    Attributes:
        labels: 1 positive, 0 negative, -1 ignored.
        box_index: row of a positive anchor's box in the image's padded boxes; undefined for other anchors.
    """

    labels: Int8[Tensor, "batch anchors"]
    box_index: Int[Tensor, "batch anchors"]


@dataclass(frozen=True, kw_only=True)
class Losses:
    """The unweighted terms of the multi-task loss: one value per image, or their means as scalars."""

    box_class: Float[Tensor, " *batch"]
    box_regression: Float[Tensor, " *batch"]
    global_class: Float[Tensor, " *batch"]
