"""One image of the frame -> :class:`Sample`; samples -> :class:`Batch`."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.utils.data import Dataset

from rsna_det.data.augmentation.presets import Augmentation
from rsna_det.data.cache.pixels import PixelSource
from rsna_det.data.cache.resize import square_scale
from rsna_det.structures import Batch, Category, Sample


class RadiographDataset(Dataset[Sample]):
    """The images of a frame as samples.

    Args:
        images: columns ``image_id``, ``category``, ``boxes`` (source pixels), ``true_patient``, ``fold``, ``width``
            and ``height`` (source pixels).
        pixels: where the squares of grey values come from.
        image_size: side of those squares in network pixels.
        augmentation: changes image and boxes; None for no change.

    Raises:
        ValueError: the pixel source has squares of another size.
    """

    def __init__(
        self,
        *,
        images: pd.DataFrame,
        pixels: PixelSource,
        image_size: int,
        augmentation: Augmentation | None,
    ) -> None:
        if pixels.side != image_size:
            raise ValueError(f"the pixel source has squares of {pixels.side} px, data.image_size is {image_size}")
        self.images = images.reset_index(drop=True)
        self.pixels = pixels
        self.image_size = image_size
        self.augmentation = augmentation
        # Getting one row from a frame takes longer than reading a cached image.
        self._rows = self.images.to_dict("records")

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        """The sample of ``(index, augmentation seed)``, as :class:`rsna_det.data.sampling.EpochSampler` yields it."""
        index, seed = key
        row = self._rows[index]
        size = (int(row["height"]), int(row["width"]))
        source_boxes = np.asarray(row["boxes"], dtype=np.float32)
        image = self.pixels.read(row["image_id"])
        boxes = network_boxes(source_boxes, source_size=size, image_size=self.image_size)
        if self.augmentation is not None:
            image, boxes = self.augmentation(image, boxes, seed)
        return Sample(
            # A copy: a cache lends a read-only view of its file.
            image=torch.from_numpy(np.array(image))[None],
            boxes=torch.from_numpy(boxes),
            source_boxes=torch.from_numpy(source_boxes.copy()),
            category=Category(row["category"]),
            image_id=row["image_id"],
            source_size=size,
            fold=int(row["fold"]),
            true_patient=row["true_patient"],
        )


def network_boxes(
    source_boxes: Float[np.ndarray, "boxes 4"], *, source_size: tuple[int, int], image_size: int
) -> Float[np.ndarray, "boxes 4"]:
    """Boxes of a radiograph in network pixels.

    Args:
        source_boxes: in source pixels.
        source_size: height and width of the radiograph, source pixels.
        image_size: side of the network's square image.
    """
    return source_boxes * np.float32(square_scale(*source_size, image_size))


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack samples and pad their boxes to the longest list, which may be empty."""
    boxes, box_mask = _pad([sample.boxes for sample in samples])
    source_boxes, source_box_mask = _pad([sample.source_boxes for sample in samples])
    return Batch(
        images=torch.stack([sample.image for sample in samples]),
        boxes=boxes,
        box_mask=box_mask,
        source_boxes=source_boxes,
        source_box_mask=source_box_mask,
        categories=torch.tensor([int(sample.category) for sample in samples]),
        source_sizes=torch.tensor([sample.source_size for sample in samples]),
        image_ids=tuple(sample.image_id for sample in samples),
        folds=tuple(sample.fold for sample in samples),
        true_patients=tuple(sample.true_patient for sample in samples),
    )


def _pad(lists: Sequence[Tensor]) -> tuple[Float[Tensor, "batch boxes 4"], Bool[Tensor, "batch boxes"]]:
    longest = max(len(boxes) for boxes in lists)
    padded = torch.zeros(len(lists), longest, 4)
    mask = torch.zeros(len(lists), longest, dtype=torch.bool)
    for row, boxes in enumerate(lists):
        padded[row, : len(boxes)] = boxes
        mask[row, : len(boxes)] = True
    return padded, mask
