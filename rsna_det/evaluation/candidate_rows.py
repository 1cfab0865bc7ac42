"""The candidates of many images as tensors, from the rows of a table."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from rsna_det.errors import DataError


@dataclass(frozen=True, kw_only=True)
class CandidateRows:
    """Candidates of many images, image by image, each by descending score.

    Iterating gives boxes [candidates, 4] and scores [candidates] of each image.

    Attributes:
        boxes: source pixels.
        scores: of the boxes.
        offsets: the candidates of image ``i`` are the rows from ``offsets[i]`` to ``offsets[i + 1]``.
    """

    boxes: Float[Tensor, "rows 4"]
    scores: Float[Tensor, " rows"]
    offsets: Int[Tensor, " images_and_one"]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        sizes = self.offsets.diff().tolist()
        return zip(torch.split(self.boxes, sizes), torch.split(self.scores, sizes), strict=True)


def candidate_rows(frame: pd.DataFrame, image_ids: Sequence[str]) -> CandidateRows:
    """The candidates of the given images in their order; those of other images are left out.

    Args:
        frame: rows of :data:`~rsna_det.evaluation.tables.CANDIDATES_SCHEMA`.
        image_ids: each once; an image without rows has no candidates.

    Raises:
        DataError: if an image's rows are not sorted by score.
    """
    ids = frame["image_id"].astype("category")
    wanted = pd.Index(image_ids).get_indexer(ids.cat.categories)
    owners = np.append(wanted, -1)[ids.cat.codes.to_numpy()]
    order = np.argsort(owners, kind="stable")
    order = order[np.count_nonzero(owners < 0) :]
    owners = owners[order]
    scores = frame["score"].to_numpy(np.float32)[order]
    rising = np.flatnonzero((np.diff(owners) == 0) & ~(np.diff(scores) <= 0))
    if len(rising):
        name = image_ids[owners[rising[0]]]
        raise DataError(f"the candidates of {name} are not sorted by score: the table was changed, make it again")
    boxes = np.stack([frame[name].to_numpy(np.float32)[order] for name in ("x1", "y1", "x2", "y2")], axis=1)
    offsets = np.searchsorted(owners, np.arange(len(image_ids) + 1))
    return CandidateRows(
        boxes=torch.from_numpy(boxes), scores=torch.from_numpy(scores), offsets=torch.from_numpy(offsets)
    )


def joined_rows(parts: Sequence[CandidateRows]) -> CandidateRows:
    """The candidates of several lists of images, list by list."""
    sizes = torch.cat([part.offsets.diff() for part in parts])
    return CandidateRows(
        boxes=torch.cat([part.boxes for part in parts]),
        scores=torch.cat([part.scores for part in parts]),
        offsets=torch.cat([sizes.new_zeros(1), sizes.cumsum(dim=0)]),
    )
