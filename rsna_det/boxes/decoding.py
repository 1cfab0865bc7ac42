"""Head outputs -> candidates -> detections: score floor, cap, NMS, relative cut, cut.

Validation, evaluation and prediction all decode through these functions, so their numbers agree. ``decoding`` in
``conf/train.yaml`` configures them.
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
from rsna_det.boxes.host import to_host
from rsna_det.errors import InvalidValueError
from rsna_det.structures import Candidates, DenseDeltas, Detections, HeadOutputs

_MOST_CUTS = 10_000


@dataclass(frozen=True, kw_only=True)
class DecodingSettings:
    """How scored anchors become detections.

    Attributes:
        score_floor: only boxes with a score above it become candidates.
        max_candidates: cap on the candidates of an image; those of highest score stay.
        nms_iou: of two boxes whose IoU is higher, the one of higher score stays.
        relative_cut: a box is dropped if its score is below this share of its image's highest.
        cut: the score threshold; a box stays if its score is above.
        cut_grid: lowest and highest cut and the step between, for the search of the best cut.

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
        if grid[1] - grid[0] > _MOST_CUTS * grid[2]:
            raise InvalidValueError(f"decoding.cut_grid is {grid}; expected up to {_MOST_CUTS:,} steps")

    @property
    def cuts(self) -> list[float]:
        """The cuts of the grid, rounded so that 0.1 + 0.2 reads 0.3."""
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
    """Decode the highest-scoring anchors of each image into boxes in source pixels, on the CPU.

    Equal scores keep the order of the anchors. A box without area inside the radiograph is no candidate; one that is
    not finite is, and is NaN. The host waits twice for a GPU: for the anchors whose boxes it asks for, and for these.

    Args:
        outputs: of the network.
        anchors: network pixels, in the order of the outputs.
        image_size: side of the square network image, network pixels; the radiograph fills it from the top left corner.
        source_sizes: height and width of each radiograph, source pixels.
        score_floor: as in :class:`DecodingSettings`.
        max_candidates: likewise.
    """
    scores, above_floor, top = _best_anchors(outputs, score_floor=score_floor, max_candidates=max_candidates)
    kept = above_floor.gather(1, top)
    deltas = anchors.new_zeros(*top.shape, 4)
    (image, place), values = _values_at(outputs, kept, top)
    deltas[image, place] = values.to(deltas)
    to_source = (source_sizes.amax(dim=1).double() / image_size)[:, None, None]
    # In float64, so that what a network's rounding changes is not enlarged: the last digit of a coordinate of 1,000
    # pixels has 6e-5 of them in float32.
    decoded = decode(deltas=deltas.double(), anchors=anchors[top].double()) * to_source
    boxes = clip(decoded, source_sizes).to(deltas)
    # Clipping would hide infinity.
    boxes = boxes.where(deltas.isfinite().all(dim=-1, keepdim=True), torch.nan)
    mask = kept & ~(area(boxes) <= 0)
    return _compact(*to_host(boxes, scores.gather(1, top), mask, above_floor.sum(dim=1)))


def candidate_deltas(outputs: HeadOutputs, *, score_floor: float, max_candidates: int) -> DenseDeltas:
    """The boxes of the anchors that :func:`candidates` decodes with the same numbers; 0 at all others."""
    _, above_floor, top = _best_anchors(outputs, score_floor=score_floor, max_candidates=max_candidates)
    (image, place), found = _values_at(outputs, above_floor.gather(1, top), top)
    values = outputs.box_logits.new_zeros(*above_floor.shape, 4)
    values[image, top[image, place]] = found.to(values)
    return DenseDeltas(values=values)


def detections(
    *,
    boxes: Float[Tensor, "candidates 4"],
    scores: Float[Tensor, " candidates"],
    nms_iou: float,
    relative_cut: float,
    cut: float,
) -> Detections:
    """Final boxes of one image, by descending score.

    Args:
        boxes: the image's candidates in source pixels.
        scores: their scores.
        nms_iou: as in :class:`DecodingSettings`.
        relative_cut: likewise.
        cut: likewise.
    """
    # Cuts before NMS keep the same boxes as cuts after it, since only a box of higher score suppresses another.
    # In float64: in float32 a score or IoU right next to a threshold would round onto it.
    exact = scores.double()
    best = exact.max() if len(exact) else exact.new_zeros(())
    strong = (exact >= relative_cut * best) & (exact > cut)
    boxes, scores = boxes[strong], scores[strong]
    kept = nms(boxes.double(), scores.double(), nms_iou)
    return Detections(boxes=boxes[kept], scores=scores[kept])


def batch_detections(batch: Candidates, *, nms_iou: float, relative_cut: float, cut: float) -> list[Detections]:
    """:func:`detections` of every image of a batch, on the CPU, since NMS on a GPU may round differently."""
    boxes, scores, mask = batch.boxes.cpu(), batch.scores.cpu(), batch.mask.cpu()
    return [
        detections(boxes=b[m], scores=s[m], nms_iou=nms_iou, relative_cut=relative_cut, cut=cut)
        for b, s, m in zip(boxes, scores, mask, strict=True)
    ]


def _values_at(
    outputs: HeadOutputs, kept: Bool[Tensor, "batch top"], top: Int[Tensor, "batch top"]
) -> tuple[tuple[Int[Tensor, " kept"], Int[Tensor, " kept"]], Float[Tensor, "kept 4"]]:
    """Which places of ``top`` are kept, as indices on its device, and the network's numbers for their boxes."""
    on_host, anchors = to_host(kept, top)
    image, place = on_host.nonzero(as_tuple=True)
    values = outputs.box_deltas.at(image=image, anchor=anchors[image, place])
    return (image.to(top.device, non_blocking=True), place.to(top.device, non_blocking=True)), values


def _best_anchors(
    outputs: HeadOutputs, *, score_floor: float, max_candidates: int
) -> tuple[Float[Tensor, "batch anchors"], Bool[Tensor, "batch anchors"], Int[Tensor, "batch top"]]:
    """All scores, which of them are above the floor, and the anchors of the highest."""
    scores = outputs.box_logits.squeeze(-1).float().sigmoid()
    return scores, scores > score_floor, _top_in_anchor_order(scores, min(max_candidates, scores.shape[1]))


def _top_in_anchor_order(scores: Float[Tensor, "batch anchors"], count: int) -> Int[Tensor, "batch count"]:
    """The anchors of the highest scores, descending; ties by the anchor's number (``topk`` alone leaves them open)."""
    # Distinct float32 scores differ by a factor of 6e-8 or more, so 200,000 steps of 1e-13 only break ties.
    order = torch.arange(scores.shape[1], device=scores.device, dtype=torch.float64)
    return (scores.double() * (1 - 1e-13 * order)).topk(count, dim=1).indices


def _compact(
    boxes: Float[Tensor, "batch top 4"],
    scores: Float[Tensor, "batch top"],
    mask: Bool[Tensor, "batch top"],
    counts: Int[Tensor, " batch"],
) -> Candidates:
    """Move what the mask keeps to the front of each row, and shorten the rows to the longest."""
    longest = max(mask.sum(dim=1).tolist(), default=0)
    order = (~mask).int().argsort(dim=1, stable=True)[:, :longest]
    mask = mask.gather(1, order)
    return Candidates(
        boxes=boxes.gather(1, order[..., None].expand(-1, -1, 4)) * mask[..., None],
        scores=scores.gather(1, order) * mask,
        mask=mask,
        counts_before_cap=counts,
    )
