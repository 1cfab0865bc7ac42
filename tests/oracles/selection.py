"""Choosing a cell of the grid by going through all of them."""

import math
from collections.abc import Mapping, Sequence

Setting = tuple[int, float, float]


def best(scores: Mapping[Setting, float]) -> Setting | None:
    """The setting of the highest score, of equals the first; None where no score is a number."""
    chosen: Setting | None = None
    for setting, score in scores.items():
        if not math.isnan(score) and (chosen is None or score > scores[chosen]):
            chosen = setting
    return chosen


def both_directions(halves: Sequence[Mapping[Setting, float]]) -> list[tuple[int, Setting, float, float]]:
    """Split, setting chosen on one half, its score there and on the other half."""
    rows = []
    for first in range(0, len(halves), 2):
        for own, other in ((halves[first], halves[first + 1]), (halves[first + 1], halves[first])):
            setting = best(own)
            assert setting is not None
            rows.append((first // 2, setting, own[setting], other[setting]))
    return rows
