"""What a JPEG codestream says of itself: its size, and whether all of its scans are there (ISO/IEC 10918-1, annex B).

libjpeg takes a picture whose last scans are missing for a coarser one, without a warning. And it works through every
scan over the whole picture, however short and often repeated: a small file could keep it busy for minutes.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from rsna_det.data.dicom.problems import FrameError

_START_OF_SCAN, _END = 0xDA, 0xD9
# SOF0 to SOF15; of the same range, 0xC4, 0xC8 and 0xCC mean other things.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_LOSSLESS = frozenset({0xC3, 0xC7, 0xCB, 0xCF})
_COEFFICIENTS = 64
# Encoders make about 10 of a progressive picture, and hardly more than one for each coefficient of a component.
_MOST_SCANS = 100
# In the data of a scan 0xFF is followed by 0; restart markers are part of the data, and fill bytes may come before any.
_MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Codestream:
    """What a compressed frame says of itself: size in pixels, number of components, bits and sign of each."""

    height: int
    width: int
    components: int
    bits: int
    signed: bool = False


def read_header(frame: bytes) -> Codestream:
    """The frame header.

    Raises:
        FrameError: there is none, scans that it needs are missing, or there are more than any encoder makes.
        struct.error: a segment breaks off.
    """
    header: Codestream | None = None
    missing: dict[int, set[int]] = {}
    scans = 0
    for marker, place in _segments(frame):
        if marker in _FRAMES and header is None:
            bits, height, width, components = struct.unpack_from(">BHHB", frame, place + 2)
            header = Codestream(height=height, width=width, components=components, bits=bits)
            if marker not in _LOSSLESS:
                missing = {frame[place + 8 + 3 * i]: set(range(_COEFFICIENTS)) for i in range(components)}
        elif marker == _START_OF_SCAN:
            scans += 1
            if scans > _MOST_SCANS:
                raise FrameError(f"a JPEG frame of more than {_MOST_SCANS} scans")
            _read_scan(frame, place, missing)
    if header is None:
        raise FrameError("a JPEG frame without a header")
    if any(missing.values()):
        raise FrameError("a JPEG frame that ends before its last scan")
    return header


def _segments(frame: bytes) -> Iterator[tuple[int, int]]:
    """Each marker up to the end, and the place of its length."""
    place = 2
    while found := _MARKER.search(frame, place):
        marker, place = found[1][0], found.end()
        if marker == _END:
            return
        yield marker, place
        place += max(2, int.from_bytes(frame[place : place + 2], "big"))


def _read_scan(frame: bytes, place: int, missing: dict[int, set[int]]) -> None:
    """Take away the coefficients that are whole after a scan: those of which it brings the last bit."""
    count = frame[place + 2]
    names = [frame[place + 3 + 2 * number] for number in range(count)]
    first, last, bits = struct.unpack_from(">BBB", frame, place + 3 + 2 * count)
    if bits & 0x0F == 0:
        for name in names:
            missing.get(name, set()).difference_update(range(first, last + 1))
