"""Boxes that a network has found."""

from dataclasses import dataclass

from jaxtyping import Bool, Float, Int
from torch import Tensor


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
