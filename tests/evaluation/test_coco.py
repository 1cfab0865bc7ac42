"""COCO's average precision by hand, and against a slow count."""

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest
import torch

from rsna_det.evaluation.coco import coco_precision
from rsna_det.structures import Detections
from tests.oracles import froc as oracle
from tests.oracles.cases import near_boxes, real_boxes

Boxes = Sequence[Sequence[float]]
Image = tuple[Boxes, Sequence[float], Boxes]
"""Detected boxes, their scores and the true boxes."""

RIGHT, WRONG, OTHER = [100.0, 100.0, 200.0, 300.0], [600.0, 600.0, 700.0, 700.0], [300.0, 500.0, 400.0, 600.0]


def precision(*images: Image) -> tuple[float, float]:
    return coco_precision(
        detections=[
            Detections(
                boxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
                scores=torch.tensor(scores, dtype=torch.float32),
            )
            for boxes, scores, _ in images
        ],
        truths=[torch.tensor(truths, dtype=torch.float32).reshape(-1, 4) for _, _, truths in images],
    )


@pytest.mark.parametrize(
    ("images", "ap50", "ap"),
    [
        # All true boxes found exactly, wherever they lie.
        ([([RIGHT], [0.1], [RIGHT])], 1, 1),
        ([([RIGHT, OTHER], [0.9, 0.1], [OTHER, RIGHT]), ([], [], [])], 1, 1),
        # A better scored mistake: precision 1/2 at every recall; in another image just the same.
        ([([WRONG, RIGHT], [0.9, 0.5], [RIGHT])], 0.5, 0.5),
        ([([RIGHT], [0.5], [RIGHT]), ([WRONG], [0.9], [])], 0.5, 0.5),
        # A worse scored mistake costs nothing, and neither does a duplicate.
        ([([RIGHT, WRONG], [0.9, 0.5], [RIGHT])], 1, 1),
        ([([RIGHT, RIGHT], [0.9, 0.5], [RIGHT])], 1, 1),
        # One true box of two: precision 1 at the recalls 0, 0.01, ..., 0.50, which are 51 of 101.
        ([([RIGHT], [0.9], [RIGHT, OTHER])], 51 / 101, 51 / 101),
        ([([RIGHT], [0.9], [RIGHT]), ([], [], [OTHER])], 51 / 101, 51 / 101),
        # Right, wrong, right: precision 1 up to recall 1/2, then 2/3.
        ([([RIGHT, WRONG, OTHER], [0.9, 0.8, 0.7], [RIGHT, OTHER])], (51 + 50 * 2 / 3) / 101, (51 + 50 * 2 / 3) / 101),
        # IoU 0.62: right at 0.50, 0.55 and 0.60 of the ten thresholds; IoU 0.49: never.
        ([([[100.0, 100.0, 162.0, 300.0]], [0.9], [RIGHT])], 1, 0.3),
        ([([[100.0, 100.0, 149.0, 300.0]], [0.9], [RIGHT])], 0, 0),
        # Nothing found.
        ([([], [], [RIGHT])], 0, 0),
        ([([WRONG], [0.9], [RIGHT])], 0, 0),
        # As for COCO, an overlap of exactly one half is right (the challenge wants more than its thresholds).
        ([([[100.0, 100.0, 150.0, 300.0]], [0.9], [RIGHT])], 1, 0.1),
    ],
)
def test_by_hand(images: list[Image], ap50: float, ap: float) -> None:
    assert precision(*images) == pytest.approx((ap50, ap), abs=1e-6)


@pytest.mark.parametrize("images", [[], [([], [], [])], [([RIGHT], [0.9], [])], [([RIGHT], [0.9], [])] * 3])
def test_without_true_boxes_there_is_no_precision(images: list[Image]) -> None:
    assert all(math.isnan(value) for value in precision(*images))


def test_large_and_tiny_boxes_count() -> None:
    boxes = [[0.0, 0.0, 3.0, 3.0], [10.0, 0.0, 3000.0, 3000.0], [0.0, 10.0, 5.0, 12.0]]
    assert precision((boxes, [0.9, 0.8, 0.7], boxes)) == pytest.approx((1, 1))


def test_it_is_silent(capfd: pytest.CaptureFixture[str]) -> None:
    precision(([RIGHT], [0.5], [RIGHT]))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("seed", range(6))
def test_random_boxes_against_a_slow_count(seed: int) -> None:
    # A prime number of true boxes: no recall between 0 and 1 is a multiple of 1/100. All scores differ.
    rng = np.random.default_rng(seed)
    per_image = [2, 0, 1, 3, 0, 2, 1, 0, 4]
    images = []
    for count in per_image:
        truths = real_boxes(rng=rng, count=count, side=1000)
        picks = truths[rng.integers(0, count, size=int(rng.integers(0, 7)))] if count else truths
        near = near_boxes(rng=rng, boxes=picks, shift=0.15)
        boxes = np.concatenate([near, real_boxes(rng=rng, count=int(rng.integers(0, 3)), side=1000)])
        scores = np.sort(rng.uniform(0.03, 1, size=len(boxes)).astype(np.float32))[::-1]
        images.append((boxes.tolist(), scores.tolist(), truths.tolist()))
    assert sum(per_image) == 13
    detections, truths_of = [(boxes, scores) for boxes, scores, _ in images], [truths for _, _, truths in images]
    wanted = [
        oracle.average_precision(detections=detections, truths=truths_of, iou=Fraction(percent, 100))
        for percent in range(50, 100, 5)
    ]
    assert 0 < wanted[0] < 1
    assert precision(*images) == pytest.approx((wanted[0], sum(wanted) / 10), abs=1e-6)
