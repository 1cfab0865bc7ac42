"""Opacities inside their boxes, and other abnormalities."""

import numpy as np
import pytest

from rsna_det.data.synthetic.pathology import add_abnormality, add_opacities
from tests.data.synthetic.chests import chest_of


@pytest.mark.parametrize("seed", range(8))
def test_opacities_are_seen_inside_their_boxes_only(seed: int) -> None:
    chest = chest_of(seed=seed)
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
        _, boxes = add_opacities(chest=chest_of(side=64), rng=np.random.default_rng(seed))
        for row, one in enumerate(boxes):
            for other in boxes[row + 1 :]:
                overlap = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
                assert overlap.min() <= 0


def test_abnormalities_change_the_chest_and_leave_the_original() -> None:
    chest = chest_of()
    before = chest.attenuation.copy()
    for seed in range(12):
        changed = add_abnormality(chest=chest, rng=np.random.default_rng(seed))
        assert np.abs(changed - before).max() > 0.05
    np.testing.assert_array_equal(chest.attenuation, before)
