"""Where a head of 3x3 convolutions must be computed to have its exact outputs at some cells of its maps.

The outputs of a cell depend on the cells up to :data:`REACH` away. A window around wanted cells, larger by that much on
every side or ending where the map ends, so gives the same numbers as the whole map: what zero padding does at the
window's own edges does not get that far, and at the map's edges it is the map's padding.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int

from rsna_det.boxes.anchors import ANCHORS_PER_CELL
from rsna_det.structures import WindowGroup, Windows

REACH = 5
"""Convolutions of 3x3 one after another in a box head."""

_TILE = 8
# Windows of equal size are computed together.
_STEP = 4


@dataclass(frozen=True, kw_only=True)
class Window:
    """A rectangle of a map and the wanted cells that it is computed for.

    Attributes:
        top: its first row.
        left: its first column.
        height: number of its rows.
        width: number of its columns.
        cells: positions of its cells among the wanted ones.
    """

    top: int
    left: int
    height: int
    width: int
    cells: Int[np.ndarray, " cells"]


def plan_windows(
    *, image: Int[np.ndarray, " wanted"], anchor: Int[np.ndarray, " wanted"], feature_sizes: Sequence[tuple[int, int]]
) -> Windows:
    """The windows around the wanted anchors' cells, of all levels and images.

    Args:
        image: number of the image within the batch.
        anchor: number of the anchor, in the order of level, row, column and the cell's anchors.
        feature_sizes: height and width of each level's map.
    """
    same_size: dict[tuple[int, int], list[_Placed]] = {}
    for placed in _placed_windows(image, anchor, feature_sizes):
        same_size.setdefault((placed.window.height, placed.window.width), []).append(placed)
    found = [placed for group in same_size.values() for placed in group]
    number = [n for group in same_size.values() for n, placed in enumerate(group) for _ in placed.wanted]
    places = np.concatenate([np.zeros((3, 0), dtype=np.int64), *(placed.places for placed in found)], axis=1)
    wanted = np.concatenate([np.zeros(0, dtype=np.int64), *(placed.wanted for placed in found)])
    return Windows(
        groups=tuple(
            WindowGroup(
                height=height,
                width=width,
                corners=tuple((p.level, p.image, p.window.top, p.window.left) for p in group),
                wanted=sum(len(p.wanted) for p in group),
            )
            for (height, width), group in same_size.items()
        ),
        places=torch.from_numpy(np.concatenate([np.array(number, dtype=np.int64)[None], places])),
        order=torch.from_numpy(np.argsort(wanted)),
    )


@dataclass(frozen=True, kw_only=True)
class _Placed:
    """A window of one image's map on one level.

    Attributes:
        wanted: positions of its anchors among all that are wanted.
        places: number within the cell, row and column of each, counted within the window.
    """

    level: int
    image: int
    window: Window
    wanted: Int[np.ndarray, " own"]
    places: Int[np.ndarray, "3 own"]


def _placed_windows(
    image: Int[np.ndarray, " wanted"], anchor: Int[np.ndarray, " wanted"], feature_sizes: Sequence[tuple[int, int]]
) -> Iterator[_Placed]:
    cell, within = np.divmod(anchor, ANCHORS_PER_CELL)
    first = 0
    for level, (height, width) in enumerate(feature_sizes):
        rows, columns = np.divmod(cell - first, width)
        on_level = (cell >= first) & (cell < first + height * width)
        for number in np.unique(image[on_level]).tolist():
            own = np.flatnonzero(on_level & (image == number))
            for window in windows_around(rows[own], columns[own], height=height, width=width):
                wanted = own[window.cells]
                places = np.stack([within[wanted], rows[wanted] - window.top, columns[wanted] - window.left])
                yield _Placed(level=level, image=number, window=window, wanted=wanted, places=places)
        first += height * width


def windows_around(
    rows: Int[np.ndarray, " wanted"], columns: Int[np.ndarray, " wanted"], *, height: int, width: int
) -> list[Window]:
    """Windows that together hold every wanted cell once, with what its outputs depend on.

    Neighbouring windows are joined where that costs no more cells; if all of them cost as much as the map, the map is
    the only window.

    Args:
        rows: of the wanted cells.
        columns: of the same.
        height: rows of the map.
        width: columns of the map.
    """
    whole = Window(top=0, left=0, height=height, width=width, cells=np.arange(len(rows)))
    if not len(rows):
        return []
    tiles = rows // _TILE * (width // _TILE + 1) + columns // _TILE
    _, tile_of = np.unique(tiles, return_inverse=True)
    found = [_window(group, rows, columns, height, width) for group in _joined(tile_of, rows, columns, height, width)]
    return found if sum(window.height * window.width for window in found) < height * width else [whole]


def _joined(
    tile_of: Int[np.ndarray, " wanted"],
    rows: Int[np.ndarray, " wanted"],
    columns: Int[np.ndarray, " wanted"],
    height: int,
    width: int,
) -> Iterator[Int[np.ndarray, " cells"]]:
    """Groups of wanted cells, from one a tile to fewer, as long as their windows get no larger in sum."""
    groups: list[Int[np.ndarray, " cells"]] = []
    boxes = np.zeros((0, 4), dtype=np.int64)
    for tile in range(int(tile_of.max()) + 1):
        group = np.flatnonzero(tile_of == tile)
        box = _bounds(group, rows, columns)
        while groups:
            union = np.concatenate([np.minimum(boxes[:, :2], box[:2]), np.maximum(boxes[:, 2:], box[2:])], axis=1)
            gain = _cost(boxes, height, width) + _cost(box[None], height, width) - _cost(union, height, width)
            best = int(gain.argmax())
            if gain[best] < 0:
                break
            group, box = np.concatenate([groups.pop(best), group]), union[best]
            boxes = np.delete(boxes, best, axis=0)
        groups.append(group)
        boxes = np.concatenate([boxes, box[None]])
    yield from groups


def _bounds(
    group: Int[np.ndarray, " cells"], rows: Int[np.ndarray, " wanted"], columns: Int[np.ndarray, " wanted"]
) -> Int[np.ndarray, " 4"]:
    """First row and column, last row and column."""
    own_rows, own_columns = rows[group], columns[group]
    return np.array([own_rows.min(), own_columns.min(), own_rows.max(), own_columns.max()], dtype=np.int64)


def _cost(boxes: Int[np.ndarray, "boxes 4"], height: int, width: int) -> Int[np.ndarray, " boxes"]:
    """Cells of the windows around boxes."""
    top, left = np.maximum(boxes[:, 0] - REACH, 0), np.maximum(boxes[:, 1] - REACH, 0)
    bottom, right = np.minimum(boxes[:, 2] + REACH + 1, height), np.minimum(boxes[:, 3] + REACH + 1, width)
    return np.asarray((bottom - top) * (right - left))


def _window(
    group: Int[np.ndarray, " cells"],
    rows: Int[np.ndarray, " wanted"],
    columns: Int[np.ndarray, " wanted"],
    height: int,
    width: int,
) -> Window:
    first_row, first_column, last_row, last_column = _bounds(group, rows, columns).tolist()
    top, own_height = _span(first_row, last_row, height)
    left, own_width = _span(first_column, last_column, width)
    return Window(top=top, left=left, height=own_height, width=own_width, cells=group)


def _span(first: int, last: int, size: int) -> tuple[int, int]:
    """Start and length on one axis: a whole number of steps, moved inside the map; larger than needed is exact too."""
    start, end = max(first - REACH, 0), min(last + REACH + 1, size)
    length = min(-(-(end - start) // _STEP) * _STEP, size)
    return min(start, size - length), length
