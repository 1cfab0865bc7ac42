"""What is said of a file that is refused, word for word: its name, what was found, and what to do."""

import os
import struct
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, JPEGLSLossless

from rsna_det.data.dicom.limits import Limits
from rsna_det.data.dicom.reading import DicomError, find_dicoms, read_radiograph, read_size
from rsna_det.errors import InvalidValueError
from tests.data.dicom.files import compressed, deep, smooth, write

CORRECT = "correct its header, or export it again"
CONVERT = "fetch the file again, or convert it with `gdcmconv --raw` (GDCM) or `dcmdjpeg` (DCMTK)"
FETCH = "fetch the file again: it holds no image, or is truncated"
COLOUR = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}


def item(**tags: object) -> list[Dataset]:
    dataset = Dataset()
    for name, value in tags.items():
        setattr(dataset, name, value)
    return [dataset]


def lut(*, data: bool = True, descriptor: bool = True) -> list[Dataset]:
    table = Dataset()
    if data:
        table.add_new("LUTData", "US", [0, 100])
    if descriptor:
        table.add_new("LUTDescriptor", "US", [2, 0, 8])
    return [table]


def differing() -> np.ndarray:
    colour = np.repeat(smooth()[..., None], 3, axis=2)
    colour[0, 0] = 1, 2, 3
    return colour


ACCEPT = "correct one of them, or follow MONOCHROME2 with `reading.accept=[presentation_lut_shape]`"
GREY_BESIDE_TABLE = "PresentationLUTSequence holds a table beside MONOCHROME2, so that its grey levels may be others"
EXCHANGED = "PresentationLUTShape INVERSE contradicts MONOCHROME2, so that black and white may be exchanged"
TOO_LARGE = (
    "an image of {rows} rows and 40 columns ({frames} frames, 1 samples): the square around it has more than 67108864 "
    "pixels"
)
RAISE_PIXELS = "raise reading.max_pixels if it is a radiograph"
NO_ROWS = "no usable Rows and Columns in its header ('FileDataset' object has no attribute 'Rows')"
TWICE = (
    "its Explicit VR Little Endian pixel data cannot be decoded (1920 bytes of pixels; the shape in the header takes "
    "960)"
)
NO_FRAME = "its JPEG Baseline (Process 1) pixel data cannot be decoded (a JPEG frame without a header)"
IN_GROUPS = "export it as a plain file, with its window and rescale in the header"


@pytest.mark.parametrize(
    ("tags", "found", "remedy"),
    [
        ({"remove": ("BitsStored", "HighBit")}, "no BitsStored in its header", "export the file again"),
        ({"remove": ("PixelData",)}, "no pixel data", FETCH),
        ({"NumberOfFrames": 2}, "2 frames; expected a single radiograph", "export one frame as a file of its own"),
        ({"PhotometricInterpretation": "PALETTE COLOR"},
         "PALETTE COLOR with 1 samples a pixel; expected MONOCHROME1 or MONOCHROME2", "export it in grey"),
        ({"PhotometricInterpretation": "RGB"},
         "RGB with 1 samples a pixel; expected MONOCHROME1 or MONOCHROME2", "export it in grey"),
        ({"SamplesPerPixel": 3},
         "MONOCHROME2 with 3 samples a pixel; expected MONOCHROME1 or MONOCHROME2", "export it in grey"),
        ({"BitsStored": 7}, "7 bits stored in 8; expected 8 to 16 bits", "export it with 8 to 16 bits a pixel"),
        ({"BitsAllocated": 32}, "8 bits stored in 32; expected 8 to 16 bits", "export it with 8 to 16 bits a pixel"),
        ({"HighBit": 6}, "HighBit 6 with 8 bits stored in 8; expected 7", CORRECT),
        ({"HighBit": 8}, "HighBit 8 with 8 bits stored in 8; expected 7", CORRECT),
        ({"PixelRepresentation": 2}, "PixelRepresentation 2; expected 0 (unsigned) or 1 (signed)", CORRECT),
        ({"syntax": JPEGLSLossless, "encoded": b"\0\0"},
         "transfer syntax JPEG-LS Lossless Image Compression; expected uncompressed, RLE, or a JPEG that Pillow reads",
         "convert it, for instance with `gdcmconv --raw` (GDCM) or `dcmdjpeg` (DCMTK)"),
        ({"Rows": 0}, "an image of 0 rows and 40 columns", "export it again with its pixels"),
        ({"Columns": 0}, "an image of 24 rows and 0 columns", "export it again with its pixels"),
        ({"Rows": 9000}, TOO_LARGE.format(rows=9000, frames=1), RAISE_PIXELS),
        ({"Rows": 4000, "NumberOfFrames": 5}, TOO_LARGE.format(rows=4000, frames=5), RAISE_PIXELS),
        ({"remove": ("Rows",)}, NO_ROWS, FETCH),
        ({"WindowCenter": 5}, "its header is invalid (WindowCenter without WindowWidth; expected both, or neither)",
         "correct it, or export it again"),
        ({"WindowCenter": 5, "WindowWidth": 0.5},
         "its header is invalid (Window Center 5 and Window Width 0.5; expected a width of 1 or more)",
         "correct it, or export it again"),
        ({"WindowCenter": 5, "WindowWidth": 5, "VOILUTFunction": "CUBIC"},
         "its header is invalid (VOI LUT Function CUBIC; expected one of LINEAR, LINEAR_EXACT, SIGMOID)",
         "correct it, or export it again"),
        ({"RescaleSlope": 0, "RescaleIntercept": 3},
         "its header is invalid (RescaleSlope 0.0 and RescaleIntercept 3.0; expected finite numbers, slope not 0)",
         "correct it, or export it again"),
        ({"RescaleSlope": "1e308", "RescaleIntercept": 0, "WindowCenter": 5, "WindowWidth": 5,
          "VOILUTFunction": "SIGMOID", "VOILUTSequence": lut()},
         "its header is invalid (rescale and window yield grey values that are not finite numbers)",
         "correct it, or export it again"),
        ({"PresentationLUTSequence": lut()}, GREY_BESIDE_TABLE, ACCEPT),
        ({"PresentationLUTSequence": lut(descriptor=False)}, GREY_BESIDE_TABLE, ACCEPT),
        ({"PresentationLUTSequence": lut(data=False)}, GREY_BESIDE_TABLE, ACCEPT),
        ({"PresentationLUTShape": "INVERSE"}, EXCHANGED, ACCEPT),
        ({"SharedFunctionalGroupsSequence": item(FrameVOILUTSequence=item(WindowCenter=5))},
         "an enhanced file whose FrameVOILUTSequence lies in its SharedFunctionalGroupsSequence, which is not followed",
         IN_GROUPS),
        ({"PixelData": bytes(24 * 40 * 2)}, TWICE, CONVERT),
        ({"encoded": b"\xff\xd8\xff\xd9", "syntax": JPEGBaseline8Bit}, NO_FRAME, CONVERT),
        ({"encoded": b"\0\0", "remove_syntax": True}, "compressed pixels, but no TransferSyntaxUID that says how",
         "export it again as DICOM part 10"),
    ],
)  # fmt: skip
def test_what_is_said_of_a_header(tmp_path: Path, tags: dict[str, object], found: str, remedy: str) -> None:
    path = tmp_path / "a.dcm"
    without_syntax = "remove_syntax" in tags
    write(path, smooth(), **{name: value for name, value in tags.items() if name != "remove_syntax"})  # type: ignore[arg-type]
    if without_syntax:
        raw = path.read_bytes()
        # Without preamble and group 2, the length of whose elements stands in its first.
        path.write_bytes(raw[144 + int.from_bytes(raw[140:144], "little") :])
    with pytest.raises(DicomError) as caught:
        read_radiograph(path)
    assert str(caught.value) == f"{path}: {found}; {remedy}"


def test_what_is_said_of_colours(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm", differing(), **COLOUR)  # type: ignore[arg-type]
    with pytest.raises(DicomError) as caught:
        read_radiograph(path)
    assert str(caught.value) == f"{path}: a colour image whose channels differ; expected grey; export it in grey"


def test_what_is_said_of_high_bits(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm", deep(12), bits=12, HighBit=15)
    with pytest.raises(DicomError) as caught:
        read_radiograph(path)
    found = "its header is invalid (HighBit 15, but the values lie in the lowest 12 bits)"
    assert str(caught.value) == f"{path}: {found}; correct it, or export it again"


def test_what_is_said_of_one_grey_level(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm", np.full((4, 6), 7, dtype=np.uint8))
    with pytest.raises(DicomError) as caught:
        read_radiograph(path)
    found = "all of its pixels would be shown as the same grey level, 7"
    remedy = "correct its pixels or its window, or accept it with `reading.accept=[one_grey_level]`"
    assert str(caught.value) == f"{path}: {found}; {remedy}"


def test_what_is_said_of_what_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "text").write_bytes(b"no radiograph, but a text of some length" * 9)
    no_dicom = "not a DICOM file, or a damaged one (no DICM prefix, and no image)"
    expected = {
        "gone": "there is no such file; check the path and the image id",
        "link": "a link to a file that is not there; check the path and the image id",
        "folder": "there is no such file, but a folder; name the files in it",
        "pipe": "there is no such file, but a device or a pipe; check the path",
        "text": f"{no_dicom}; fetch the file again, or export it as DICOM part 10",
    }
    for name, message in expected.items():
        for read in (read_radiograph, read_size):
            with pytest.raises(DicomError) as caught:
                read(tmp_path / name)
            assert str(caught.value) == f"{tmp_path / name}: {message}"


def test_what_is_said_of_large_files(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm", smooth())
    size = path.stat().st_size
    assert read_size(path, limits=Limits(max_bytes=size, max_pixels=40 * 40)) == (24, 40)
    with pytest.raises(DicomError) as caught:
        read_size(path, limits=Limits(max_bytes=size - 1))
    found = f"a file of {size} bytes; at most {size - 1} are read"
    assert str(caught.value) == f"{path}: {found}; raise reading.max_bytes if it is a radiograph"
    with pytest.raises(DicomError, match="more than 1599 pixels"):
        read_size(path, limits=Limits(max_pixels=40 * 40 - 1))
    for name in ("max_bytes", "max_pixels"):
        assert getattr(Limits(**{name: 1}), name) == 1
        with pytest.raises(InvalidValueError, match=rf"^reading\.{name} is 0; expected 1 or more$"):
            Limits(**{name: 0})


def test_a_size_needs_no_pixels(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm", smooth())
    raw = path.read_bytes()
    path.write_bytes(raw[: -24 * 40 + 5])
    assert read_size(path) == (24, 40)
    path = write(tmp_path / "b.dcm", smooth(), remove=("SamplesPerPixel",))
    assert read_size(path, limits=Limits(max_pixels=40 * 40)) == (24, 40)


def test_what_is_said_of_a_folder_of_the_challenge(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").symlink_to(tmp_path / "gone")
    with pytest.raises(DicomError) as caught:
        find_dicoms(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}/a.dcm: a link to a file that is not there; restore the file, or remove the link"
    )


def test_components_and_bits_that_differ_from_the_header(tmp_path: Path) -> None:
    frame = compressed(smooth(), "JPEG2000", no_jp2=True)
    for tags, found in (
        ({"Rows": 40, "Columns": 24}, "a frame of 24 rows and 40 columns where the header says 40 rows and 24 columns"),
        (COLOUR, "1 components where the header says 3"),
    ):
        path = write(tmp_path / "a.dcm", smooth(), syntax=JPEG2000Lossless, encoded=frame, **tags)  # type: ignore[arg-type]
        with pytest.raises(DicomError) as caught:
            read_radiograph(path)
        cannot = f"its JPEG 2000 Image Compression (Lossless Only) pixel data cannot be decoded ({found})"
        assert str(caught.value) == f"{path}: {cannot}; {CONVERT}"
    nine_bits = frame[:42] + struct.pack("B", 8) + frame[43:]
    path = write(tmp_path / "a.dcm", smooth(), syntax=JPEG2000Lossless, encoded=nine_bits)
    with pytest.raises(DicomError, match="a frame of 9 bits where the header says 8 bits in 8"):
        read_radiograph(path)
