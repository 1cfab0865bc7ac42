"""Boxes relative to their anchors, one number at a time.

Source: the published code. (dx, dy) = offset of the centres / size of the anchor, (dw, dh) = log of the ratio of
sizes; divided by (0.1, 0.1, 0.2, 0.2). A target's width and height count at least 1 px; its centre is that of the box
as given.
"""

import math
from collections.abc import Sequence

CENTRE_UNIT = 0.1
SIZE_UNIT = 0.2
LARGEST_LOG_RATIO = math.log(1000 / 16)


def encode(*, box: Sequence[float], anchor: Sequence[float]) -> list[float]:
    """One box as (dx, dy, dw, dh) of one anchor."""
    deltas = [0.0, 0.0, 0.0, 0.0]
    for axis in (0, 1):
        low, high = float(box[axis]), float(box[axis + 2])
        anchor_low, anchor_high = float(anchor[axis]), float(anchor[axis + 2])
        anchor_size = anchor_high - anchor_low
        offset = (low + high) / 2 - (anchor_low + anchor_high) / 2
        deltas[axis] = offset / anchor_size / CENTRE_UNIT
        deltas[axis + 2] = math.log(max(high - low, 1.0) / anchor_size) / SIZE_UNIT
    return deltas


def decode(*, deltas: Sequence[float], anchor: Sequence[float]) -> list[float]:
    """The box that (dx, dy, dw, dh) mean at one anchor; growth is bounded by 1000 / 16 against overflow."""
    box = [0.0, 0.0, 0.0, 0.0]
    for axis in (0, 1):
        anchor_low, anchor_high = float(anchor[axis]), float(anchor[axis + 2])
        anchor_size = anchor_high - anchor_low
        centre = (anchor_low + anchor_high) / 2 + float(deltas[axis]) * CENTRE_UNIT * anchor_size
        size = anchor_size * math.exp(min(float(deltas[axis + 2]) * SIZE_UNIT, LARGEST_LOG_RATIO))
        box[axis] = centre - size / 2
        box[axis + 2] = centre + size / 2
    return box
