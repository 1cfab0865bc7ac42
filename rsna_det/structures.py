"""The nouns of the data flow: what one stage hands to the next.

Every arrow of the flow described in :mod:`rsna_det` is one of these dataclasses. Lists of unequal length are padded
tensors with a boolean mask. "Network pixels" are pixels of the padded square image that the network sees, "source
pixels" those of the radiograph on disk (1024 x 1024 in the challenge). Boxes are always ``x1, y1, x2, y2``.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from enum import IntEnum
from typing import Any, TypeVar

import torch
from jaxtyping import Bool, Float, Int, Int8, UInt8
from torch import Tensor


class Category(IntEnum):
    """The challenge's three categories of a whole image, in the order of the global head's logits."""

    ABNORMAL = 0
    NORMAL = 1
    OPACITY = 2

    @property
    def label(self) -> str:
        """The category's name in the challenge's class table."""
        return CATEGORY_LABELS[self]


CATEGORY_LABELS: dict[Category, str] = {
    Category.ABNORMAL: "No Lung Opacity / Not Normal",
    Category.NORMAL: "Normal",
    Category.OPACITY: "Lung Opacity",
}

UNKNOWN_PATIENT = "image:"
"""Prefix of the placeholder for an unknown true patient; each such image forms a group of its own."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One radiograph as the network sees it, with its labels.

    Attributes:
        image: grey values of the padded square image, after augmentation.
        boxes: label boxes in network pixels, after augmentation, which may have dropped some.
        source_boxes: the challenge's label boxes in source pixels: the ground truth to score against.
        category: category of the whole image.
        image_id: the challenge's ``patientId``, which identifies an image, not a patient.
        source_size: height and width of the radiograph in source pixels.
        fold: the fold that validates the image; -1 outside all folds.
        true_patient: from the patient map; without one, a placeholder derived from the image's id.
    """

    image: UInt8[Tensor, "1 side side"]
    boxes: Float[Tensor, "boxes 4"]
    source_boxes: Float[Tensor, "source_boxes 4"]
    category: Category
    image_id: str
    source_size: tuple[int, int]
    fold: int
    true_patient: str


@dataclass(frozen=True, kw_only=True)
class WindowGroup:
    """Windows of equal size, which a head computes together.

    Attributes:
        height: rows of each.
        width: columns of each.
        corners: level (counted from 0), image, first row and first column of each.
        wanted: number of anchors that are wanted in all of them.
    """

    height: int
    width: int
    corners: tuple[tuple[int, int, int, int], ...]
    wanted: int


@dataclass(frozen=True, kw_only=True)
class Windows:
    """Parts of a pyramid's maps around wanted anchors; see :mod:`rsna_det.models.windows`.

    Attributes:
        groups: of windows; what they hold is known without asking the device.
        places: of each wanted anchor, group by group: window within its group, number within the cell, row and column
            within the window.
        order: where each wanted anchor stands in ``places``.
    """

    groups: tuple[WindowGroup, ...]
    places: Int[Tensor, "4 wanted"]
    order: Int[Tensor, " wanted"]

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> "Windows":
        """The same with its tensors on ``device``."""
        return _mapped(self, lambda tensor: tensor.to(device, non_blocking=non_blocking))


@dataclass(frozen=True, kw_only=True)
class BatchTargets:
    """What the anchors of a batch should learn, as it travels to the device.

    Which anchors are positive is known before: a device that is asked for it keeps the host waiting.

    Attributes:
        labels: 1 positive, 0 negative, -1 ignored.
        image: number of each positive anchor's image within the batch.
        anchor: number of each positive anchor; they are in the order of images and anchors.
        deltas: of each positive anchor to its box, as :mod:`rsna_det.boxes.coding` encodes it.
        windows: around the positive anchors; None where the network is asked for single anchors.
    """

    labels: Int8[Tensor, "batch anchors"]
    image: Int[Tensor, " positives"]
    anchor: Int[Tensor, " positives"]
    deltas: Float[Tensor, "positives 4"]
    windows: Windows | None

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> "BatchTargets":
        """The same with its tensors on ``device``."""
        return _mapped(self, lambda tensor: tensor.to(device, non_blocking=non_blocking))


_ON_HOST = frozenset({"boxes", "box_mask", "source_boxes", "source_box_mask"})


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Stacked samples, their boxes padded to the longest list (see :class:`Sample` for the fields).

    Padded rows of ``boxes`` and ``source_boxes`` are zero, and False in their mask.

    Attributes:
        targets: what the boxes mean for the anchors of a network; None where no network is known.
    """

    images: UInt8[Tensor, "batch 1 side side"]
    boxes: Float[Tensor, "batch boxes 4"]
    box_mask: Bool[Tensor, "batch boxes"]
    source_boxes: Float[Tensor, "batch source_boxes 4"]
    source_box_mask: Bool[Tensor, "batch source_boxes"]
    categories: Int[Tensor, " batch"]
    source_sizes: Int[Tensor, "batch 2"]
    image_ids: tuple[str, ...]
    folds: tuple[int, ...]
    true_patients: tuple[str, ...]
    targets: BatchTargets | None = None

    def __len__(self) -> int:
        return len(self.image_ids)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> "Batch":
        """The batch with what a network and its losses need on ``device``.

        Label boxes stay where they are: anchors are matched to them, and detections scored against them, on the CPU.
        """
        return _mapped(self, lambda tensor: tensor.to(device, non_blocking=non_blocking), without=_ON_HOST)

    def pin_memory(self) -> "Batch":
        """The batch with what travels in page-locked memory, for asynchronous copies to a GPU."""
        return _mapped(self, lambda tensor: tensor.pin_memory(), without=_ON_HOST)


_Noun = TypeVar("_Noun", Batch, BatchTargets, Windows)


def _mapped(node: _Noun, function: Callable[[Tensor], Tensor], *, without: frozenset[str] = frozenset()) -> _Noun:
    """A dataclass with a function of its tensors and of those in the dataclasses that it holds."""
    changed: dict[str, Any] = {}
    for field in fields(node):
        value = getattr(node, field.name)
        if field.name not in without and isinstance(value, Tensor):
            changed[field.name] = function(value)
        elif isinstance(value, BatchTargets | Windows):
            changed[field.name] = _mapped(value, function)  # type: ignore[type-var]
    return replace(node, **changed)


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


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """The highest-scoring decoded boxes of each image before NMS, by descending score.

    Attributes:
        boxes: in source pixels, clipped to the radiograph; zero where padded.
        scores: zero where padded.
        mask: False where padded.
        counts_before_cap: candidates above the score floor, before the cap on their number.
    """

    boxes: Float[Tensor, "batch candidates 4"]
    scores: Float[Tensor, "batch candidates"]
    mask: Bool[Tensor, "batch candidates"]
    counts_before_cap: Int[Tensor, " batch"]


@dataclass(frozen=True, kw_only=True)
class Detections:
    """The final boxes of one image in source pixels, by descending score."""

    boxes: Float[Tensor, "detections 4"]
    scores: Float[Tensor, " detections"]
