"""What JPEG 2000 and RLE frames say of themselves, in kinds that Pillow's and pydicom's writers do not make."""

import struct
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, RLELossless

from rsna_det.data.dicom.frames import decode_frame
from rsna_det.data.dicom.jpeg2000_tiles import check_tiles
from rsna_det.data.dicom.problems import FrameError
from rsna_det.data.dicom.rle_rows import check_rows
from tests.data.dicom.files import compressed, grey, tile_parts, write

EOI = b"\xff\xd9"
DEPTH_AT, DEPTH_STEP = 42, 3
"""Byte of the codestream that has the first component's depth and sign (ISO/IEC 15444-1, A.5.1), and the way on."""


def jpeg2000(pixels: np.ndarray, **options: object) -> bytes:
    return compressed(pixels, "JPEG2000", no_jp2=True, irreversible=False, **options)


def with_depth(codestream: bytes, bits: int, *, signed: bool) -> bytes:
    depth = bytes([bits - 1 + 128 * signed])
    return codestream[:DEPTH_AT] + depth + codestream[DEPTH_AT + 1 :]


def dataset_of(path: Path, pixels: np.ndarray, codestream: bytes, **tags: object) -> Dataset:
    return dcmread(write(path, pixels, syntax=JPEG2000Lossless, encoded=codestream, **tags))


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("signed", [False, True])
def test_jpeg2000_of_every_depth_and_sign_has_the_values_that_were_written(
    tmp_path: Path, bits: int, signed: bool
) -> None:
    rng = np.random.default_rng(0)
    coded = rng.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), (16, 24))
    coded[0, :2] = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    # A codestream holds values around 0: an encoder takes half of the range away, and a decoder adds it again where
    # they are not signed.
    container = 8 if bits == 8 else 16
    written = (coded + 2 ** (container - 1)).astype(f"u{container // 8}")
    codestream = with_depth(jpeg2000(written), bits, signed=signed)
    stored = written.astype(f"{'i' if signed else 'u'}{container // 8}")
    dataset = dataset_of(tmp_path / "a.dcm", stored, codestream, bits=bits)
    expected = coded if signed else coded + 2 ** (bits - 1)
    assert decode_frame(dataset, JPEG2000Lossless).tolist() == expected.tolist()


@pytest.mark.parametrize("offset", [(3, 5), (0, 7), (15, 0)])
def test_jpeg2000_whose_image_begins_within_its_grid(tmp_path: Path, offset: tuple[int, int]) -> None:
    pixels = grey((16, 24))
    dataset = dataset_of(
        tmp_path / "a.dcm", pixels, jpeg2000(pixels, offset=offset, tile_offset=(0, 0), tile_size=(16, 16))
    )
    assert np.array_equal(decode_frame(dataset, JPEG2000Lossless), pixels)


def test_jpeg2000_of_components_of_different_depths_is_refused(tmp_path: Path) -> None:
    pixels = np.stack([grey((16, 24))] * 3, axis=-1)
    data = jpeg2000(pixels)
    second = DEPTH_AT + DEPTH_STEP
    data = data[:second] + b"\x0b" + data[second + 1 :]
    tags = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    with pytest.raises(FrameError, match=r"^a JPEG 2000 frame of 3 components with 2 kinds of values$"):
        decode_frame(dataset_of(tmp_path / "a.dcm", pixels, data, **tags), JPEG2000Lossless)


def tiled(side: int, *, tile: int) -> tuple[bytes, list[bytes]]:
    """The main header and the tile parts of an image of square tiles."""
    return tile_parts(jpeg2000(grey((side, side)), tile_size=(tile, tile)))


def numbered(part: bytes, number: int, count: int) -> bytes:
    """The tile part with other TPsot and TNsot."""
    return part[:10] + bytes([number, count]) + part[12:]


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        # Number and count of the parts of the first tile: the highest of both says how many there are.
        ([(0, 2), (1, 0)], None),
        ([(0, 0), (1, 2)], None),
        ([(1, 2), (0, 2)], None),
        ([(0, 0), (1, 0)], None),
        ([(0, 3), (1, 0)], "part 3 of 3 of tile 1 of 4 is missing"),
        ([(0, 3), (1, 2)], "part 3 of 3 of tile 1 of 4 is missing"),
        ([(0, 0), (2, 0)], "part 2 of 3 of tile 1 of 4 is missing"),
        ([(1, 0)], "part 1 of 2 of tile 1 of 4 is missing"),
        ([(2, 0), (0, 2)], "part 2 of 3 of tile 1 of 4 is missing"),
    ],
)
def test_which_parts_of_a_tile_must_be_there(numbers: list[tuple[int, int]], message: str | None) -> None:
    header, parts = tiled(64, tile=32)
    data = header + b"".join([*(numbered(parts[0], *each) for each in numbers), *parts[1:]]) + EOI
    if message is None:
        check_tiles(data)
        return
    with pytest.raises(FrameError, match=f"^{message}$"):
        check_tiles(data)


@pytest.mark.parametrize("ending", [b"", EOI, EOI[:1]])
def test_a_codestream_may_end_without_its_end_marker(ending: bytes) -> None:
    header, parts = tiled(64, tile=32)
    check_tiles(header + b"".join(parts) + ending)


@pytest.mark.parametrize("length", [1, 11])
def test_a_part_that_is_shorter_than_its_header_is_refused(length: int) -> None:
    header, parts = tiled(64, tile=32)
    short = parts[1][:6] + struct.pack(">I", length) + parts[1][10:]
    with pytest.raises(FrameError, match=f"^a part of tile 2 of {length} bytes$"):
        check_tiles(header + parts[0] + short + EOI)


def test_more_tiles_than_can_be_numbered_are_refused() -> None:
    header, parts = tiled(64, tile=32)
    # 255 x 257 tiles of 1 x 1 are 65,535, of which only the first is there; one row more is too many.
    for size, message in (((255, 257), "tile 5 of 65535 is missing"), ((256, 256), "65536 tiles; expected 1 to 65535")):
        data = header[:8] + struct.pack(">8I", *size, 0, 0, 1, 1, 0, 0) + header[40:]
        with pytest.raises(FrameError, match=f"^{message}$"):
            check_tiles(data + b"".join(parts) + EOI)


def rle(runs: bytes, *more: bytes) -> bytes:
    """A frame of one segment or several."""
    begins = np.cumsum([64, len(runs), *map(len, more)])[:-1].tolist()
    return struct.pack("<16I", 1 + len(more), *begins, *[0] * (15 - len(begins))) + runs + b"".join(more)


def run(length: int, value: int) -> bytes:
    return bytes([257 - length, value])


def literal(*values: int) -> bytes:
    return bytes([len(values) - 1, *values])


LONGEST = literal(*range(128))


@pytest.mark.parametrize(
    ("runs", "rows", "columns", "exchanged"),
    [
        # Rows of three in two of two, and the other way round.
        (run(3, 1) + run(3, 2), 2, 3, False),
        (run(3, 1) + run(3, 2), 3, 2, True),
        (literal(1, 2) + literal(3, 4) + run(2, 5), 2, 3, True),
        (literal(1, 2) + literal(3, 4) + run(2, 5), 3, 2, False),
        # 128 is no run, wherever it stands.
        (b"\x80" + run(3, 1) + b"\x80\x80" + run(3, 2) + b"\x80", 3, 2, True),
        # The longest literal and the longest run have 128 pixels.
        (LONGEST * 3, 3, 128, False),
        (LONGEST * 3, 128, 3, True),
        (run(128, 7) * 3, 128, 3, True),
        # Neither the rows of the header nor those of exchanged sides end with a run: it cannot be told.
        (run(4, 1) + run(2, 2), 3, 2, False),
        (run(4, 1) + run(2, 2), 2, 3, False),
        # The first row ends within a run, the last ones do not; and the other way round.
        (run(3, 1) + literal(2) + run(2, 3), 2, 3, False),
        (run(2, 1) + run(4, 2), 3, 2, False),
    ],
)
@pytest.mark.parametrize("segments", [1, 2])
def test_whether_the_sides_of_an_rle_frame_are_exchanged(
    runs: bytes, rows: int, columns: int, exchanged: bool, segments: int
) -> None:
    # Of two segments the first is looked at; all runs of the second end anywhere.
    frame = rle(runs, *[literal(0) * 400] * (segments - 1))
    if not exchanged:
        check_rows(frame, rows=rows, columns=columns)
        return
    with pytest.raises(FrameError, match=f"^RLE rows of {rows} pixels where the header says {columns} columns$"):
        check_rows(frame, rows=rows, columns=columns)


@pytest.mark.parametrize(("excess", "refused"), [(0, False), (1, False), (2, True), (3, True)])
def test_a_segment_may_be_one_byte_longer_than_its_rows(tmp_path: Path, excess: int, refused: bool) -> None:
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    dataset = dcmread(write(tmp_path / "a.dcm", pixels, syntax=RLELossless))
    rows = b"".join(literal(*row) for row in pixels.tolist())
    dataset.PixelData = encapsulate([rle(rows + (literal(*[0] * excess) if excess else b""))])
    if not refused:
        assert np.array_equal(decode_frame(dataset, RLELossless), pixels)
        return
    with pytest.raises(FrameError, match=f"^RLE segments of {12 + excess} bytes where the header says 12$"):
        decode_frame(dataset, RLELossless)


@pytest.mark.parametrize(("length", "refused"), [(2 * 12 + 78, False), (2 * 12 + 80, True), (3 * 12 + 78, True)])
def test_how_long_an_rle_frame_may_be(tmp_path: Path, length: int, refused: bool) -> None:
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    dataset = dcmread(write(tmp_path / "a.dcm", pixels, syntax=RLELossless))
    frame = rle(b"".join(literal(*row) for row in pixels.tolist()))
    dataset.PixelData = encapsulate([frame + b"\x80" * (length - len(frame))])
    if refused:
        with pytest.raises(FrameError, match=f"^{length} bytes of RLE for 12 bytes of pixels$"):
            decode_frame(dataset, RLELossless)
    else:
        assert np.array_equal(decode_frame(dataset, RLELossless), pixels)
