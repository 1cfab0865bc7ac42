"""Any shape to the network's square."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsna_det.data.cache.resize import fit_square, square_scale
from tests.properties import examples


def area_average(pixels: np.ndarray, side: int) -> np.ndarray:
    """Slow oracle: every network pixel is the mean of the area of the padded square that it covers."""
    longest = max(pixels.shape)
    square = np.zeros((longest, longest))
    square[: pixels.shape[0], : pixels.shape[1]] = pixels
    step = longest / side
    weights = np.zeros((side, longest))
    for i in range(side):
        for j in range(longest):
            weights[i, j] = max(0.0, min((i + 1) * step, j + 1) - max(i * step, j)) / step
    return weights @ square @ weights.T


def test_the_longer_side_sets_the_scale() -> None:
    assert square_scale(1024, 1024, 512) == 0.5
    assert square_scale(200, 400, 100) == 0.25
    assert square_scale(30, 20, 60) == 2.0


def test_same_size_is_a_copy_of_the_pixels() -> None:
    pixels = np.arange(16, dtype=np.uint8).reshape(4, 4)
    assert np.array_equal(fit_square(pixels, 4), pixels)


def test_halving_averages_two_by_two() -> None:
    # (0 + 4 + 8 + 12) / 4 = 6 and so on
    pixels = np.array([[0, 4, 100, 100], [8, 12, 100, 100], [1, 1, 2, 2], [1, 1, 2, 2]], dtype=np.uint8)
    assert fit_square(pixels, 2).tolist() == [[6, 100], [1, 2]]


def test_wide_and_tall_images_lie_at_the_top_left() -> None:
    wide = np.full((2, 4), 200, dtype=np.uint8)
    assert fit_square(wide, 2).tolist() == [[200, 200], [0, 0]]
    assert fit_square(wide.T.copy(), 2).tolist() == [[200, 0], [200, 0]]


def test_padding_without_scaling() -> None:
    assert fit_square(np.full((1, 3), 7, dtype=np.uint8), 3).tolist() == [[7, 7, 7], [0, 0, 0], [0, 0, 0]]


def test_one_pixel_fills_the_square() -> None:
    assert fit_square(np.full((1, 1), 9, dtype=np.uint8), 8).tolist() == [[9] * 8] * 8


def test_an_edge_keeps_its_place_when_enlarged() -> None:
    # The step between columns 1 and 2 of 4 lies at x = 2, in a square of 16 at x = 8.
    pixels = np.zeros((4, 4), dtype=np.uint8)
    pixels[:, 2:] = 200
    big = fit_square(pixels, 16).astype(int)
    assert (big[:, :6] == 0).all()
    assert (big[:, 10:] == 200).all()
    assert (big[:, 7] + big[:, 8] == 200).all()


@examples(40)
@given(height=st.integers(1, 23), width=st.integers(1, 23), side=st.integers(1, 23), seed=st.integers(0, 9))
def test_shrinking_is_area_averaging_at_exactly_the_scale(height: int, width: int, side: int, seed: int) -> None:
    side = min(side, max(height, width))
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)
    assert np.abs(fit_square(pixels, side) - area_average(pixels, side)).max() <= 1


@pytest.mark.parametrize("shape", [(0, 4), (4, 0)])
def test_an_image_without_pixels_is_an_error(shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="at least one pixel"):
        fit_square(np.zeros(shape, dtype=np.uint8), 8)


def test_a_side_of_zero_is_an_error() -> None:
    with pytest.raises(ValueError, match="to 0"):
        fit_square(np.zeros((4, 4), dtype=np.uint8), 0)
