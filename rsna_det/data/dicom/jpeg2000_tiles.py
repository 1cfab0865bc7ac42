"""Whether all tiles of a JPEG 2000 codestream are there (ISO/IEC 15444-1, annex A.4.2 and B.3).

OpenJPEG shows a tile of which the codestream has nothing as black, without a warning.
"""

import struct
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from rsna_det.data.dicom.problems import FrameError

_SIZE_AT = 2
_TILE_PART, _END = 0xFF90, 0xFFD9
_TILE_PART_HEADER = struct.Struct(">3HIBB")
# A tile part's number of its tile has 16 bits.
_MOST_TILES = 65_535


@dataclass(frozen=True, kw_only=True)
class _TilePart:
    """One part of a tile; ``count`` is how many the tile has, 0 where the part does not say."""

    tile: int
    number: int
    count: int


def check_tiles(frame: bytes) -> None:
    """Refuse a codestream without one of its tiles, or without a part of one.

    Raises:
        FrameError: saying which is missing.
        struct.error: a segment breaks off.
    """
    tiles = _tile_count(frame)
    numbers, counts = defaultdict[int, set[int]](set), defaultdict[int, int](int)
    for part in _tile_parts(frame):
        numbers[part.tile].add(part.number)
        counts[part.tile] = max(counts[part.tile], part.count, part.number + 1)
    for tile in range(tiles):
        if tile not in numbers:
            raise FrameError(f"tile {tile + 1} of {tiles} is missing")
        lost = set(range(counts[tile])) - numbers[tile]
        if lost:
            raise FrameError(f"part {min(lost) + 1} of {counts[tile]} of tile {tile + 1} of {tiles} is missing")


def _tile_count(frame: bytes) -> int:
    right, bottom, _, _, width, height, left, top = struct.unpack_from(">8I", frame, _SIZE_AT + 6)
    if not width or not height:
        raise FrameError(f"tiles of {height} rows and {width} columns")
    tiles: int = -((left - right) // width) * -((top - bottom) // height)
    if not 1 <= tiles <= _MOST_TILES:
        raise FrameError(f"{tiles} tiles; expected 1 to {_MOST_TILES}")
    return tiles


def _tile_parts(frame: bytes) -> Iterator[_TilePart]:
    place = _first_tile_part(frame)
    while place + 2 <= len(frame):
        (marker,) = struct.unpack_from(">H", frame, place)
        if marker != _TILE_PART:
            return
        _, _, tile, length, number, count = _TILE_PART_HEADER.unpack_from(frame, place)
        yield _TilePart(tile=tile, number=number, count=count)
        # The last tile part may leave its length open.
        if length == 0:
            return
        if length < _TILE_PART_HEADER.size:
            raise FrameError(f"a part of tile {tile + 1} of {length} bytes")
        place += length


def _first_tile_part(frame: bytes) -> int:
    """The place after the main header, all segments of which have a length."""
    place = _SIZE_AT
    while True:
        marker, length = struct.unpack_from(">2H", frame, place)
        if marker in (_TILE_PART, _END):
            return place
        place += 2 + max(length, 2)
