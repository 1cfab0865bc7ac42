"""Boxes <-> the regression head's units: a box relative to its anchor."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

DELTA_SCALES = (0.1, 0.1, 0.2, 0.2)
"""Divisors of dx, dy, dw and dh that bring targets to the order of one (numbers of the published code)."""

SMALLEST_TARGET_SIDE = 1.0
"""Network pixels: lower bound of a target's width and height, so that their logarithms stay bounded."""

LARGEST_LOG_RATIO = math.log(1000 / 16)
"""Upper bound of a box's size relative to its anchor: an untrained or diverging head may predict any size."""


def encode(*, boxes: Float[Tensor, "boxes 4"], anchors: Float[Tensor, "boxes 4"]) -> Float[Tensor, "boxes 4"]:
    """Deltas ``dx, dy, dw, dh`` from each anchor to its box, both ``x1, y1, x2, y2`` in network pixels."""
    anchor_sizes = anchors[:, 2:] - anchors[:, :2]
    sizes = boxes[:, 2:] - boxes[:, :2]
    offsets = (boxes[:, :2] + sizes / 2 - anchors[:, :2] - anchor_sizes / 2) / anchor_sizes
    log_ratios = torch.log(sizes.clamp(min=SMALLEST_TARGET_SIDE) / anchor_sizes)
    return torch.cat([offsets, log_ratios], dim=-1) / _scales(boxes)


def decode(*, deltas: Float[Tensor, "*boxes 4"], anchors: Float[Tensor, "*boxes 4"]) -> Float[Tensor, "*boxes 4"]:
    """Boxes ``x1, y1, x2, y2`` in network pixels, not clipped: the anchors moved by the deltas."""
    scaled = deltas * _scales(deltas)
    anchor_sizes = anchors[..., 2:] - anchors[..., :2]
    centres = anchors[..., :2] + anchor_sizes / 2 + scaled[..., :2] * anchor_sizes
    halves = anchor_sizes * scaled[..., 2:].clamp(max=LARGEST_LOG_RATIO).exp() / 2
    return torch.cat([centres - halves, centres + halves], dim=-1)


def _scales(like: Tensor) -> Float[Tensor, " 4"]:
    """The scales on a tensor's device, filled in there: copies of fresh numbers to a GPU keep the host waiting."""
    return torch.cat([like.new_full((1,), scale) for scale in DELTA_SCALES])
