"""Thorax coordinates and the soft shapes drawn in them."""

import numpy as np
import pytest

from rsna_det.data.synthetic.shapes import Frame, blur, clouds, smooth_step


def test_thorax_coordinates_meet_pixels() -> None:
    # u = 0 lies at 0.5 of 100 px: pixel centre 49.5; v = 1 at 0.1 + 0.7 = 0.8: 79.5 in OpenCV's centres; * 16.
    frame = Frame(side=100, centre=0.5, top=0.1, half_width=0.4, height=0.7)
    np.testing.assert_array_equal(frame.pixels(np.array([[0.0, 1.0]])), [[792, 1272]])
    # Pixel 90's centre, 90.5 px, is (0.905 - 0.5) / 0.4 = 1.0125 half-widths from the midline.
    assert frame.u[0, 90] == pytest.approx(1.0125)


def test_steps_blurs_and_clouds() -> None:
    # 0.25^2 * (3 - 0.5) = 0.15625
    np.testing.assert_allclose(smooth_step(np.array([-1, 0.25, 0.5, 2])), [0, 0.15625, 0.5, 1])
    flat = np.full((40, 40), 0.3, np.float32)
    for sigma in (0.1, 1.0, 9.0):
        np.testing.assert_allclose(blur(flat, sigma=sigma), flat, atol=1e-5)
    noise = clouds(side=128, rng=np.random.default_rng(0), grids=(6, 12, 24))
    assert 0.5 < noise.std() < 1.6
