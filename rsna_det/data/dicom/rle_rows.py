"""Whether the rows of an RLE frame are as long as the header says (PS3.5, annex G.3.1: no run crosses rows)."""

import struct

from rsna_det.data.dicom.problems import FrameError

_HEADER = struct.Struct("<16I")
_NO_RUN = 128


def check_rows(frame: bytes, *, rows: int, columns: int) -> None:
    """Refuse a frame whose runs end where rows of ``rows`` pixels end, and not where those of ``columns`` do.

    The length of a frame is the same if its sides are exchanged. Writers that let runs cross rows cannot be told.

    Raises:
        FrameError: the sides are exchanged.
        struct.error: there is no RLE header.
    """
    if rows == columns:
        return
    segments, begin, after, *_ = _HEADER.unpack_from(frame)
    ends = _ends(frame[begin : after if segments > 1 else len(frame)])
    if not _has_rows(ends, rows, columns) and _has_rows(ends, columns, rows):
        raise FrameError(f"RLE rows of {rows} pixels where the header says {columns} columns")


def _ends(segment: bytes) -> set[int]:
    """The number of bytes up to the end of each run."""
    ends, place, total = set[int](), 0, 0
    while place < len(segment):
        code = segment[place]
        if code < _NO_RUN:
            total, place = total + code + 1, place + code + 2
        elif code > _NO_RUN:
            total, place = total + 257 - code, place + 2
        else:
            place += 1
        ends.add(total)
    return ends


def _has_rows(ends: set[int], rows: int, columns: int) -> bool:
    return all(row * columns in ends for row in range(1, rows + 1))
