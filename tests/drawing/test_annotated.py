"""A radiograph with its boxes: nothing is distorted, covered or unreadable."""

import time

import numpy as np
import pytest
import torch

from rsna_det.drawing.annotated import LARGEST_SIDE, SMALLEST_SIDE, annotated
from rsna_det.drawing.boxes import DETECTION_COLOUR, TRUTH_COLOUR
from rsna_det.structures import Detections


def found(*boxes: list[float]) -> Detections:
    return Detections(
        boxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), scores=torch.linspace(0.9, 0.5, len(boxes))
    )


def changed(picture: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Pixels of the radiograph that are drawn upon."""
    height, width = image.shape
    return (picture[:height, :width] != image[..., None]).any(axis=2)


@pytest.mark.parametrize("ground", [0, 90, 255])
def test_boxes_are_outlines_and_scores_stand_outside(ground: int) -> None:
    image = np.full((600, 700), ground, np.uint8)
    picture = annotated(image, detections=found([100, 200, 300, 500]), truths=None, caption=["a"])
    drawn = changed(picture, image)
    assert tuple(picture[350, 100]) == DETECTION_COLOUR
    assert not drawn[205:495, 105:295].any(), "inside the box"
    assert drawn[160:195, 100:180].any(), "the score above it"
    assert drawn.mean() < 0.02
    if ground == 255:
        assert (picture[160:195, 100:180] < 90).all(axis=2).any(), "letters have a dark edge"


def test_labels_are_dashed_and_named_in_the_strip() -> None:
    image = np.full((600, 600), 90, np.uint8)
    nothing = found()
    with_truth = annotated(image, detections=nothing, truths=np.float32([[100, 100, 400, 400]]), caption=["a"])
    edge = (with_truth[100, 100:400] == TRUTH_COLOUR).all(axis=1)
    assert 0.3 < edge.mean() < 0.8
    unknown = annotated(image, detections=nothing, truths=None, caption=["a"])
    green = [(picture[600:] == TRUTH_COLOUR).all(axis=2).any() for picture in (with_truth, unknown)]
    assert green == [True, False]
    assert not changed(unknown, image).any()


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((1024, 1024), (1024, 1024)),
        ((3072, 2048), (LARGEST_SIDE, 1024)),
        ((64, 32), (SMALLEST_SIDE, 256)),
        ((2000, 100), (LARGEST_SIDE, 77)),
    ],
)
def test_proportions_stay_and_the_caption_is_below(shape: tuple[int, int], expected: tuple[int, int]) -> None:
    image = np.full(shape, 90, np.uint8)
    box = [0.0, 0.0, float(shape[1]), float(shape[0])]
    caption = ["1.2.840.113619.2.55.3.604688119.971", "2 boxes scored above 0.15", "p(opacity) 0.83"]
    picture = annotated(image, detections=found(box, box), truths=np.float32([box]), caption=caption)
    assert picture.shape[1] == expected[1]
    assert picture.shape[0] > expected[0]
    assert (picture[expected[0] :] > 100).any(), "letters in the strip"


def test_scores_of_boxes_at_one_place_do_not_cover_each_other() -> None:
    image = np.zeros((800, 800), np.uint8)
    boxes = [[300.0, 300, 500, 500], [302, 302, 500, 500], [304, 304, 500, 500]]

    def letters(*chosen: list[float]) -> int:
        picture = annotated(image, detections=found(*chosen), truths=None, caption=[])
        drawn = (picture[:800] == DETECTION_COLOUR).all(axis=2)
        drawn[296:506, 296:506] = False
        return int(drawn.sum())

    one = letters(boxes[0])
    assert letters(*boxes) > 2.5 * one


def test_very_many_boxes_take_no_time() -> None:
    image = np.zeros((600, 600), np.uint8)
    boxes = [[float(i % 60), float(i // 60), 300.0 + i % 100, 400.0] for i in range(3000)]
    started = time.perf_counter()
    annotated(image, detections=found(*boxes), truths=None, caption=[])
    assert time.perf_counter() - started < 5
