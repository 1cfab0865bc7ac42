"""The quick augmentation gives, to the bit, what the plain one gives."""

import numpy as np
import pytest

from tests.data.augmentation.plain import PlainAugmentation
from tests.data.augmentation.presets import PAPER, PUBLISHED, preset

SEEDS = 150


def radiograph(height: int, width: int) -> np.ndarray:
    """A gradient with noise: every pixel's place shows in its value."""
    across, down = np.meshgrid(np.arange(width), np.arange(height))
    noise = np.random.default_rng(0).integers(0, 40, (height, width))
    return ((across * 200 // width + down * 100 // height + noise) % 256).astype(np.uint8)


def labels(height: int, width: int, seed: int) -> np.ndarray:
    """Up to five boxes, some of which reach over an edge, have no area or lie outside."""
    generator = np.random.default_rng([7, seed])
    corners = generator.uniform(-0.1, 1.1, (int(generator.integers(6)), 2, 2)) * (width, height)
    boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
    if len(boxes) > 2:
        boxes[0, 2] = boxes[0, 0]
        boxes[1] += width
    return boxes.astype(np.float32)


@pytest.mark.parametrize("side", [(64, 64), (100, 100), (75, 90)])
@pytest.mark.parametrize("name", [*PAPER, *PUBLISHED])
def test_pixels_and_boxes_are_those_of_the_plain_way(name: str, side: tuple[int, int]) -> None:
    quick = preset(name)
    plain = PlainAugmentation(quick)
    image, kept = radiograph(*side), 0
    for seed in range(SEEDS):
        boxes = labels(*side, seed)
        ours, theirs = quick(image, boxes, seed), plain(image, boxes, seed)
        assert ours[0].tobytes() == theirs[0].tobytes()
        assert ours[1].dtype == theirs[1].dtype == np.float32
        assert ours[1].tolist() == theirs[1].tolist()
        kept += len(ours[1])
    assert kept > SEEDS


def test_half_of_a_box_decides_by_a_hair() -> None:
    """Shares just above and below the limit, and boxes that keep nothing where any share is enough."""
    quick = preset("none", shift=0.5, minimum_inside=0.5)
    plain = PlainAugmentation(quick)
    image = radiograph(64, 64)
    counts = set()
    for seed in range(SEEDS):
        boxes = labels(64, 64, seed)
        ours, theirs = quick(image, boxes, seed)[1], plain(image, boxes, seed)[1]
        assert ours.tolist() == theirs.tolist()
        counts.add(len(boxes) - len(ours))
    assert len(counts) > 2


def test_a_box_that_leaves_the_image_is_dropped_even_if_none_of_it_need_be_inside() -> None:
    quick = preset("none", shift=0.5, minimum_inside=0.0)
    image, corner = radiograph(64, 64), np.array([[0, 0, 4, 4], [60, 60, 64, 64]], np.float32)
    lost = 0
    for seed in range(20):
        _, boxes = quick(image, corner, seed)
        assert ((boxes[:, 2:] - boxes[:, :2]) > 0).all()
        lost += 2 - len(boxes)
    assert lost > 0
