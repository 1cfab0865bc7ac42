"""The challenge's score for every epoch, NMS IoU and cut at once (paper, section 6 and figure 8).

Exact for the stored candidates. Two things make it fast: detections of lower score never change what a detection hits,
so one NMS serves all cuts; and the highest candidate alone decides whether an image without true boxes scores 0 or does
not count.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor

from rsna_det.errors import InvalidValueError
from rsna_det.evaluation.candidate_rows import CandidateRows
from rsna_det.evaluation.metric import scores_of_lists
from rsna_det.evaluation.operating_point import resized_detections

# Images whose detections are matched to true boxes at once: bounds the memory.
_TOGETHER = 512


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The challenge's score over groups of images, as sums and counts.

    Attributes:
        epochs: the first axis of the grid.
        nms_ious: the second.
        cuts: the third.
        sums: of the scores of each group's images.
        counts: images of each group that count.
    """

    epochs: tuple[int, ...]
    nms_ious: tuple[float, ...]
    cuts: tuple[float, ...]
    sums: Float64[Tensor, "groups epochs nms_ious cuts"]
    counts: Int[Tensor, "groups epochs nms_ious cuts"]

    @property
    def scores(self) -> Float64[Tensor, "groups epochs nms_ious cuts"]:
        """Means over the images that count; NaN where none does."""
        return self.sums / self.counts


def score_grid(
    *,
    epochs: Iterable[tuple[int, CandidateRows]],
    truths: Sequence[Float[Tensor, "_ 4"]],
    groups: Bool[Tensor, "groups images"],
    cuts: Sequence[float],
    nms_ious: Sequence[float],
    relative_cut: float,
    rescale_factor: float,
) -> Grid:
    """Score every epoch, NMS IoU and cut over several groups of images.

    Args:
        epochs: number and candidates of each, consumed one at a time to keep only one epoch in memory.
        truths: true boxes of each image, source pixels.
        groups: the images of each group.
        cuts: as in :class:`~rsna_det.boxes.decoding.DecodingSettings`; 0 or more.
        nms_ious: likewise.
        relative_cut: likewise.
        rescale_factor: the detections' width and height are multiplied by it before they are matched.

    Raises:
        InvalidValueError: if there is no cut or NMS IoU, or a negative cut.
        ValueError: if there is no epoch, or an epoch has another number of images.
    """
    if not cuts or not nms_ious or not min(cuts) >= 0:
        raise InvalidValueError(
            f"expected cuts of 0 or more and NMS IoUs to score at, got {list(cuts)} and {list(nms_ious)}"
        )
    members = groups.double()
    options: dict[str, Any] = {"cuts": cuts, "relative_cut": relative_cut, "rescale_factor": rescale_factor}
    numbers, sums, counts = [], [], []
    for number, rows in epochs:
        by_nms = [image_scores_at_cuts(rows=rows, truths=truths, nms_iou=nms_iou, **options) for nms_iou in nms_ious]
        scores = torch.stack(by_nms, dim=1).flatten(1)
        shape = (len(groups), len(nms_ious), len(cuts))
        numbers.append(number)
        sums.append((members @ scores.nan_to_num(0)).view(shape))
        counts.append((members @ (~scores.isnan()).double()).long().view(shape))
    if not numbers:
        raise ValueError("expected the candidates of one epoch or more, got none")
    return Grid(
        epochs=tuple(numbers),
        nms_ious=tuple(nms_ious),
        cuts=tuple(cuts),
        sums=torch.stack(sums, dim=1),
        counts=torch.stack(counts, dim=1),
    )


def image_scores_at_cuts(
    *,
    rows: CandidateRows,
    truths: Sequence[Float[Tensor, "_ 4"]],
    cuts: Sequence[float],
    nms_iou: float,
    relative_cut: float,
    rescale_factor: float,
) -> Float64[Tensor, "images cuts"]:
    """Each image's score at every cut; NaN where an image has neither a true box nor a detection.

    Arguments as those of :func:`score_grid`.

    Raises:
        ValueError: if the numbers of truths and images differ.
    """
    if len(rows) != len(truths):
        raise ValueError(f"expected candidates of each of {len(truths)} images, got those of {len(rows)}")
    limits = torch.tensor(cuts, dtype=torch.float64)
    starts, ends = rows.offsets[:-1], rows.offsets[1:]
    best = torch.zeros(len(rows), dtype=torch.float64)
    best[ends > starts] = rows.scores[starts[ends > starts]].double()
    # For images without true boxes; the others are filled in below.
    scores = torch.where(best[:, None] > limits, 0.0, torch.full_like(limits, torch.nan))
    num_truths = torch.tensor([len(boxes) for boxes in truths])
    for together in torch.split(num_truths.nonzero()[:, 0], _TOGETHER):
        detections = [
            resized_detections(
                boxes=rows.boxes[own],
                scores=rows.scores[own],
                nms_iou=nms_iou,
                relative_cut=relative_cut,
                cut=min(cuts),
                factor=rescale_factor,
            )
            for own in (slice(int(starts[index]), int(ends[index])) for index in together.tolist())
        ]
        true_boxes = [truths[index] for index in together.tolist()]
        scores[together] = scores_of_lists(detections=detections, truths=true_boxes, cuts=cuts)
    return scores
