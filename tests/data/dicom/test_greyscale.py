"""Stored values to grey values, against the standard's own formulas worked pixel by pixel."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset

from rsna_det.data.dicom.display import Display, DisplayError, LookUpTable, Window, display_of
from rsna_det.data.dicom.greyscale import to_display
from tests.properties import examples


def header(*, bits: int = 12, signed: bool = False, photometric: str = "MONOCHROME2", **tags: object) -> Dataset:
    dataset = Dataset()
    dataset.BitsStored, dataset.PixelRepresentation, dataset.PhotometricInterpretation = bits, int(signed), photometric
    for name, value in tags.items():
        setattr(dataset, name, value)
    return dataset


def lut(entries: list[int] | bytes, *, count: int, first: int, depth: int) -> list[Dataset]:
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [count, first, depth])
    item.add_new("LUTData", "OW" if isinstance(entries, bytes) else "US", entries)
    return [item]


def row(*values: int, dtype: type = np.uint16) -> np.ndarray:
    return np.array([values], dtype=dtype)


def shown(stored: np.ndarray, dataset: Dataset) -> list[int]:
    result = to_display(stored, display_of(dataset))
    assert result.dtype == np.uint8
    assert result.shape == stored.shape
    return [int(value) for value in result.ravel()]


def test_eight_bits_keep_their_values() -> None:
    stored = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert np.array_equal(to_display(stored, display_of(header(bits=8))), stored)
    # A narrow range is not stretched, and the usual rescale by 1 and 0 changes nothing.
    assert shown(row(90, 100, dtype=np.uint8), header(bits=8, RescaleSlope=1, RescaleIntercept=0)) == [90, 100]


def test_monochrome1_is_inverted() -> None:
    assert shown(row(0, 100, 255, dtype=np.uint8), header(bits=8, photometric="MONOCHROME1")) == [255, 155, 0]


def test_eight_signed_bits_are_shifted() -> None:
    assert shown(row(-128, 0, 127, dtype=np.int8), header(bits=8, signed=True)) == [0, 128, 255]


def test_deep_data_are_stretched_between_their_own_ends() -> None:
    # (v - 100) * 255 / 400: 200 -> 63.75, 301 -> 128.14
    assert shown(row(100, 200, 301, 500), header(bits=12)) == [0, 64, 128, 255]


def test_deep_signed_data_are_stretched() -> None:
    # (v + 1000) * 255 / 2000: 4 -> 128.01
    assert shown(row(-1000, 4, 1000, dtype=np.int16), header(bits=16, signed=True)) == [0, 128, 255]


def test_sixteen_bits_reach_both_ends() -> None:
    assert shown(row(0, 65535), header(bits=16)) == [0, 255]
    assert shown(row(-32768, 32767, dtype=np.int16), header(bits=16, signed=True)) == [0, 255]


def test_one_grey_value_is_black() -> None:
    assert shown(row(700, 700), header(bits=12)) == [0, 0]


def test_padding_does_not_count_as_an_end() -> None:
    # Without the padding 0 the ends are 1000 and 2000: 1500 -> 127.5, rounded to the even 128.
    assert shown(row(0, 1000, 1500, 2000), header(bits=12, PixelPaddingValue=0)) == [0, 0, 128, 255]
    limits = header(bits=12, PixelPaddingValue=4000, PixelPaddingRangeLimit=4095)
    assert shown(row(1000, 2000, 4000, 4095), limits) == [0, 255, 255, 255]
    assert shown(row(7, 7), header(bits=12, PixelPaddingValue=7)) == [0, 0]


def test_a_negative_slope_inverts() -> None:
    # 255 - v: the ends 0 and 255 become 255 and 0, so 100 becomes 155.
    tags = {"RescaleSlope": -1, "RescaleIntercept": 255}
    assert shown(row(0, 100, 255, dtype=np.uint8), header(bits=8, **tags)) == [255, 155, 0]
    assert shown(row(10, 20, 30), header(bits=12, **tags)) == [255, 128, 0]


def test_a_window_over_all_of_eight_bits_changes_nothing() -> None:
    stored = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert np.array_equal(to_display(stored, display_of(header(bits=8, WindowCenter=128, WindowWidth=256))), stored)


def test_the_window_acts_after_the_rescale_and_the_first_of_several_counts() -> None:
    # Rescaled 100, 200, 300. Linear window c=200 w=201: (v - 199.5) / 200 + 0.5 = 0.0025, 0.5025, 1 -> x 255
    tags = {"RescaleSlope": 2, "RescaleIntercept": 100, "WindowCenter": [200, 5], "WindowWidth": [201, 7]}
    assert shown(row(0, 50, 100), header(**tags)) == [1, 128, 255]


def test_an_empty_window_is_none() -> None:
    assert shown(row(5, 9, dtype=np.uint8), header(bits=8, WindowCenter=None, WindowWidth=None)) == [5, 9]


def standard_window(value: float, centre: float, width: float, function: str) -> float:
    """PS3.3, C.11.2.1.2 and C.11.2.1.3, for an output of 0..255."""
    if function == "SIGMOID":
        exponent = -4 * (value - centre) / width
        # Beyond 709 the exponential is no floating-point number any more, and the grey value is 0 to 300 places.
        return 0 if exponent > 709 else 255 / (1 + math.exp(exponent))
    if function == "LINEAR":
        if value <= centre - 0.5 - (width - 1) / 2:
            return 0
        if value > centre - 0.5 + (width - 1) / 2:
            return 255
        return ((value - (centre - 0.5)) / (width - 1) + 0.5) * 255
    if value <= centre - width / 2:
        return 0
    if value > centre + width / 2:
        return 255
    return ((value - centre) / width + 0.5) * 255


@examples(60)
@given(
    values=st.lists(st.integers(-2000, 4000), min_size=1, max_size=6),
    centre=st.integers(-3000, 5000),
    width=st.integers(2, 6000),
    function=st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]),
    slope=st.sampled_from([1.0, 0.5, -2.0]),
    inverted=st.booleans(),
)
def test_windows_follow_the_standard(
    values: list[int], centre: int, width: int, function: str, slope: float, inverted: bool
) -> None:
    photometric = "MONOCHROME1" if inverted else "MONOCHROME2"
    tags = {"WindowCenter": centre, "WindowWidth": width, "VOILUTFunction": function}
    dataset = header(bits=16, signed=True, photometric=photometric, RescaleSlope=slope, RescaleIntercept=10, **tags)
    expected = [standard_window(value * slope + 10, centre, width, function) for value in values]
    if inverted:
        expected = [255 - value for value in expected]
    got = shown(row(*values, dtype=np.int16), dataset)
    assert np.abs(np.array(got) - np.array(expected)).max() <= 0.5 + 1e-6


@pytest.mark.parametrize("width", [2, 1e-9, 1e-300])
def test_a_narrow_sigmoid_is_a_step(width: float) -> None:
    # exp(-4 (v - 365) / 2) is exp(-4) = 0.0183 at 367 -> 250.4; at -5 it is exp(740), which no float holds.
    tags = {"WindowCenter": 365, "WindowWidth": width, "VOILUTFunction": "SIGMOID"}
    above = 250 if width == 2 else 255
    assert shown(row(-5, 365, 367, 4000, dtype=np.int16), header(bits=16, signed=True, **tags)) == [0, 128, above, 255]


def test_voi_lut_maps_by_table_and_goes_before_a_window() -> None:
    # First mapped value 10: below it the first entry, past the end the last; 10 bits: x 255 / 1023.
    table = lut([0, 341, 682, 1023], count=4, first=10, depth=10)
    dataset = header(VOILUTSequence=table, WindowCenter=0, WindowWidth=1)
    assert shown(row(0, 10, 11, 12, 13, 4000), dataset) == [0, 0, 85, 170, 255, 255]


def test_a_long_lut_of_eight_bits_does_not_wrap_round() -> None:
    entries = [value // 16 for value in range(4096)]
    dataset = header(VOILUTSequence=lut(entries, count=4096, first=0, depth=8))
    assert shown(row(0, 255, 256, 4095), dataset) == [0, 15, 16, 255]


def test_lut_entries_may_be_words_or_packed_bytes() -> None:
    words = np.array([9, 8, 7], dtype="<u2").tobytes()
    assert shown(row(0, 1, 2), header(VOILUTSequence=lut(words, count=3, first=0, depth=8))) == [9, 8, 7]
    packed = bytes([9, 8, 7, 0])
    assert shown(row(0, 1, 2), header(VOILUTSequence=lut(packed, count=3, first=0, depth=8))) == [9, 8, 7]


def test_a_lut_of_65536_entries_is_written_as_zero() -> None:
    words = np.arange(65536, dtype="<u2").tobytes()
    assert shown(row(0, 32896, 65535), header(VOILUTSequence=lut(words, count=0, first=0, depth=16))) == [0, 128, 255]


def test_modality_lut_comes_first_and_takes_negative_values() -> None:
    # -2, -1, 0, 1 -> 100, 200, 300, 500, then stretched from 100..500: 200 -> 63.75
    table = lut([100, 200, 300, 500], count=4, first=-2, depth=16)
    dataset = header(bits=16, signed=True, ModalityLUTSequence=table)
    assert shown(row(-9, -2, -1, 1, dtype=np.int16), dataset) == [0, 0, 64, 255]
    windowed = header(bits=16, signed=True, ModalityLUTSequence=table, WindowCenter=200.5, WindowWidth=201)
    # Linear: (v - 200) / 200 + 0.5 -> 0, 0.5, 1
    assert shown(row(-2, -1, 0, dtype=np.int16), windowed) == [0, 128, 255]


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"RescaleSlope": 0, "RescaleIntercept": 5}, "RescaleSlope"),
        ({"RescaleSlope": "1e308", "RescaleIntercept": 5}, "not finite"),
        ({"WindowCenter": 5, "WindowWidth": float("nan"), "VOILUTFunction": "SIGMOID"}, "Window Width nan"),
        ({"WindowCenter": 5, "WindowWidth": 0.5}, "Window Width 0.5; expected a width of 1 or more"),
        ({"WindowCenter": 5, "WindowWidth": 0, "VOILUTFunction": "LINEAR_EXACT"}, "expected a width of more than 0"),
        ({"WindowCenter": 5, "WindowWidth": 9, "VOILUTFunction": "CUBIC"}, "CUBIC"),
        ({"VOILUTSequence": lut([1, 2], count=4, first=0, depth=16)}, "2 of its 4 entries"),
        ({"VOILUTSequence": lut([1, 2], count=2, first=0, depth=7)}, "7 bits"),
    ],
)
def test_what_the_standard_forbids_is_an_error(tags: dict[str, object], message: str) -> None:
    with pytest.raises(DisplayError, match=message):
        to_display(row(1, 2), display_of(header(**tags)))


@pytest.mark.parametrize(
    ("first", "stored", "expected"),
    [
        # The last entry is that of the smallest value, and the first that of the largest: the table covers them.
        (100, [54, 60, 65535], [255, 255, 255]),
        (65536, [0, 1, 32768], [0, 0, 0]),
        # One value further it does not, and the first value with the other sign does.
        (100, [55, 32818, 32820, 65535], [0, 0, 127, 255]),
        (100 - 65536, [0, 50], [0, 0]),
        # With either sign it covers none: it stays as it is.
        (300, [0, 50], [0, 0]),
        (100 - 65536, [0, 49], [255, 255]),
    ],
)
def test_where_a_lut_covers_a_single_value_of_the_image(first: int, stored: list[int], expected: list[int]) -> None:
    # Twice the stored values through a table of nine entries.
    tags = {"RescaleSlope": 2, "VOILUTSequence": lut(list(range(9)), count=9, first=0, depth=8)}
    display = display_of(header(**tags))
    assert isinstance(display.voi, LookUpTable)
    entries = np.array([0, 32, 64, 96, 127, 159, 191, 223, 255], dtype=np.float64)
    display = replace(display, voi=LookUpTable(first=first, depth=8, entries=entries))
    assert to_display(row(*stored), display).tolist() == [expected]


def test_values_that_a_rescale_makes_infinite_are_refused_with_a_lut_too() -> None:
    tags = {"RescaleSlope": 1e308, "VOILUTSequence": lut([0, 4095], count=2, first=0, depth=12)}
    with pytest.raises(DisplayError, match="not finite numbers"):
        shown(row(0, 200), header(**tags))


def test_outliers_begin_with_twenty_pixels() -> None:
    # Of twenty pixels one may be dark and one hot: the others end at 1 and 18, and white is a tenth of 17 above 18.
    assert shown(row(*range(19), 60000), header(bits=16)) == [round(v * 255 / 19.7) for v in range(19)] + [255]
    assert shown(row(*range(18), 60000), header(bits=16)) == [0] * 18 + [255]


def test_a_dark_pixel_of_many_takes_no_contrast() -> None:
    values = range(1000, 1199)
    expected = [0] + [round((value - 980.3) * 255 / (1198 - 980.3)) for value in values]
    assert shown(row(0, *values), header(bits=16)) == expected


@pytest.mark.parametrize(
    ("width", "function"), [(1, "LINEAR"), (1.5, "LINEAR"), (0.5, "LINEAR_EXACT"), (0.1, "SIGMOID")]
)
def test_the_narrowest_windows_that_the_standard_allows(width: float, function: str) -> None:
    window = display_of(header(WindowCenter=5, WindowWidth=width, VOILUTFunction=function)).voi
    assert window == Window(centre=5, width=width, function=function)


def test_padding_counts_only_where_the_image_is_stretched() -> None:
    assert display_of(header(PixelPaddingValue=7)).padding == (7, 7)
    assert display_of(header(PixelPaddingValue=7, WindowCenter=5, WindowWidth=9)).padding is None
    assert display_of(header(bits=8, PixelPaddingValue=7)).padding is None


@pytest.mark.parametrize(
    ("stored", "padding", "expected"),
    [
        # Padding brighter than the image, in values that begin below 0.
        ([-1000, 0, 1000, 3000], (3000, 3000), [0, 128, 255, 255]),
        # A range of padding ends where it says: its neighbours count.
        ([-1000, 0, 1000, 1001, 1002, 3000], (1001, 1002), [0, 64, 128, 128, 128, 255]),
        ([-1000, 0, 999, 1000, 1001, 1003], (1000, 1001), [0, 127, 254, 255, 255, 255]),
        # Padding that the image does not have takes nothing away.
        ([-1000, 0, 1000], (-5000, -4000), [0, 128, 255]),
        ([-1000, 0, 1000], (-5000, -1001), [0, 128, 255]),
        ([-1000, 0, 1000], (5000, 6000), [0, 128, 255]),
        ([0, 500, 1000], (-5000, -1), [0, 128, 255]),
    ],
)
def test_padding_lies_among_signed_values(stored: list[int], padding: tuple[int, int], expected: list[int]) -> None:
    display = Display(inverted=False, padding=padding)
    assert to_display(row(*stored, dtype=np.int16), display).tolist() == [expected]
