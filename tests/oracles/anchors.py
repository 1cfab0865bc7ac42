"""Anchors, one at a time.

Source: the published code, whose anchors the paper (section 4.1, "extra output for small anchors") starts one level
finer. A level l has base size 2^(l + 2); ratios are height / width.
"""

import math
from collections.abc import Sequence

RATIOS = (0.5, 1.0, 2.0)
SCALES = (2 ** (0 / 3), 2 ** (1 / 3), 2 ** (2 / 3))


def anchor_at(*, centre_x: float, centre_y: float, size: float, ratio: float) -> tuple[float, float, float, float]:
    """The anchor of area ``size ** 2`` with height / width = ``ratio`` about a centre."""
    width = size / math.sqrt(ratio)
    height = size * math.sqrt(ratio)
    return (centre_x - width / 2, centre_y - height / 2, centre_x + width / 2, centre_y + height / 2)


def pyramid_anchors(
    *, image_size: int, feature_sizes: Sequence[tuple[int, int]], levels: Sequence[int]
) -> list[tuple[float, float, float, float]]:
    """All anchors: level by level, row by row, cell by cell, then each ratio, then each scale.

    The step between centres is image size / map size, on each axis for itself: some encoders' maps are not exactly
    image size / stride (the published code lays anchors out from the real feature sizes).
    """
    anchors = []
    for (rows, columns), level in zip(feature_sizes, levels, strict=True):
        for row in range(rows):
            for column in range(columns):
                for ratio in RATIOS:
                    for scale in SCALES:
                        anchor = anchor_at(
                            centre_x=(column + 0.5) * image_size / columns,
                            centre_y=(row + 0.5) * image_size / rows,
                            size=2 ** (level + 2) * scale,
                            ratio=ratio,
                        )
                        anchors.append(anchor)
    return anchors
