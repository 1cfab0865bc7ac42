"""JPEG frames: which scans a picture needs, in markers written by hand, and what colour frames come out as."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit

from rsna_det.data.dicom.frames import decode_frame
from rsna_det.data.dicom.jpeg_markers import Codestream, read_header
from rsna_det.data.dicom.problems import FrameError
from tests.data.dicom.files import smooth, write

SOI, EOI = b"\xff\xd8", b"\xff\xd9"
WHOLE = (0, 63, 0)
"""First and last coefficient of a scan, and the bit that it goes down to."""


def segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def frame_header(*names: int, marker: int = 0xC2, bits: int = 8, size: tuple[int, int] = (48, 64)) -> bytes:
    components = b"".join(bytes([name, 0x11, 0]) for name in names)
    return segment(marker, struct.pack(">BHHB", bits, *size, len(names)) + components)


def scan(*names: int, what: tuple[int, int, int] = WHOLE) -> bytes:
    first, last, low = what
    content = bytes([len(names)]) + b"".join(bytes([name, 0]) for name in names) + bytes([first, last, low])
    # The data hold a 0xFF that is no marker, a restart marker and fill bytes.
    return segment(0xDA, content) + b"\x01\xff\x00\x02\xff\xd3\x03\xff"


def jpeg(*parts: bytes) -> bytes:
    return SOI + b"".join(parts) + EOI


@pytest.mark.parametrize(
    ("names", "scans", "whole"),
    [
        ([1], [([1], WHOLE)], True),
        ([1], [], False),
        # Spectral selection: every coefficient, in any order and more than once.
        ([1], [([1], (0, 0, 0)), ([1], (1, 63, 0))], True),
        ([1], [([1], (6, 63, 0)), ([1], (0, 0, 0)), ([1], (1, 5, 0))], True),
        ([1], [([1], (0, 0, 0)), ([1], (1, 62, 0))], False),
        ([1], [([1], (0, 0, 0)), ([1], (2, 63, 0))], False),
        ([1], [([1], (1, 63, 0))], False),
        ([1], [([1], (0, 4, 0)), ([1], (6, 63, 0))], False),
        # Successive approximation: down to the last bit.
        ([1], [([1], (0, 63, 1)), ([1], (0, 63, 0x10))], True),
        ([1], [([1], (0, 63, 2)), ([1], (0, 63, 0x21))], False),
        # All components, in one scan or in several; a scan of another one brings nothing.
        ([1, 2, 3], [([1, 2, 3], WHOLE)], True),
        ([1, 2, 3], [([2], WHOLE), ([3, 1], WHOLE)], True),
        ([1, 2, 3], [([1, 2], WHOLE)], False),
        ([82, 71, 66], [([82, 71, 66], WHOLE)], True),
        ([1], [([7], WHOLE)], False),
        ([1], [([7], WHOLE), ([1], WHOLE)], True),
    ],
)
def test_a_picture_needs_every_bit_of_every_coefficient(
    names: list[int], scans: list[tuple[list[int], tuple[int, int, int]]], whole: bool
) -> None:
    data = jpeg(frame_header(*names), *(scan(*each, what=what) for each, what in scans))
    if whole:
        assert read_header(data) == Codestream(height=48, width=64, components=len(names), bits=8)
        return
    with pytest.raises(FrameError, match=r"^a JPEG frame that ends before its last scan$"):
        read_header(data)


@pytest.mark.parametrize("marker", sorted(set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}))
def test_a_lossless_frame_has_no_coefficients(marker: int) -> None:
    data = jpeg(frame_header(1, marker=marker), scan(1, what=(1, 0, 0)))
    if marker in (0xC3, 0xC7, 0xCB, 0xCF):
        assert read_header(data).bits == 8
        return
    with pytest.raises(FrameError, match="before its last scan"):
        read_header(data)


def test_numbers_of_a_frame_are_unsigned_and_the_first_header_counts() -> None:
    thumbnail = segment(0xE0, jpeg(frame_header(1, size=(2, 3)), scan(1)))
    data = jpeg(
        thumbnail,
        segment(0xC4, bytes(40)),
        frame_header(1, bits=12, size=(40_000, 65_535)),
        frame_header(1, bits=8, size=(2, 3)),
        segment(0xFE, b""),
        scan(1),
    )
    assert read_header(data) == Codestream(height=40_000, width=65_535, components=1, bits=12)


@pytest.mark.parametrize("data", [SOI, jpeg(), jpeg(segment(0xC4, bytes(9))), jpeg() + frame_header(1) + scan(1)])
def test_a_frame_without_header_is_refused(data: bytes) -> None:
    with pytest.raises(FrameError, match=r"^a JPEG frame without a header$"):
        read_header(data)


def test_a_frame_has_up_to_a_hundred_scans() -> None:
    assert read_header(jpeg(frame_header(1), scan(1) * 100)).components == 1
    with pytest.raises(FrameError, match=r"^a JPEG frame of more than 100 scans$"):
        read_header(jpeg(frame_header(1), scan(1) * 101))


def colours() -> np.ndarray:
    """Red, green and blue in steps over half of the range, without edges that JPEG would blur."""
    ramp = smooth((24, 40)).astype(int)
    return np.stack([ramp, 255 - ramp, (ramp + 60) // 2], axis=-1).astype(np.uint8)


def stored_as_rgb() -> bytes:
    """A JPEG of red, green and blue themselves, without Adobe's mark and with the numbers that YCbCr has."""
    buffer = io.BytesIO()
    Image.fromarray(colours()).save(buffer, format="JPEG", quality=100, subsampling=0, keep_rgb=True)
    data = buffer.getvalue()
    adobe = data.find(b"\xff\xee")
    if adobe >= 0:
        data = data[:adobe] + data[adobe + 2 + int.from_bytes(data[adobe + 2 : adobe + 4], "big") :]
    for marker, at, step in ((b"\xff\xc0", 10, 3), (b"\xff\xda", 5, 2)):
        begin = data.index(marker) + at
        for number in range(3):
            place = begin + step * number
            data = data[:place] + bytes([number + 1]) + data[place + 1 :]
    return data


def colour_file(path: Path, pixels: np.ndarray, photometric: str, **options: object) -> Dataset:
    tags = {"SamplesPerPixel": 3, "PhotometricInterpretation": photometric, "PlanarConfiguration": 0}
    return dcmread(write(path, pixels, **tags, **options))  # type: ignore[arg-type]


def test_a_jpeg_of_red_green_and_blue_is_not_taken_for_ycbcr(tmp_path: Path) -> None:
    dataset = colour_file(tmp_path / "a.dcm", colours(), "RGB", syntax=JPEGBaseline8Bit, encoded=stored_as_rgb())
    found = decode_frame(dataset, JPEGBaseline8Bit)
    assert np.abs(found.astype(int) - colours()).max() <= 3


@pytest.mark.parametrize("photometric", ["YBR_FULL_422", "YBR_FULL", "RGB"])
def test_a_jpeg_of_ycbcr_comes_out_as_red_green_and_blue(tmp_path: Path, photometric: str) -> None:
    buffer = io.BytesIO()
    Image.fromarray(colours()).save(buffer, format="JPEG", quality=100, subsampling=0)
    data = buffer.getvalue()
    if photometric == "RGB":
        # Adobe's mark says that it is YCbCr, whatever the header says.
        mark = segment(0xEE, b"Adobe\0\x64\0\0\0\0\x01")
        data = data[:2] + mark + data[2:]
    dataset = colour_file(tmp_path / "a.dcm", colours(), photometric, syntax=JPEGBaseline8Bit, encoded=data)
    found = decode_frame(dataset, JPEGBaseline8Bit)
    assert np.abs(found.astype(int) - colours()).max() <= 5


def test_uncompressed_colours_of_half_the_columns(tmp_path: Path) -> None:
    # Two pixels take their two brightnesses, one blue and one red difference; 128 is none.
    grey = smooth((4, 6))
    pairs = np.full((4, 3, 4), 128, dtype=np.uint8)
    pairs[..., 0], pairs[..., 1] = grey[:, ::2], grey[:, 1::2]
    path = write(tmp_path / "a.dcm", np.zeros((4, 6, 2), dtype=np.uint8), SamplesPerPixel=3, PlanarConfiguration=0,
                 PhotometricInterpretation="YBR_FULL_422", PixelData=pairs.tobytes())  # fmt: skip
    assert decode_frame(dcmread(path), ExplicitVRLittleEndian)[..., 0].tolist() == grey.tolist()


@pytest.mark.parametrize(
    ("excess", "refused"),
    [
        (b"", False),
        (b"\x07", False),
        (bytes(14), False),
        (bytes(15), True),
        (b"\0\x07", True),
        (bytes(13) + b"\1", True),
    ],
)
@pytest.mark.filterwarnings("ignore:The pixel data is")
def test_what_may_follow_uncompressed_pixels(tmp_path: Path, excess: bytes, refused: bool) -> None:
    pixels = np.arange(15, dtype=np.uint8).reshape(3, 5)
    dataset = dcmread(write(tmp_path / "a.dcm", pixels))
    dataset.PixelData = pixels.tobytes() + excess
    if not refused:
        assert np.array_equal(decode_frame(dataset, ExplicitVRLittleEndian), pixels)
        return
    with pytest.raises(FrameError, match=rf"^{15 + len(excess)} bytes of pixels; the shape in the header takes 15$"):
        decode_frame(dataset, ExplicitVRLittleEndian)


def test_a_frame_of_another_kind_is_refused(tmp_path: Path) -> None:
    dataset = dcmread(write(tmp_path / "a.dcm", smooth(), syntax=JPEGBaseline8Bit, encoded=b"\xff\x4f\xff\x51" * 5))
    with pytest.raises(FrameError, match=r"^no codestream of the kind that the transfer syntax names$"):
        decode_frame(dataset, JPEGBaseline8Bit)
