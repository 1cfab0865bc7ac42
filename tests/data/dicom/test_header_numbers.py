"""Headers that are wrong about the pixels: shown right, or refused; never wrong in silence."""

from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, config, dcmread
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, JPEG2000Lossless

from rsna_det.data.dicom.display import DisplayError, LookUpTable, display_of
from rsna_det.data.dicom.greyscale import to_display
from rsna_det.data.dicom.limits import Limits
from rsna_det.data.dicom.reading import DicomError, read_radiograph
from rsna_det.errors import InvalidValueError
from tests.data.dicom.files import compressed, deep, smooth, write


def ramp(*, low: int, high: int, dtype: type = np.uint16) -> np.ndarray:
    """A row of 101 values in equal steps."""
    return np.linspace(low, high, 101).astype(dtype)[None]


def table(entries: list[int], *, first: int, depth: int, count: int | None = None) -> list[Dataset]:
    item = Dataset()
    count = len(entries) if count is None else count
    signed = min(first, count) < 0
    item.add_new("LUTDescriptor", "SS" if signed else "US", [count, first, depth])
    item.add_new("LUTData", "US", entries)
    return [item]


@pytest.mark.parametrize(
    "tags",
    [
        {"WindowCenter": "nan", "WindowWidth": 100},
        {"WindowCenter": 50, "WindowWidth": "inf"},
        {"WindowCenter": "-inf", "WindowWidth": 100},
        {"WindowCenter": 50, "WindowWidth": "nan"},
        {"RescaleSlope": "inf", "RescaleIntercept": 0},
        {"RescaleSlope": 1, "RescaleIntercept": "nan"},
    ],
)
def test_numbers_that_are_none_are_refused(tmp_path: Path, tags: dict[str, object]) -> None:
    path = tmp_path / "a.dcm"
    with config.disable_value_validation():
        write(path, deep(12), bits=12, **tags)
        with pytest.raises(DicomError, match=r"a\.dcm: its header is invalid.*correct it"):
            read_radiograph(path)


def test_a_window_beside_the_values_is_refused_unless_accepted(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm", deep(12), bits=12, WindowCenter=1e6, WindowWidth=10)
    with pytest.raises(DicomError, match=r"same grey level, 0; .*`reading\.accept=\[one_grey_level\]`"):
        read_radiograph(path)
    accepted = read_radiograph(path, limits=Limits(accept=frozenset({"one_grey_level"})))
    assert np.array_equal(accepted, np.zeros((5, 7)))


def test_one_value_in_all_pixels_is_refused_unless_accepted(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm", np.full((4, 6), 77, dtype=np.uint8))
    with pytest.raises(DicomError, match="same grey level, 77"):
        read_radiograph(path)
    accepted = read_radiograph(path, limits=Limits(accept=frozenset({"one_grey_level"})))
    assert np.array_equal(accepted, np.full((4, 6), 77))


def test_a_lut_of_twelve_bits_that_promises_sixteen() -> None:
    # 4095 is white, as it is with the right depth: x 255 / 4095.
    stored = np.array([[0, 1, 2, 3]], dtype=np.uint16)
    for depth in (12, 16):
        header = Dataset()
        header.BitsStored, header.PixelRepresentation, header.PhotometricInterpretation = 12, 0, "MONOCHROME2"
        header.VOILUTSequence = table([0, 1365, 2730, 4095], first=0, depth=depth)
        assert to_display(stored, display_of(header)).tolist() == [[0, 85, 170, 255]]


@pytest.mark.parametrize(
    ("depth", "entries", "expected"),
    [
        # More bits than promised: the largest entry is white, and nothing is clipped.
        (10, [0, 16384, 32768, 65535], [0, 64, 128, 255]),
        # The highest bit is used: white is what the depth promises.
        (12, [0, 1000, 2000, 3000], [0, 62, 125, 187]),
        # Never used: the table's own maximum.
        (16, [0, 1000, 2000, 3000], [0, 85, 170, 255]),
        # Eight bits mean what they say.
        (8, [0, 10, 20, 100], [0, 10, 20, 100]),
    ],
)
def test_white_of_a_lut(depth: int, entries: list[int], expected: list[int]) -> None:
    header = Dataset()
    header.BitsStored, header.PixelRepresentation, header.PhotometricInterpretation = 12, 0, "MONOCHROME2"
    header.VOILUTSequence = table(entries, first=0, depth=depth)
    assert to_display(np.array([[0, 1, 2, 3]], dtype=np.uint16), display_of(header)).tolist() == [expected]


@pytest.mark.parametrize(
    ("first", "stored", "intercept"),
    [
        # -1000 as an unsigned word, for signed pixels.
        (65536 - 1000, np.array([[-1000, -999, -998, -997]], dtype=np.int16), 0),
        # The same for unsigned pixels that the rescale makes negative.
        (65536 - 1000, np.array([[24, 25, 26, 27]], dtype=np.uint16), -1024),
        # 65000 as a signed word.
        (65000 - 65536, np.array([[65000, 65001, 65002, 65003]], dtype=np.uint16), 0),
        # As it should be.
        (-1000, np.array([[-1000, -999, -998, -997]], dtype=np.int16), 0),
        (24 - 1024, np.array([[24, 25, 26, 27]], dtype=np.uint16), -1024),
    ],
)
def test_the_sign_of_a_luts_first_value(first: int, stored: np.ndarray, intercept: int) -> None:
    header = Dataset()
    header.BitsStored, header.PixelRepresentation = 16, int(stored.dtype == np.int16)
    header.PhotometricInterpretation = "MONOCHROME2"
    header.RescaleSlope, header.RescaleIntercept = 1, intercept
    header.VOILUTSequence = table([0, 1365, 2730, 4095], first=first, depth=12)
    assert to_display(stored, display_of(header)).tolist() == [[0, 85, 170, 255]]
    if intercept == 0:
        header.ModalityLUTSequence = header.VOILUTSequence
        del header.VOILUTSequence
        assert to_display(stored, display_of(header)).tolist() == [[0, 85, 170, 255]]


def test_a_lut_that_ends_below_the_values_keeps_its_sign() -> None:
    # Some of the values lie in the table as it is: the others take its last entry.
    header = Dataset()
    header.BitsStored, header.PixelRepresentation, header.PhotometricInterpretation = 16, 0, "MONOCHROME2"
    header.VOILUTSequence = table([0, 1365, 2730, 4095], first=60, depth=12)
    stored = np.array([[0, 60, 61, 62, 63, 65535]], dtype=np.uint16)
    assert to_display(stored, display_of(header)).tolist() == [[0, 0, 85, 170, 255, 255]]


def test_a_count_of_lut_entries_with_the_other_sign() -> None:
    # 40000 entries as a signed word are 40000 - 65536.
    header = Dataset()
    header.BitsStored, header.PixelRepresentation, header.PhotometricInterpretation = 16, 0, "MONOCHROME2"
    header.VOILUTSequence = table(list(range(40000)), first=0, depth=16)
    with config.disable_value_validation():
        header.VOILUTSequence[0].add_new("LUTDescriptor", "SS", [40000 - 65536, 0, 16])
    stored = np.array([[0, 20000, 39999]], dtype=np.uint16)
    # The highest of 16 bits is used: 20000 * 255 / 65535 = 77.8, 39999 -> 155.6
    assert to_display(stored, display_of(header)).tolist() == [[0, 78, 156]]


@pytest.mark.parametrize(
    ("signed", "padding", "limit"),
    [(True, 63536, None), (True, -2000, None), (True, 63536, 63540), (True, -2000, 0), (False, -2000, None)],
)
def test_the_sign_of_the_padding(tmp_path: Path, signed: bool, padding: int, limit: int | None) -> None:
    filler = -2000 if signed else 63536
    pixels = np.array([[filler] * 20 + [1000, 1500, 2000]]).astype(np.int16 if signed else np.uint16)
    tags = {"PixelPaddingValue": padding} | ({} if limit is None else {"PixelPaddingRangeLimit": limit})
    header = Dataset()
    header.BitsStored, header.PixelRepresentation, header.PhotometricInterpretation = 16, int(signed), "MONOCHROME2"
    for name, value in tags.items():
        header.add_new(name, "SS" if value < 0 else "US", value)
    shown = to_display(pixels, display_of(header))
    # 1000 to 2000 are stretched: 1500 -> 127.5, rounded to the even 128
    assert shown[0, 20:].tolist() == [0, 128, 255]


def test_a_hot_pixel_does_not_take_the_contrast() -> None:
    header = Dataset()
    header.BitsStored, header.PixelRepresentation, header.PhotometricInterpretation = 16, 0, "MONOCHROME2"
    pixels = np.tile(np.arange(1000, 2000, dtype=np.uint16), (10, 1))
    plain = to_display(pixels, display_of(header))
    assert (int(plain.min()), int(plain.max())) == (0, 255)
    pixels[3, 500] = 65535
    pixels[4, 500] = 0
    shown = to_display(pixels, display_of(header))
    # 10,000 pixels, 50 of which may be outliers: 1005 and 1994 (the hot one counts), widened by a tenth of 989: from
    # 906.1 to 2092.9.
    low, high = 1005 - 98.9, 1994 + 98.9
    expected = np.rint((np.arange(1000, 2000) - low) * 255 / (high - low))
    assert np.abs(shown[0].astype(int) - expected).max() <= 1
    assert (shown[3, 500], shown[4, 500]) == (255, 0)


def test_without_outliers_the_stretch_reaches_from_end_to_end() -> None:
    header = Dataset()
    header.BitsStored, header.PixelRepresentation, header.PhotometricInterpretation = 12, 0, "MONOCHROME2"
    pixels = np.tile(np.arange(100, 3100, dtype=np.uint16), (4, 1))
    expected = np.rint((pixels - 100.0) * (255 / 2999))
    assert np.array_equal(to_display(pixels, display_of(header)), expected)
    # Almost all pixels are the same: the few others still count.
    few = np.full((100, 100), 7, dtype=np.uint16)
    few[0, 0] = 9
    assert to_display(few, display_of(header))[0].tolist() == [255] + [0] * 99


@pytest.mark.parametrize("syntax", ["native", "j2k"])
@pytest.mark.parametrize("signed", [False, True])
def test_overlays_above_the_stored_bits_are_masked(tmp_path: Path, syntax: str, signed: bool) -> None:
    values = ramp(low=-2000 if signed else 0, high=2000 if signed else 4095, dtype=np.int16)
    clean = values.astype(np.int16 if signed else np.uint16)
    words = clean.view(np.uint16) & 0x0FFF
    words[0, ::3] |= 0xA000
    plain = write(tmp_path / "plain.dcm", clean, bits=12)
    if syntax == "native":
        overlaid = write(tmp_path / "a.dcm", words, bits=12, PixelRepresentation=int(signed))
    else:
        encoded = compressed(words, "JPEG2000", no_jp2=True, irreversible=False)
        overlaid = write(tmp_path / "a.dcm", words, bits=12, syntax=JPEG2000Lossless, encoded=encoded,
                         PixelRepresentation=int(signed))  # fmt: skip
    assert np.array_equal(read_radiograph(overlaid), read_radiograph(plain))


@pytest.mark.parametrize("signed", [False, True])
def test_values_that_end_at_a_higher_bit_are_shifted(tmp_path: Path, signed: bool) -> None:
    values = ramp(low=-2048 if signed else 0, high=2047 if signed else 4095, dtype=np.int16)
    values = values.astype(np.int16 if signed else np.uint16)
    plain = write(tmp_path / "plain.dcm", values, bits=12, WindowCenter=100, WindowWidth=900)
    shifted = write(tmp_path / "a.dcm", values << 4, bits=12, HighBit=15, WindowCenter=100, WindowWidth=900)
    assert np.array_equal(read_radiograph(shifted), read_radiograph(plain))


def test_a_high_bit_that_the_values_contradict_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm", deep(12), bits=12, HighBit=15)
    found = r"its header is invalid \(HighBit 15, but the values lie in the lowest 12 bits\); correct it, or export it"
    with pytest.raises(DicomError, match=found):
        read_radiograph(path)
    for high_bit in (7, 16, 200):
        path = write(tmp_path / "a.dcm", deep(12), bits=12, HighBit=high_bit)
        with pytest.raises(DicomError, match=rf"HighBit {high_bit} with 12 bits stored in 16; expected 11"):
            read_radiograph(path)
    # Without the number, it is what the standard says.
    path = write(tmp_path / "a.dcm", deep(12), bits=12, remove=("HighBit",))
    assert np.array_equal(read_radiograph(path), np.rint(deep(12) * (255 / 4095)))


def test_a_representation_that_there_is_not_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm", smooth(), PixelRepresentation=2)
    with pytest.raises(DicomError, match="PixelRepresentation 2; expected 0"):
        read_radiograph(path)


@pytest.mark.parametrize(("photometric", "shape"), [("MONOCHROME1", "IDENTITY"), ("MONOCHROME2", "INVERSE")])
def test_a_presentation_lut_shape_that_contradicts_is_refused(tmp_path: Path, photometric: str, shape: str) -> None:
    path = write(tmp_path / "a.dcm", smooth(), PhotometricInterpretation=photometric, PresentationLUTShape=shape)
    with pytest.raises(DicomError, match=rf"PresentationLUTShape {shape} contradicts {photometric}.*accept="):
        read_radiograph(path)
    accepted = read_radiograph(path, limits=Limits(accept=frozenset({"presentation_lut_shape"})))
    assert np.array_equal(accepted, 255 - smooth() if photometric == "MONOCHROME1" else smooth())
    agreeing = "INVERSE" if shape == "IDENTITY" else "IDENTITY"
    path = write(tmp_path / "a.dcm", smooth(), PhotometricInterpretation=photometric, PresentationLUTShape=agreeing)
    assert np.array_equal(read_radiograph(path), accepted)


def item(**tags: object) -> list[Dataset]:
    made = Dataset()
    for name, value in tags.items():
        setattr(made, name, value)
    return [made]


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"PresentationLUTShape": "LIN OD"}, "PresentationLUTShape LIN OD beside MONOCHROME2; expected IDENTITY"),
        ({"PresentationLUTShape": ["IDENTITY", "INVERSE"]}, "PresentationLUTShape IDENTITY and INVERSE beside"),
        ({"PresentationLUTSequence": item(PresentationLUTShape="INVERSE")}, "INVERSE contradicts MONOCHROME2"),
        ({"PresentationLUTSequence": table(list(range(255, -1, -1)), first=0, depth=10)}, "Sequence holds a table"),
    ],
)
def test_other_presentation_luts_are_refused_unless_accepted(
    tmp_path: Path, tags: dict[str, object], message: str
) -> None:
    path = write(tmp_path / "a.dcm", smooth(), **tags)
    with pytest.raises(DicomError, match=rf"a\.dcm: .*{message}.*`reading\.accept=\[presentation_lut_shape\]`"):
        read_radiograph(path)
    accepted = read_radiograph(path, limits=Limits(accept=frozenset({"presentation_lut_shape"})))
    assert np.array_equal(accepted, smooth())


def test_a_presentation_lut_sequence_that_agrees_is_read(tmp_path: Path) -> None:
    for tags in ({"PresentationLUTSequence": item(PresentationLUTShape="IDENTITY")}, {"PresentationLUTSequence": []}):
        assert np.array_equal(read_radiograph(write(tmp_path / "a.dcm", smooth(), **tags)), smooth())


@pytest.mark.parametrize("groups", ["SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"])
def test_a_window_or_rescale_of_an_enhanced_file_is_refused(tmp_path: Path, groups: str) -> None:
    for name, inner in [
        ("FrameVOILUTSequence", item(WindowCenter=500, WindowWidth=200)),
        ("PixelValueTransformationSequence", item(RescaleSlope=-1, RescaleIntercept=0)),
    ]:
        path = write(tmp_path / "a.dcm", smooth(), **{groups: item(**{name: inner})})
        with pytest.raises(DicomError, match=rf"whose {name} lies in its {groups}, which is not followed; export it"):
            read_radiograph(path)
    path = write(tmp_path / "a.dcm", smooth(), **{groups: item(PatientID="1")})
    assert np.array_equal(read_radiograph(path), smooth())


@pytest.mark.parametrize(("given", "missing"), [("WindowCenter", "WindowWidth"), ("WindowWidth", "WindowCenter")])
def test_half_a_window_is_refused(tmp_path: Path, given: str, missing: str) -> None:
    path = write(tmp_path / "a.dcm", smooth(), **{given: 100})
    with pytest.raises(DicomError, match=rf"its header is invalid \({given} without {missing}; expected both"):
        read_radiograph(path)
    path = write(tmp_path / "a.dcm", smooth(), **{given: None, missing: None})
    assert np.array_equal(read_radiograph(path), smooth())


def test_a_slope_or_intercept_alone_has_the_other_ones_neutral_value(tmp_path: Path) -> None:
    pixels = np.array([[0, 50, 100]], dtype=np.uint16)
    window = {"WindowCenter": 200.5, "WindowWidth": 201}
    # 0, 50, 100 + 150 -> (v - 200) / 200 + 0.5 = 0.25, 0.5, 0.75
    assert read_radiograph(write(tmp_path / "a.dcm", pixels, RescaleIntercept=150, **window)).tolist() == [
        [64, 128, 191]
    ]
    # 3 * (0, 50, 100) -> 0 (below 100), 0.25, 1
    assert read_radiograph(write(tmp_path / "a.dcm", pixels, RescaleSlope=3, **window)).tolist() == [[0, 64, 255]]


def test_limits_are_numbers_from_one() -> None:
    with pytest.raises(InvalidValueError, match=r"reading\.max_pixels is 0; expected 1 or more"):
        Limits(max_pixels=0)
    assert Limits.of(max_pixels=None, max_bytes=5, accept=[]) == Limits(max_bytes=5)


@pytest.mark.parametrize("high_bit", [11, 15])
@pytest.mark.parametrize("signed", [False, True])
def test_the_padding_lies_where_the_highest_bit_says(high_bit: int, signed: bool) -> None:
    header = Dataset()
    header.BitsStored, header.HighBit, header.PixelRepresentation = 12, high_bit, int(signed)
    header.PhotometricInterpretation = "MONOCHROME2"
    header.PixelPaddingValue, header.PixelPaddingRangeLimit = 2050 << (high_bit - 11), 2000 << (high_bit - 11)
    assert display_of(header).padding == ((2050 - 4096, 2000) if signed else (2000, 2050))


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize(
    ("words", "count", "depth", "entries"),
    [
        ((0x0102, 0x0FFF), 2, 12, [0x0102, 0x0FFF]),
        # Two entries of eight bits in one word, of which the first takes the lower byte in either order of bytes.
        ((0x2010,), 2, 8, None),
        ((0x0040,), 1, 8, [0x40]),
    ],
)
def test_entries_of_a_lut_in_either_order_of_bytes(
    tmp_path: Path, syntax: UID, words: tuple[int, ...], count: int, depth: int, entries: list[int] | None
) -> None:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [count, 0, depth])
    item.add_new("LUTData", "OW", np.array(words, dtype=">u2" if syntax == ExplicitVRBigEndian else "<u2").tobytes())
    header = dcmread(write(tmp_path / "a.dcm", smooth(), syntax=syntax, VOILUTSequence=[item]))
    voi = display_of(header).voi
    assert isinstance(voi, LookUpTable)
    stored = [0x10, 0x20] if syntax == ExplicitVRLittleEndian else [0x20, 0x10]
    assert voi.entries.tolist() == (stored if entries is None else entries)


@pytest.mark.parametrize("depth", [7, 17])
def test_a_lut_of_other_depths_than_8_to_16_bits_is_refused(depth: int) -> None:
    header = Dataset()
    header.BitsStored, header.PixelRepresentation, header.PhotometricInterpretation = 16, 0, "MONOCHROME2"
    header.VOILUTSequence = table([0, 100], first=0, depth=depth)
    with pytest.raises(DisplayError, match=f"^a lookup table of {depth} bits with 2 of its 2 entries$"):
        display_of(header)


def test_limits_from_options_keep_the_rest() -> None:
    assert Limits.of(max_pixels=5, max_bytes=None, accept=["one_grey_level"]) == Limits(
        max_pixels=5, accept=frozenset({"one_grey_level"})
    )
    assert Limits.of(max_pixels=None, max_bytes=7, accept=[]) == Limits(max_bytes=7)
