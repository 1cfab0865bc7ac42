"""Frames that are not what their header says, and frames that end before they should."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000, UID, ExplicitVRLittleEndian, JPEG2000Lossless, JPEGBaseline8Bit, RLELossless

from rsna_det.data.dicom.jpeg2000_tiles import check_tiles
from rsna_det.data.dicom.jpeg_markers import read_header
from rsna_det.data.dicom.problems import FrameError
from rsna_det.data.dicom.reading import DicomError, read_radiograph
from tests.data.dicom.files import compressed, grey, tile_parts, write

EOI = b"\xff\xd9"
FORMATS = {JPEGBaseline8Bit: ("JPEG", {}), JPEG2000: ("JPEG2000", {"no_jp2": True})}


def encoded(pixels: np.ndarray, syntax: UID) -> bytes:
    name, options = FORMATS[syntax]
    return compressed(pixels, name, **options)


def noisy(shape: tuple[int, int] = (64, 48)) -> np.ndarray:
    return (np.add.outer(np.arange(shape[0]), np.arange(shape[1])) + grey(shape) // 8).astype(np.uint8)


@pytest.mark.parametrize("syntax", FORMATS, ids=lambda syntax: syntax.name)
@pytest.mark.parametrize("shape", [(48, 64), (64, 47), (32, 96), (65, 48)])
def test_a_frame_of_another_size_is_refused(tmp_path: Path, syntax: UID, shape: tuple[int, int]) -> None:
    path = write(tmp_path / "a.dcm", noisy(shape), syntax=syntax, encoded=encoded(noisy(), syntax))
    found = rf"a\.dcm: .*a frame of 64 rows and 48 columns where the header says {shape[0]} rows and {shape[1]} columns"
    with pytest.raises(DicomError, match=found):
        read_radiograph(path)


@pytest.mark.parametrize("syntax", FORMATS, ids=lambda syntax: syntax.name)
@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9, 0.99])
def test_a_frame_cut_short_with_an_end_marker_is_refused(tmp_path: Path, syntax: UID, kept: float) -> None:
    whole = encoded(noisy(), syntax)
    path = write(tmp_path / "a.dcm", noisy(), syntax=syntax, encoded=whole[: int(len(whole) * kept)] + EOI)
    with pytest.raises(DicomError, match=r"a\.dcm: its .* pixel data cannot be decoded"):
        read_radiograph(path)


@pytest.mark.parametrize("options", [{"progressive": True}, {"restart_marker_rows": 1}, {"quality": 30}])
def test_every_kind_of_jpeg_cut_short_is_refused(tmp_path: Path, options: dict[str, object]) -> None:
    whole = compressed(noisy(), "JPEG", **options)
    assert np.array_equal(
        read_radiograph(write(tmp_path / "a.dcm", noisy(), syntax=JPEGBaseline8Bit, encoded=whole)),
        np.asarray(Image.open(io.BytesIO(whole))),
    )
    begin = whole.index(b"\xff\xda") + 12
    for length in range(begin, len(whole) - 2, max(1, (len(whole) - begin) // 40)):
        path = write(tmp_path / "a.dcm", noisy(), syntax=JPEGBaseline8Bit, encoded=whole[:length] + EOI)
        with pytest.raises(DicomError, match="cannot be decoded"):
            read_radiograph(path)


def test_a_frame_of_other_precision_is_refused(tmp_path: Path) -> None:
    data = encoded(noisy(), JPEG2000)
    path = write(tmp_path / "a.dcm", noisy().astype(np.uint16), syntax=JPEG2000, encoded=data, bits=12)
    with pytest.raises(DicomError, match="a frame of 8 bits where the header says 12 bits in 16"):
        read_radiograph(path)
    data = encoded(noisy().astype(np.uint16) * 256, JPEG2000)
    path = write(tmp_path / "a.dcm", noisy(), syntax=JPEG2000Lossless, encoded=data)
    with pytest.raises(DicomError, match="a frame of 16 bits where the header says 8 bits in 8"):
        read_radiograph(path)


@pytest.mark.parametrize("syntax", FORMATS, ids=lambda syntax: syntax.name)
def test_a_frame_of_other_components_is_refused(tmp_path: Path, syntax: UID) -> None:
    data = encoded(np.repeat(noisy()[..., None], 3, axis=2), syntax)
    path = write(tmp_path / "a.dcm", noisy(), syntax=syntax, encoded=data)
    with pytest.raises(DicomError, match="3 components where the header says 1"):
        read_radiograph(path)


@pytest.mark.parametrize("syntax", [*FORMATS, RLELossless], ids=lambda syntax: syntax.name)
def test_two_frames_under_a_header_of_one_are_refused(tmp_path: Path, syntax: UID) -> None:
    data = None if syntax == RLELossless else encoded(noisy(), syntax)
    path = write(tmp_path / "a.dcm", noisy(), syntax=syntax, encoded=data)
    dataset = dcmread(path)
    frame = data or dataset.PixelData[16:-8]
    dataset.PixelData = encapsulate([frame, frame])
    dataset.save_as(path)
    with pytest.raises(DicomError, match="2 frames in its pixel data where the header says 1"):
        read_radiograph(path)


@pytest.mark.parametrize("syntax", FORMATS, ids=lambda syntax: syntax.name)
def test_a_frame_in_several_fragments_is_one(tmp_path: Path, syntax: UID) -> None:
    data = encoded(noisy(), syntax)
    path = write(tmp_path / "a.dcm", noisy(), syntax=syntax, encoded=data)
    whole = read_radiograph(path)
    dataset = dcmread(path)
    dataset.PixelData = encapsulate([data], fragments_per_frame=3)
    dataset.save_as(path)
    assert np.array_equal(read_radiograph(path), whole)


def test_the_codestream_counts_and_not_the_file_around_it(tmp_path: Path) -> None:
    wrapped = compressed(noisy(), "JPEG2000")
    assert wrapped[4:8] == b"jP  "
    path = write(tmp_path / "a.dcm", noisy(), syntax=JPEG2000, encoded=wrapped)
    assert np.array_equal(read_radiograph(path), noisy())
    # The image header box says 128 rows, and so does DICOM's header; the codestream has 64.
    lying = wrapped.replace(b"ihdr" + struct.pack(">2I", 64, 48), b"ihdr" + struct.pack(">2I", 128, 48))
    assert lying != wrapped
    path = write(tmp_path / "a.dcm", noisy((128, 48)), syntax=JPEG2000, encoded=lying)
    with pytest.raises(DicomError, match="64 rows and 48 columns where the header says 128"):
        read_radiograph(path)


def test_a_box_without_a_length_does_not_hang(tmp_path: Path) -> None:
    wrapped = bytearray(compressed(noisy(), "JPEG2000"))
    wrapped[12:16] = bytes(4)
    path = write(tmp_path / "a.dcm", noisy(), syntax=JPEG2000, encoded=bytes(wrapped))
    assert np.array_equal(read_radiograph(path), noisy())


@pytest.mark.parametrize("excess", [b"\x01\x02", bytes(48) + b"\x01", noisy().tobytes()])
def test_more_pixels_than_the_header_says_are_refused(tmp_path: Path, excess: bytes) -> None:
    path = write(tmp_path / "a.dcm", noisy(), PixelData=noisy().tobytes() + excess + bytes(len(excess) % 2))
    with pytest.raises(DicomError, match=r"bytes of pixels; the shape in the header takes 3072"):
        read_radiograph(path)


def test_rle_of_another_size_is_refused(tmp_path: Path) -> None:
    for rows, message in ((48, "RLE segments of 3072 bytes where the header says 2304"), (80, "cannot be decoded")):
        path = write(tmp_path / "a.dcm", noisy(), syntax=RLELossless)
        dataset = dcmread(path)
        dataset.Rows = rows
        dataset.save_as(path)
        with pytest.raises(DicomError, match=message):
            read_radiograph(path)


def test_rle_that_is_cut_short_is_told_in_one_sentence(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm", noisy(), syntax=RLELossless)
    dataset = dcmread(path)
    # 128 values alike in place of 3072.
    dataset.PixelData = encapsulate([struct.pack("<16I", 1, 64, *[0] * 14) + b"\x81\0"])
    dataset.save_as(path)
    with pytest.raises(DicomError) as caught:
        read_radiograph(path)
    told = "The amount of decoded RLE segment data doesn't match the expected amount (128 vs. 3072 bytes)"
    assert f"its RLE Lossless pixel data cannot be decoded ({told}); fetch the file again" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_compressed_pixels_under_an_uncompressed_syntax_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm", noisy(), syntax=JPEGBaseline8Bit, encoded=encoded(noisy(), JPEGBaseline8Bit))
    raw = path.read_bytes()
    old, new = (uid.encode() for uid in (JPEGBaseline8Bit, ExplicitVRLittleEndian))
    path.write_bytes(raw.replace(old, new.ljust(len(old), b"\0")))
    with pytest.raises(DicomError, match=r"a\.dcm"):
        read_radiograph(path)


def test_a_progressive_jpeg_without_its_last_scans_is_refused(tmp_path: Path) -> None:
    whole = compressed(noisy(), "JPEG", progressive=True)
    scans = [place for place in range(len(whole)) if whole[place : place + 2] == b"\xff\xda"]
    assert len(scans) > 3
    for scan in scans[1:]:
        # libjpeg shows a coarser picture here, and does not even warn.
        cut = whole[:scan] + EOI
        assert np.asarray(Image.open(io.BytesIO(cut))).shape == (64, 48)
        path = write(tmp_path / "a.dcm", noisy(), syntax=JPEGBaseline8Bit, encoded=cut)
        with pytest.raises(DicomError, match="a JPEG frame that ends before its last scan"):
            read_radiograph(path)


def test_a_jpeg_of_more_scans_than_encoders_make_is_refused(tmp_path: Path) -> None:
    whole = compressed(noisy(), "JPEG", progressive=True)
    scans = [place for place in range(len(whole)) if whole[place : place + 2] == b"\xff\xda"]
    begin, last = whole[:-2], whole[scans[-1] : -2]
    hundred = begin + last * (100 - len(scans))
    assert read_header(hundred + EOI) == read_header(whole)
    path = write(tmp_path / "a.dcm", noisy(), syntax=JPEGBaseline8Bit, encoded=hundred + last + EOI)
    with pytest.raises(DicomError, match=r"a\.dcm: .*a JPEG frame of more than 100 scans"):
        read_radiograph(path)


def test_a_jpeg_without_a_frame_is_refused(tmp_path: Path) -> None:
    for data in (b"\xff\xd8\xff\xd9", b"\xff\xd8\xff\xe0\xff\xff" + bytes(40) + EOI):
        path = write(tmp_path / "a.dcm", noisy(), syntax=JPEGBaseline8Bit, encoded=data)
        with pytest.raises(DicomError, match="a JPEG frame without a header"):
            read_radiograph(path)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_rle_of_exchanged_sides_is_refused(tmp_path: Path, dtype: type) -> None:
    path = write(tmp_path / "a.dcm", noisy().astype(dtype) * 3, syntax=RLELossless)
    assert read_radiograph(path).shape == (64, 48)
    dataset = dcmread(path)
    dataset.Rows, dataset.Columns = 48, 64
    dataset.save_as(path)
    with pytest.raises(DicomError, match="RLE rows of 48 pixels where the header says 64 columns"):
        read_radiograph(path)


def test_rle_whose_runs_cross_rows_is_read(tmp_path: Path) -> None:
    # 6 x 10 pixels in runs of 7, 7, ...: no row ends with a run.
    runs = b"".join(bytes([257 - 7, value]) for value in range(8)) + bytes([257 - 4, 9])
    path = write(tmp_path / "a.dcm", grey((6, 10)), syntax=RLELossless)
    dataset = dcmread(path)
    dataset.PixelData = encapsulate([struct.pack("<16I", 1, 64, *[0] * 14) + runs])
    dataset.save_as(path)
    expected = np.array([value for value in range(8) for _ in range(7)] + [9] * 4).reshape(6, 10)
    assert np.array_equal(read_radiograph(path), expected)


@pytest.mark.parametrize("lost", range(4))
def test_jpeg2000_without_a_tile_is_refused(tmp_path: Path, lost: int) -> None:
    header, parts = tile_parts(compressed(noisy(), "JPEG2000", no_jp2=True, tile_size=(32, 32)))
    assert len(parts) == 4
    path = write(tmp_path / "a.dcm", noisy(), syntax=JPEG2000, encoded=header + b"".join(parts[::-1]) + EOI)
    assert np.array_equal(read_radiograph(path), noisy())
    rest = b"".join(parts[:lost] + parts[lost + 1 :])
    path = write(tmp_path / "a.dcm", noisy(), syntax=JPEG2000, encoded=header + rest + EOI)
    with pytest.raises(DicomError, match=rf"tile {lost + 1} of 4 is missing"):
        read_radiograph(path)


def test_jpeg2000_without_a_part_of_a_tile_is_refused(tmp_path: Path) -> None:
    header, (part,) = tile_parts(compressed(noisy(), "JPEG2000", no_jp2=True))
    # TNsot says that the tile has two parts.
    path = write(tmp_path / "a.dcm", noisy(), syntax=JPEG2000, encoded=header + part[:11] + b"\2" + part[12:] + EOI)
    with pytest.raises(DicomError, match="part 2 of 2 of tile 1 of 1 is missing"):
        read_radiograph(path)


@pytest.mark.parametrize("tile", [(0, 32), (1, 0)])
def test_tiles_without_a_size_are_refused(tmp_path: Path, tile: tuple[int, int]) -> None:
    data = encoded(noisy(), JPEG2000)
    data = data[:24] + struct.pack(">2I", *tile) + data[32:]
    path = write(tmp_path / "a.dcm", noisy(), syntax=JPEG2000, encoded=data)
    with pytest.raises(DicomError, match=f"tiles of {tile[1]} rows and {tile[0]} columns"):
        read_radiograph(path)


def test_the_last_tile_part_may_leave_its_length_open() -> None:
    header, parts = tile_parts(compressed(noisy(), "JPEG2000", no_jp2=True, tile_size=(32, 32)))
    last = parts[3][:6] + bytes(4) + parts[3][10:]
    check_tiles(header + b"".join([*parts[:3], last]) + EOI)
    with pytest.raises(FrameError, match="tile 2 of 4 is missing"):
        check_tiles(header + b"".join([parts[0], parts[2], last]) + EOI)
