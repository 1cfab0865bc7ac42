"""Anchors against the slow oracle."""

import numpy as np
import pytest
import torch

from rsna_det.boxes.anchors import pyramid_anchors
from tests.oracles import anchors as oracle

ALL_LEVELS = (2, 3, 4, 5, 6, 7)


def regular_sizes(image_size: int, levels: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    return tuple((image_size // 2**level, image_size // 2**level) for level in levels)


def expected(image_size: int, sizes: tuple[tuple[int, int], ...], levels: tuple[int, ...]) -> np.ndarray:
    anchors = oracle.pyramid_anchors(image_size=image_size, feature_sizes=sizes, levels=levels)
    return np.array(anchors, dtype=np.float64).reshape(-1, 4)


@pytest.mark.parametrize(
    ("image_size", "sizes", "levels"),
    [
        (512, regular_sizes(512, ALL_LEVELS), ALL_LEVELS),
        (256, regular_sizes(256, ALL_LEVELS[1:]), ALL_LEVELS[1:]),
        (128, ((1, 1),), (7,)),
        # Maps that are neither square nor image size / stride: each axis has its own step.
        (299, ((73, 72), (36, 37), (17, 18), (8, 9), (4, 5), (2, 3)), ALL_LEVELS),
        (100, ((3, 7), (1, 2)), (3, 5)),
        (64, ((5, 1),), (4,)),
        # Levels in the order given, not sorted.
        (64, ((2, 2), (16, 16)), (5, 2)),
    ],
)
def test_anchors_equal_the_oracle(image_size: int, sizes: tuple[tuple[int, int], ...], levels: tuple[int, ...]) -> None:
    found = pyramid_anchors(image_size=image_size, feature_sizes=sizes, levels=levels)
    assert found.dtype == torch.float32
    wanted = expected(image_size, sizes, levels)
    assert tuple(found.shape) == wanted.shape
    # Single precision near 512 px resolves 6e-5 px.
    np.testing.assert_allclose(found.numpy(), wanted, rtol=0, atol=2e-4)


def test_number_of_anchors_at_512() -> None:
    # 9 * (128^2 + 64^2 + 32^2 + 16^2 + 8^2 + 4^2) = 9 * 21,840 = 196,560
    sizes = regular_sizes(512, ALL_LEVELS)
    assert len(pyramid_anchors(image_size=512, feature_sizes=sizes, levels=ALL_LEVELS)) == 196_560


def test_random_maps_equal_the_oracle() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        levels = tuple(int(level) for level in rng.choice(ALL_LEVELS, size=rng.integers(1, 4), replace=False))
        sizes = tuple((int(rows), int(columns)) for rows, columns in rng.integers(1, 7, size=(len(levels), 2)))
        image_size = int(rng.integers(16, 600))
        found = pyramid_anchors(image_size=image_size, feature_sizes=sizes, levels=levels)
        np.testing.assert_allclose(found.numpy(), expected(image_size, sizes, levels), rtol=0, atol=2e-4)


def test_first_anchors_by_hand() -> None:
    # Level 3: size 32; one cell of a 64-px image: centre 32. Ratio 0.5, scale 1: width 32 * sqrt 2 = 45.2548, height
    # 32 / sqrt 2 = 22.6274. The fourth anchor is ratio 1, scale 1; the seventh ratio 2, scale 1.
    found = pyramid_anchors(image_size=64, feature_sizes=((1, 1),), levels=(3,))
    half_long, half_short = 45.2548 / 2, 22.6274 / 2
    wide = [32 - half_long, 32 - half_short, 32 + half_long, 32 + half_short]
    tall = [32 - half_short, 32 - half_long, 32 + half_short, 32 + half_long]
    np.testing.assert_allclose(found[0].numpy(), wide, atol=1e-3)
    np.testing.assert_allclose(found[3].numpy(), [16, 16, 48, 48], atol=1e-5)
    np.testing.assert_allclose(found[6].numpy(), tall, atol=1e-3)
