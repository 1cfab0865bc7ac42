"""The drawn chest: dark lungs in a bright body, the same chest at any size."""

import numpy as np
import pytest

from rsna_det.data.synthetic.anatomy import Anatomy, Chest, Frame, blur, clouds, draw_chest, expose, smooth_step
from rsna_det.data.synthetic.pathology import add_abnormality, add_opacities


def _chest(*, side: int = 128, seed: int = 0) -> Chest:
    rng = np.random.default_rng(seed)
    return draw_chest(anatomy=Anatomy.draw(rng), frame=Frame.draw(side=side, rng=rng), rng=rng)


def test_lungs_are_darker_than_body_and_spine() -> None:
    chest = _chest()
    frame = chest.frame
    lung = chest.attenuation[chest.lungs > 0.9]
    spine = chest.attenuation[(np.abs(frame.u) < 0.05) & (frame.v > 0.4) & (frame.v < 1)]
    assert np.median(lung) < 0.5 < np.median(spine)
    # Both lungs together fill a believable part of the film.
    assert 0.12 < (chest.lungs > 0.5).mean() < 0.45


def test_thorax_coordinates_meet_pixels() -> None:
    # u = 0 lies at 0.5 of 100 px: pixel centre 49.5; v = 1 at 0.1 + 0.7 = 0.8: 79.5 in OpenCV's centres; * 16.
    frame = Frame(side=100, centre=0.5, top=0.1, half_width=0.4, height=0.7)
    np.testing.assert_array_equal(frame.pixels(np.array([[0.0, 1.0]])), [[792, 1272]])
    # Pixel 90's centre, 90.5 px, is (0.905 - 0.5) / 0.4 = 1.0125 half-widths from the midline.
    assert frame.u[0, 90] == pytest.approx(1.0125)


def test_same_chest_at_two_sizes() -> None:
    small, large = _chest(side=128), _chest(side=512)
    shrunk = large.attenuation.reshape(128, 4, 128, 4).mean(axis=(1, 3))
    assert np.abs(shrunk - small.attenuation).mean() < 0.03


@pytest.mark.parametrize("seed", range(8))
def test_opacities_are_seen_inside_their_boxes_only(seed: int) -> None:
    chest = _chest(seed=seed)
    attenuation, boxes = add_opacities(chest=chest, rng=np.random.default_rng(seed))
    added = attenuation - chest.attenuation
    inside = np.zeros(added.shape, bool)
    for x1, y1, x2, y2 in boxes.astype(int):
        assert 0 <= x1 < x2 <= 128
        assert 0 <= y1 < y2 <= 128
        inside[y1:y2, x1:x2] = True
        # The opacity reaches each edge of its box.
        part = added[y1:y2, x1:x2]
        assert min(part[0].max(), part[-1].max(), part[:, 0].max(), part[:, -1].max()) > 0.1 * part.max()
    assert added[inside].mean() > 0.04
    assert added[~inside].mean() < 0.01


def test_opacities_of_one_image_do_not_touch() -> None:
    for seed in range(30):
        _, boxes = add_opacities(chest=_chest(side=64), rng=np.random.default_rng(seed))
        for row, one in enumerate(boxes):
            for other in boxes[row + 1 :]:
                overlap = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
                assert overlap.min() <= 0


def test_abnormalities_change_the_chest_and_leave_the_original() -> None:
    chest = _chest()
    before = chest.attenuation.copy()
    for seed in range(12):
        changed = add_abnormality(chest=chest, rng=np.random.default_rng(seed))
        assert np.abs(changed - before).max() > 0.05
    np.testing.assert_array_equal(chest.attenuation, before)


def test_exposure_keeps_the_order_of_grey() -> None:
    step = np.repeat(np.array([0.2, 0.7], np.float32), 32)[None, :].repeat(64, axis=0)
    grey = expose(step, rng=np.random.default_rng(0))
    assert grey.dtype == np.uint8
    assert grey[:, 4:28].mean() + 50 < grey[:, 36:60].mean()


def test_helpers() -> None:
    # 0.25^2 * (3 - 0.5) = 0.15625
    np.testing.assert_allclose(smooth_step(np.array([-1, 0.25, 0.5, 2])), [0, 0.15625, 0.5, 1])
    flat = np.full((40, 40), 0.3, np.float32)
    for sigma in (0.1, 1.0, 9.0):
        np.testing.assert_allclose(blur(flat, sigma=sigma), flat, atol=1e-5)
    noise = clouds(side=128, rng=np.random.default_rng(0), grids=(6, 12, 24))
    assert 0.5 < noise.std() < 1.6
