"""What the data hand to training: samples, batches, and what a batch's boxes mean for the anchors of a network."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import torch
from jaxtyping import Bool, Float, Int, Int8, UInt8
from torch import Tensor

from rsna_det.structures.categories import Category


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
