"""Feature map sizes -> anchors, level by level."""

from collections.abc import Sequence
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

RATIOS = (0.5, 1.0, 2.0)
"""Height / width of the anchors (RetinaNet's, as in the published code)."""

SCALES = (1.0, 2 ** (1 / 3), 2 ** (2 / 3))
"""Anchor sizes of one level, relative to its base size."""

ANCHORS_PER_CELL = len(RATIOS) * len(SCALES)


def pyramid_anchors(
    *,
    image_size: int,
    feature_sizes: Sequence[tuple[int, int]],
    levels: Sequence[int],
    device: torch.device | str = "cpu",
) -> Float[Tensor, "anchors 4"]:
    """Anchors of all levels as ``x1, y1, x2, y2`` in network pixels.

    The base size of level ``n`` is ``2**(n + 2)``: 16 pixels at P2, 512 at P7. Some encoders' maps are not exactly
    image size / 2**n (unpadded convolutions), so the step on each axis is image size / map size. Anchors have the order
    of the heads' outputs: level, row, column, ratio, scale. Numbers of the published code.

    Args:
        image_size: side of the square image in network pixels.
        feature_sizes: height and width of each level's map.
        levels: numbers of the levels, 2 for P2.
        device: of the anchors, which stay cached there for the next call.

    Raises:
        ValueError: if the numbers of sizes and levels differ.
    """
    if len(feature_sizes) != len(levels):
        raise ValueError(f"expected one feature size per level, got {len(feature_sizes)} for levels {tuple(levels)}")
    return _cached_anchors(image_size, tuple(feature_sizes), tuple(levels), str(device))


@lru_cache(maxsize=8)
def _cached_anchors(
    image_size: int, feature_sizes: tuple[tuple[int, int], ...], levels: tuple[int, ...], device: str
) -> Float[Tensor, "anchors 4"]:
    maps = zip(feature_sizes, levels, strict=True)
    return torch.cat([_level_anchors(image_size, size, level) for size, level in maps]).float().to(device)


def _level_anchors(image_size: int, feature_size: tuple[int, int], level: int) -> Float[Tensor, "anchors 4"]:
    height, width = feature_size
    centres_y = (torch.arange(height, dtype=torch.float64) + 0.5) * (image_size / height)
    centres_x = (torch.arange(width, dtype=torch.float64) + 0.5) * (image_size / width)
    centre_y, centre_x = torch.meshgrid(centres_y, centres_x, indexing="ij")
    centres = torch.stack([centre_x, centre_y], dim=-1).reshape(-1, 1, 2)
    halves = _cell_sizes(level) / 2
    return torch.cat([centres - halves, centres + halves], dim=-1).reshape(-1, 4)


def _cell_sizes(level: int) -> Float[Tensor, "anchors_per_cell 2"]:
    """Width and height of the anchors of one map cell; all ratios of a scale have equal areas."""
    sides = 2 ** (level + 2) * torch.tensor(SCALES, dtype=torch.float64)
    roots = torch.tensor(RATIOS, dtype=torch.float64).sqrt()
    return torch.stack([sides / roots[:, None], sides * roots[:, None]], dim=-1).reshape(-1, 2)
