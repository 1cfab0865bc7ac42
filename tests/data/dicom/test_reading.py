"""Radiographs of every supported kind, written here and read back; and files that are damaged in every way."""

import errno
import io
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom import Dataset
from pydicom.encaps import generate_frames
from pydicom.uid import (
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    RLELossless,
)

from rsna_det.data.dicom import reading
from rsna_det.data.dicom.reading import DicomError, find_dicoms, read_radiograph, read_size
from rsna_det.errors import StorageError
from tests.data.dicom.files import compressed, deep, grey, smooth, write
from tests.properties import examples

NATIVE = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]


@pytest.mark.parametrize("syntax", [*NATIVE, RLELossless], ids=lambda syntax: syntax.name)
def test_lossless_eight_bits_come_back_as_they_are(tmp_path: Path, syntax: UID) -> None:
    pixels = grey((5, 7))
    assert np.array_equal(read_radiograph(write(tmp_path / "a.dcm", pixels, syntax=syntax)), pixels)


@pytest.mark.parametrize("syntax", [*NATIVE, RLELossless], ids=lambda syntax: syntax.name)
@pytest.mark.parametrize("bits", [10, 12, 16])
def test_lossless_deep_data_are_stretched(tmp_path: Path, syntax: UID, bits: int) -> None:
    pixels = deep(bits)
    expected = np.rint(pixels * (255 / (2**bits - 1)))
    assert np.array_equal(read_radiograph(write(tmp_path / "a.dcm", pixels, syntax=syntax, bits=bits)), expected)


def test_signed_data(tmp_path: Path) -> None:
    pixels = np.array([[-1000, 4, 1000]], dtype=np.int16)
    # 4 is 1004 / 2000 of the way: 128.01
    assert read_radiograph(write(tmp_path / "a.dcm", pixels)).tolist() == [[0, 128, 255]]


@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEGExtended12Bit], ids=lambda syntax: syntax.name)
def test_jpeg_is_what_pillow_decodes(tmp_path: Path, syntax: UID) -> None:
    data = compressed(smooth(), "JPEG", quality=90)
    path = write(tmp_path / "a.dcm", smooth(), syntax=syntax, encoded=data)
    assert np.array_equal(read_radiograph(path), np.asarray(Image.open(io.BytesIO(data))))


@pytest.mark.parametrize("syntax", [JPEG2000, JPEG2000Lossless], ids=lambda syntax: syntax.name)
def test_jpeg2000_of_eight_and_twelve_bits(tmp_path: Path, syntax: UID) -> None:
    data = compressed(smooth(), "JPEG2000", no_jp2=True)
    path = write(tmp_path / "a.dcm", smooth(), syntax=syntax, encoded=data)
    assert np.array_equal(read_radiograph(path), smooth())
    pixels = np.linspace(0, 65535, 24 * 40).astype(np.uint16).reshape(24, 40)
    path = write(tmp_path / "b.dcm", pixels, syntax=syntax, encoded=compressed(pixels, "JPEG2000", no_jp2=True))
    assert np.array_equal(read_radiograph(path), np.rint(pixels * (255 / 65535)))


def test_monochrome1_is_inverted(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm", grey(), PhotometricInterpretation="MONOCHROME1")
    assert np.array_equal(read_radiograph(path), 255 - grey())


def test_rescale_and_window_are_applied(tmp_path: Path) -> None:
    pixels = np.array([[0, 50, 100]], dtype=np.uint16)
    # Rescaled 100, 200, 300; linear window c=200 w=201: (v - 199.5) / 200 + 0.5 = 0.0025, 0.5025, 1
    tags = {"RescaleSlope": 2, "RescaleIntercept": 100, "WindowCenter": [200, 9], "WindowWidth": [201, 9]}
    assert read_radiograph(write(tmp_path / "a.dcm", pixels, bits=12, **tags)).tolist() == [[1, 128, 255]]


@pytest.mark.parametrize("syntax", NATIVE, ids=lambda syntax: syntax.name)
@pytest.mark.parametrize("name", ["VOILUTSequence", "ModalityLUTSequence"])
def test_luts_survive_the_file(tmp_path: Path, syntax: UID, name: str) -> None:
    item = Dataset()
    item.LUTDescriptor = [4, 10, 16]
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    item.add_new("LUTData", "OW", np.array([0, 257, 1028, 65535], dtype=f"{order}u2").tobytes())
    pixels = np.array([[0, 10, 11, 12, 13, 99]], dtype=np.uint16)
    path = write(tmp_path / "a.dcm", pixels, syntax=syntax, bits=12, **{name: [item]})
    # 65535 = 255 * 257
    assert read_radiograph(path).tolist() == [[0, 0, 1, 4, 255, 255]]


@pytest.mark.parametrize("planar", [0, 1])
def test_grey_stored_as_colour(tmp_path: Path, planar: int) -> None:
    colour = np.repeat(grey()[..., None], 3, axis=2)
    stored = colour if planar == 0 else np.ascontiguousarray(colour.transpose(2, 0, 1))
    path = write(tmp_path / "a.dcm", colour, SamplesPerPixel=3, PhotometricInterpretation="RGB",
                 PlanarConfiguration=planar, PixelData=stored.tobytes())  # fmt: skip
    assert np.array_equal(read_radiograph(path), grey())


def test_grey_stored_as_jpeg_colour(tmp_path: Path) -> None:
    data = compressed(np.repeat(smooth()[..., None], 3, axis=2), "JPEG", quality=95)
    path = write(tmp_path / "a.dcm", smooth(), syntax=JPEGBaseline8Bit, encoded=data, SamplesPerPixel=3,
                 PhotometricInterpretation="YBR_FULL_422", PlanarConfiguration=0)  # fmt: skip
    assert np.array_equal(read_radiograph(path), np.asarray(Image.open(io.BytesIO(data)))[..., 0])


@pytest.mark.parametrize("shape", [(1, 2), (1, 9), (9, 1), (3, 5)])
def test_any_shape(tmp_path: Path, shape: tuple[int, int]) -> None:
    path = write(tmp_path / "a.dcm", grey(shape))
    assert np.array_equal(read_radiograph(path), grey(shape))
    assert read_size(path) == shape


def test_a_bare_patient_age_leaks_no_warning(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm", grey())
    # (0010,1010) PatientAge, VR AS, "34 ": the header of the challenge's files
    element = struct.pack("<HH2sH4s", 0x0010, 0x1010, b"AS", 4, b"34  ")
    raw = path.read_bytes()
    at = raw.index(struct.pack("<HH2s", 0x0028, 0x0002, b"US"))
    path.write_bytes(raw[:at] + element + raw[at:])
    assert pydicom.dcmread(path).PatientAge == "34"
    assert np.array_equal(read_radiograph(path), grey())
    assert read_size(path) == (6, 9)


def test_padding_after_the_pixels_leaks_no_warning(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm", grey(), PixelData=grey().tobytes() + bytes(10))
    with pytest.warns(UserWarning, match="excess padding"):
        assert pydicom.dcmread(path).pixel_array.shape == (6, 9)
    assert np.array_equal(read_radiograph(path), grey())


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"NumberOfFrames": 2, "PixelData": grey().tobytes() * 2}, "2 frames.*export one frame"),
        ({"PixelData": grey().tobytes() * 2}, "shape"),
        ({"PixelData": grey().tobytes()[:-4]}, "cannot be decoded.*fetch the file again"),
        ({"PixelData": b""}, "cannot be decoded"),
        ({"remove": ("PixelData",)}, "no pixel data"),
        ({"remove": ("BitsStored", "PixelRepresentation")}, "no BitsStored, PixelRepresentation in its header"),
        ({"remove": ("Rows",)}, "no usable Rows and Columns"),
        ({"Rows": 0}, "0 rows and 9 columns"),
        ({"BitsAllocated": 32, "BitsStored": 32}, "32 bits stored in 32; expected 8 to 16"),
        ({"BitsStored": 1}, "1 bits stored in 8"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "PALETTE COLOR.*export it in grey"),
        ({"RescaleSlope": 0, "RescaleIntercept": 0}, "RescaleSlope 0"),
    ],
)
def test_unsuitable_files_are_named(tmp_path: Path, tags: dict, message: str) -> None:
    path = write(tmp_path / "bad one.dcm", grey(), **tags)
    with pytest.raises(DicomError, match=f"bad one.dcm: .*{message}"):
        read_radiograph(path)


def test_real_colour_is_an_error(tmp_path: Path) -> None:
    colour = np.repeat(grey()[..., None], 3, axis=2)
    colour[0, 0] = (1, 2, 3)
    path = write(tmp_path / "a.dcm", colour, SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0)
    with pytest.raises(DicomError, match="channels differ"):
        read_radiograph(path)


def test_a_syntax_beyond_pillow_names_the_converter(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm", grey(), syntax=JPEGLosslessSV1, encoded=b"\0\0")
    with pytest.raises(DicomError, match=r"JPEG Lossless.*gdcmconv --raw"):
        read_radiograph(path)


@pytest.mark.parametrize(
    ("pixels", "bits"),
    [(grey((24, 41)), 8), (np.repeat(smooth()[..., None], 3, axis=2), 8), (smooth(), 12)],
    ids=["another size", "colour", "12 bits in the header"],
)
def test_a_jpeg_that_is_not_what_the_header_says(tmp_path: Path, pixels: np.ndarray, bits: int) -> None:
    header = smooth().astype(np.uint8 if bits == 8 else np.uint16)
    data = compressed(pixels, "JPEG")
    path = write(tmp_path / "a.dcm", header, syntax=JPEGBaseline8Bit, encoded=data, bits=bits)
    with pytest.raises(DicomError, match=r"a\.dcm"):
        read_radiograph(path)


def test_no_dicom_at_all(tmp_path: Path) -> None:
    (tmp_path / "text.dcm").write_text("hello")
    (tmp_path / "empty.dcm").touch()
    (tmp_path / "folder.dcm").mkdir()
    for name, message in [("text", "not a DICOM"), ("empty", "not a DICOM"), ("gone", "no such file"),
                          ("folder", "no such file")]:  # fmt: skip
        for read in (read_radiograph, read_size):
            with pytest.raises(DicomError, match=f"{name}.dcm: .*{message}"):
                read(tmp_path / f"{name}.dcm")


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, JPEGBaseline8Bit])
def test_no_cut_gives_other_pixels(tmp_path: Path, syntax: UID) -> None:
    encoded = compressed(smooth(), "JPEG") if syntax == JPEGBaseline8Bit else None
    path = write(tmp_path / "a.dcm", smooth(), syntax=syntax, encoded=encoded)
    raw, whole = path.read_bytes(), read_radiograph(path)
    for length in range(0, len(raw), 7):
        path.write_bytes(raw[:length])
        try:
            pixels = read_radiograph(path)
        except DicomError as error:
            assert "a.dcm" in str(error)  # noqa: PT017 - both outcomes are right, other pixels are not
        else:
            assert np.array_equal(pixels, whole)


def test_cut_compressed_pixels_are_called_that(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm", smooth(), syntax=JPEGBaseline8Bit, encoded=compressed(smooth(), "JPEG"))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DicomError, match=r"pixel data break off at byte \d+; fetch the file again"):
        read_radiograph(path)


@settings(examples(150), suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    kind=st.sampled_from([ExplicitVRLittleEndian, RLELossless, JPEGBaseline8Bit, JPEG2000]),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=4),
)
def test_random_damage_is_read_or_named(tmp_path: Path, kind: UID, changes: list[tuple[float, int]]) -> None:
    forms = {JPEGBaseline8Bit: ("JPEG", {}), JPEG2000: ("JPEG2000", {"no_jp2": True})}
    name, options = forms.get(kind, ("", {}))
    encoded = compressed(smooth(), name, **options) if name else None
    path = write(tmp_path / "a.dcm", smooth(), syntax=kind, encoded=encoded, WindowCenter=100, WindowWidth=50)
    raw = bytearray(path.read_bytes())
    for place, value in changes:
        raw[128 + int(place * (len(raw) - 128))] = value
    path.write_bytes(bytes(raw))
    try:
        assert read_radiograph(path).dtype == np.uint8
    except DicomError as error:
        assert "a.dcm" in str(error)  # noqa: PT017 - a damaged byte may also do no harm


def test_a_file_that_cannot_be_read_is_called_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    path = write(tmp_path / "a.dcm", smooth())
    monkeypatch.setattr(reading, "dcmread", denied)
    for read in (read_radiograph, read_size):
        with pytest.raises(DicomError, match=r"a\.dcm: it cannot be read \(Permission denied\); check its permissions"):
            read(path)


def test_an_error_of_our_own_is_no_damaged_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ValueError("operands could not be broadcast together")

    monkeypatch.setattr(reading, "to_display", broken)
    with pytest.raises(ValueError, match="broadcast") as caught:
        read_radiograph(write(tmp_path / "a.dcm", smooth()))
    assert not isinstance(caught.value, DicomError)


def test_find_dicoms_maps_ids_to_paths(tmp_path: Path) -> None:
    for name in ["b.dcm", "a.DCM", "c.d.dcm", "._b.dcm", "notes.txt", "b.json"]:
        (tmp_path / name).touch()
    (tmp_path / "z.dcm").mkdir()
    found = find_dicoms(tmp_path)
    assert found == {"a": tmp_path / "a.DCM", "b": tmp_path / "b.dcm", "c.d": tmp_path / "c.d.dcm"}
    assert list(found) == ["a", "b", "c.d"]


def test_find_dicoms_errors(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere.*data\.root"):
        find_dicoms(tmp_path / "nowhere")
    (tmp_path / "a.dcm").touch()
    (tmp_path / "a.DCM").touch()
    expected = rf"^{tmp_path}/a\.dcm: a\.DCM has the same image id; remove one of the two files$"
    with pytest.raises(DicomError, match=expected):
        find_dicoms(tmp_path)


def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: Path) -> object:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", denied)
    with pytest.raises(StorageError, match=rf"^{tmp_path} cannot be read .Permission denied"):
        find_dicoms(tmp_path)


def test_real_radiographs_equal_plain_jpeg_decoding(real_data: Path) -> None:
    paths = list(find_dicoms(real_data / "stage_2_train_images").values())
    for path in paths[:: max(1, len(paths) // 20)]:
        frame = next(generate_frames(pydicom.dcmread(path).PixelData, number_of_frames=1))
        plain = np.asarray(Image.open(io.BytesIO(frame)))
        pixels = read_radiograph(path)
        assert np.array_equal(pixels, plain)
        assert read_size(path) == pixels.shape


def test_nothing_is_logged_of_a_sound_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm", smooth())
    code = f"from rsna_det.data.dicom.reading import read_radiograph; read_radiograph({str(path)!r})"
    code = f"import logging; logging.basicConfig(); {code}"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stderr == b""
