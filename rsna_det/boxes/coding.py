"""Between boxes and what the regression head predicts: a box relative to its anchor."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

DELTA_SCALES = (0.1, 0.1, 0.2, 0.2)
"""What dx, dy, dw and dh are divided by, so that targets are of order one (the published code's numbers)."""

SMALLEST_TARGET_SIDE = 1.0
"""Network pixels: a target's width and height count at least this much, or the logarithm has no floor."""

LARGEST_LOG_RATIO = math.log(1000 / 16)
"""An untrained or diverging head may ask for any size: no box grows beyond this multiple of its anchor."""


def encode(*, boxes: Float[Tensor, "boxes 4"], anchors: Float[Tensor, "boxes 4"]) -> Float[Tensor, "boxes 4"]:
    """Deltas ``dx, dy, dw, dh`` that lead from each anchor to its box, both ``x1, y1, x2, y2`` in network pixels."""
    anchor_sizes = anchors[:, 2:] - anchors[:, :2]
    sizes = boxes[:, 2:] - boxes[:, :2]
    offsets = (boxes[:, :2] + sizes / 2 - anchors[:, :2] - anchor_sizes / 2) / anchor_sizes
    log_ratios = torch.log(sizes.clamp(min=SMALLEST_TARGET_SIDE) / anchor_sizes)
    return torch.cat([offsets, log_ratios], dim=-1) / boxes.new_tensor(DELTA_SCALES)


def decode(*, deltas: Float[Tensor, "*boxes 4"], anchors: Float[Tensor, "*boxes 4"]) -> Float[Tensor, "*boxes 4"]:
    """Boxes ``x1, y1, x2, y2`` in network pixels, not clipped, that the deltas lead to from the anchors."""
    scaled = deltas * deltas.new_tensor(DELTA_SCALES)
    anchor_sizes = anchors[..., 2:] - anchors[..., :2]
    centres = anchors[..., :2] + anchor_sizes / 2 + scaled[..., :2] * anchor_sizes
    halves = anchor_sizes * scaled[..., 2:].clamp(max=LARGEST_LOG_RATIO).exp() / 2
    return torch.cat([centres - halves, centres + halves], dim=-1)
