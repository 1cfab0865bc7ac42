"""The drawn chest: dark lungs in a bright body, the same chest at any size."""

import numpy as np

from tests.data.synthetic.chests import chest_of


def test_lungs_are_darker_than_body_and_spine() -> None:
    chest = chest_of()
    frame = chest.frame
    lung = chest.attenuation[chest.lungs > 0.9]
    spine = chest.attenuation[(np.abs(frame.u) < 0.05) & (frame.v > 0.4) & (frame.v < 1)]
    assert np.median(lung) < 0.5 < np.median(spine)
    # Both lungs together fill a believable part of the film.
    assert 0.12 < (chest.lungs > 0.5).mean() < 0.45


def test_same_chest_at_two_sizes() -> None:
    small, large = chest_of(side=128), chest_of(side=512)
    shrunk = large.attenuation.reshape(128, 4, 128, 4).mean(axis=(1, 3))
    assert np.abs(shrunk - small.attenuation).mean() < 0.03
