"""From head outputs to detections: score floor, best candidates, NMS, relative cut, cut. The one place that does it.

Validation, evaluation and prediction all call these two functions on the same candidates, so that their numbers agree.
The numbers to call them with are configured (``decoding`` in ``conf/train.yaml``).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torchvision.ops import nms

from rsna_det.boxes.coding import decode
from rsna_det.boxes.geometry import area, clip
from rsna_det.errors import InvalidValueError
from rsna_det.structures import Candidates, Detections, HeadOutputs


@dataclass(frozen=True, kw_only=True)
class DecodingSettings:
    """The numbers between scored anchors and detections.

    Attributes:
        score_floor: scores that are not above it are never looked at.
        max_candidates: boxes of one image that reach NMS, the best-scored.
        nms_iou: of two boxes that overlap by more, the better scored stays.
        relative_cut: a box scored below this share of its image's best is dropped.
        cut: a box counts only if its score is above.
        cut_grid: lowest cut, highest cut and the step between them, where the best of several is sought.

    Raises:
        InvalidValueError: for a number out of range.
    """

    score_floor: float
    max_candidates: int
    nms_iou: float
    relative_cut: float
    cut: float
    cut_grid: Sequence[float]

    def __post_init__(self) -> None:
        check_thresholds(
            score_floor=self.score_floor,
            max_candidates=self.max_candidates,
            nms_iou=self.nms_iou,
            relative_cut=self.relative_cut,
            cut=self.cut,
            prefix="decoding.",
        )
        grid = list(self.cut_grid)
        if len(grid) != 3 or not 0 <= grid[0] <= grid[1] < 1 or not grid[2] > 0:
            raise InvalidValueError(
                f"decoding.cut_grid is {grid}; expected the lowest cut, the highest below 1 and a step above 0"
            )

    @property
    def cuts(self) -> list[float]:
        """The cuts of the grid, rounded so that they read as they were meant."""
        lowest, highest, step = self.cut_grid
        count = math.floor((highest - lowest) / step + 1e-9) + 1
        return [round(lowest + i * step, 6) for i in range(count)]


def check_thresholds(
    *, score_floor: float, max_candidates: int, nms_iou: float, relative_cut: float, cut: float, prefix: str = ""
) -> None:
    """Check the ranges of the numbers that decoding settings and operating points share.

    Raises:
        InvalidValueError: for a number out of range; ``prefix`` stands before its name.
    """
    shares = {"score_floor": score_floor, "nms_iou": nms_iou, "relative_cut": relative_cut, "cut": cut}
    for name, value in shares.items():
        if not 0 <= value <= 1:
            raise InvalidValueError(f"{prefix}{name} is {value}; expected 0 to 1")
    if max_candidates < 1:
        raise InvalidValueError(f"{prefix}max_candidates is {max_candidates}; expected 1 or more")


def candidates(
    *,
    outputs: HeadOutputs,
    anchors: Float[Tensor, "anchors 4"],
    image_size: int,
    source_sizes: Int[Tensor, "batch 2"],
    score_floor: float,
    max_candidates: int,
) -> Candidates:
    """Decode the best-scored anchors of each image into boxes in source pixels.

    Equal scores are taken in the order of the anchors. A box that has no area left inside the radiograph is not a
    candidate.

    Args:
        outputs: of the network.
        anchors: in the order of the outputs, network pixels.
        image_size: side of the square that the network saw, network pixels; the radiograph fills it from the top
            left corner.
        source_sizes: height and width of each radiograph, source pixels.
        score_floor: only scores above count.
        max_candidates: so many of the best are kept for each image.
    """
    scores = outputs.box_logits.squeeze(-1).float().sigmoid()
    above_floor = scores > score_floor
    top_scores, top = _top_in_anchor_order(scores, min(max_candidates, scores.shape[1]))
    deltas = outputs.box_deltas.float().gather(1, top[..., None].expand(-1, -1, 4))
    to_source = (source_sizes.amax(dim=1) / image_size)[:, None, None]
    boxes = clip(decode(deltas=deltas, anchors=anchors[top]) * to_source, source_sizes)
    mask = above_floor.gather(1, top) & (area(boxes) > 0)
    return _compact(boxes, top_scores, mask, above_floor.sum(dim=1))


def detections(
    *,
    boxes: Float[Tensor, "candidates 4"],
    scores: Float[Tensor, " candidates"],
    nms_iou: float,
    relative_cut: float,
    cut: float,
) -> Detections:
    """Final boxes of one image, in falling order of score.

    Args:
        boxes: the image's candidates in source pixels.
        scores: their scores.
        nms_iou: of two boxes that overlap by more, only the better scored stays.
        relative_cut: a box scored below this share of the image's best is dropped.
        cut: a box counts only if its score is above.
    """
    # Before NMS and not after: a box is only ever suppressed by a better one, so that the same boxes stay.
    # In float64, since in float32 a score or an IoU just beside a limit would be taken for the limit itself.
    exact = scores.double()
    best = exact.max() if len(exact) else exact.new_zeros(())
    strong = (exact >= relative_cut * best) & (exact > cut)
    boxes, scores = boxes[strong], scores[strong]
    kept = nms(boxes.double(), scores.double(), nms_iou)
    return Detections(boxes=boxes[kept], scores=scores[kept])


def batch_detections(batch: Candidates, *, nms_iou: float, relative_cut: float, cut: float) -> list[Detections]:
    """:func:`detections` of every image of a batch, on the CPU: a GPU's NMS may round the other way."""
    boxes, scores, mask = batch.boxes.cpu(), batch.scores.cpu(), batch.mask.cpu()
    return [
        detections(boxes=b[m], scores=s[m], nms_iou=nms_iou, relative_cut=relative_cut, cut=cut)
        for b, s, m in zip(boxes, scores, mask, strict=True)
    ]


def _top_in_anchor_order(
    scores: Float[Tensor, "batch anchors"], count: int
) -> tuple[Float[Tensor, "batch count"], Int[Tensor, "batch count"]]:
    """The best scores in falling order, equal ones by the anchor's number (``topk`` alone leaves ties open)."""
    # Different float32 scores differ by 6e-8 of themselves or more: 200,000 steps of 1e-13 only ever break ties.
    order = torch.arange(scores.shape[1], device=scores.device, dtype=torch.float64)
    top = (scores.double() * (1 - 1e-13 * order)).topk(count, dim=1).indices
    return scores.gather(1, top), top


def _compact(
    boxes: Float[Tensor, "batch top 4"],
    scores: Float[Tensor, "batch top"],
    mask: Bool[Tensor, "batch top"],
    counts: Int[Tensor, " batch"],
) -> Candidates:
    """Move what the mask keeps to the front of each row and cut the rows to the longest."""
    longest = max(mask.sum(dim=1).tolist(), default=0)
    order = (~mask).int().argsort(dim=1, stable=True)[:, :longest]
    mask = mask.gather(1, order)
    return Candidates(
        boxes=boxes.gather(1, order[..., None].expand(-1, -1, 4)) * mask[..., None],
        scores=scores.gather(1, order) * mask,
        mask=mask,
        counts_before_cap=counts,
    )
