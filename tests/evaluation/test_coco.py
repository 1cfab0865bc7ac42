"""COCO's precision on boxes that can be worked by hand."""

import math

import pytest
import torch

from rsna_det.evaluation.coco import coco_precision
from rsna_det.structures import Detections

TRUTH = torch.tensor([[0.0, 0, 100, 100]])


def found(*boxes: tuple[list[float], float]) -> Detections:
    return Detections(
        boxes=torch.tensor([box for box, _ in boxes]).reshape(-1, 4), scores=torch.tensor([s for _, s in boxes])
    )


def test_a_perfect_box() -> None:
    assert coco_precision(detections=[found(([0.0, 0, 100, 100], 0.3))], truths=[TRUTH]) == pytest.approx((1, 1))


def test_a_wrong_box_that_is_better_scored_halves_the_precision() -> None:
    both = found(([200.0, 200, 300, 300], 0.9), ([0.0, 0, 100, 100], 0.3))
    assert coco_precision(detections=[both], truths=[TRUTH]) == pytest.approx((0.5, 0.5))


def test_a_box_counts_at_the_thresholds_that_its_overlap_reaches() -> None:
    # IoU 0.72 reaches 0.50, 0.55, 0.60, 0.65 and 0.70: five of ten.
    assert coco_precision(detections=[found(([0.0, 0, 100, 72], 0.3))], truths=[TRUTH]) == pytest.approx((1, 0.5))


def test_false_alarms_on_images_without_boxes_cost_precision() -> None:
    lists = [found(([0.0, 0, 100, 100], 0.3)), found(([0.0, 0, 50, 50], 0.9))]
    assert coco_precision(detections=lists, truths=[TRUTH, torch.zeros(0, 4)]) == pytest.approx((0.5, 0.5))


def test_nothing_found_and_nothing_to_find() -> None:
    assert coco_precision(detections=[found()], truths=[TRUTH]) == (0, 0)
    assert all(map(math.isnan, coco_precision(detections=[found()], truths=[torch.zeros(0, 4)])))
