"""Anchor matching against the slow oracle.

Integer corners within 32 px leave no room for rounding: unions stay below 2^11, so that two different IoUs differ by
more than 2^-22, four units of single precision near 1, and equal ones round alike. There every anchor is compared. For
real corners an anchor is skipped where its best IoU is within 1e-6 of 0.4 or 0.5, and its box where the best IoU leads
by less than 1e-6; the tests assert that hardly any is.
"""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rsna_det.boxes.anchors import pyramid_anchors
from rsna_det.boxes.matching import match_anchors
from rsna_det.structures import AnchorTargets
from tests.oracles import matching as oracle
from tests.oracles.cases import integer_boxes, near_boxes, real_boxes
from tests.properties import examples

ROUNDING = Fraction(1, 10**6)
LIMITS = (oracle.NEGATIVE_BELOW, oracle.POSITIVE_FROM)


def match(anchors: np.ndarray, boxes: np.ndarray, mask: np.ndarray) -> AnchorTargets:
    return match_anchors(
        anchors=torch.from_numpy(anchors), boxes=torch.from_numpy(boxes), box_mask=torch.from_numpy(mask)
    )


def compare(anchors: np.ndarray, boxes: np.ndarray, mask: np.ndarray, *, exact: bool) -> tuple[int, int]:
    """Compare a whole batch; returns the number of anchors compared and of positives among them."""
    targets = match(anchors, boxes, mask)
    assert targets.labels.shape == targets.box_index.shape == (len(boxes), len(anchors))
    assert targets.labels.dtype == torch.int8
    compared = positives = 0
    for image, (image_boxes, image_mask) in enumerate(zip(boxes.tolist(), mask.tolist(), strict=True)):
        labels, indices = targets.labels[image].tolist(), targets.box_index[image].tolist()
        for row, anchor in enumerate(anchors.tolist()):
            wanted = oracle.match_anchor(anchor=anchor, boxes=image_boxes, mask=image_mask)
            if not exact and min(abs(wanted.iou - limit) for limit in LIMITS) < ROUNDING:
                continue
            compared += 1
            where = f"image {image}, anchor {row} {anchor}, IoU {float(wanted.iou)}"
            assert labels[row] == wanted.label, where
            if wanted.label == 1:
                positives += 1
                if exact or wanted.lead > ROUNDING:
                    assert indices[row] == wanted.box, where
    return compared, positives


def test_small_grids_match_exactly() -> None:
    rng = np.random.default_rng(4)
    positives = 0
    for side in (2, 4, 8, 16, 32) * 6:
        anchors = integer_boxes(rng=rng, count=60, side=side)
        boxes = integer_boxes(rng=rng, count=4 * 5, side=side, smallest=0).reshape(4, 5, 4)
        mask = rng.random((4, 5)) < 0.7
        positives += compare(anchors, boxes, mask, exact=True)[1]
    assert positives > 500


def test_real_corners_match() -> None:
    rng = np.random.default_rng(5)
    compared = positives = 0
    for shift in (0.05, 0.15, 0.3):
        anchors = real_boxes(rng=rng, count=300, side=500)
        picks = rng.integers(0, len(anchors), size=3 * 4)
        boxes = near_boxes(rng=rng, boxes=anchors[picks], shift=shift).reshape(3, 4, 4)
        mask = np.array([[True] * 4, [True, False, True, False], [False] * 4])
        done = compare(anchors, boxes, mask, exact=False)
        compared, positives = compared + done[0], positives + done[1]
    assert compared > 2690
    assert positives > 15


def test_the_pyramids_anchors_match() -> None:
    rng = np.random.default_rng(6)
    sizes = tuple((128 // 2**level, 128 // 2**level) for level in (3, 4, 5, 6))
    anchors = pyramid_anchors(image_size=128, feature_sizes=sizes, levels=(3, 4, 5, 6)).numpy()
    boxes = near_boxes(rng=rng, boxes=anchors[rng.integers(0, len(anchors), size=6)], shift=0.1).reshape(2, 3, 4)
    compared, positives = compare(anchors, boxes, np.ones((2, 3), dtype=bool), exact=False)
    assert compared >= 2 * len(anchors) - 2
    assert positives > 6


@pytest.mark.parametrize(
    ("anchor", "label"),
    [
        ((0, 0, 4, 1), -1),  # 4 / 10 = 0.4: not below 0.4
        ((0, 0, 5, 1), 1),  # 5 / 10 = 0.5: positive from 0.5
        ((0, 0, 3, 1), 0),  # 0.3
        ((0, 0, 4.5, 1), -1),  # 0.45
        ((0, 0, 25, 1), -1),  # 10 / 25 = 0.4, the box inside the anchor
        ((0, 0, 20, 1), 1),  # 10 / 20 = 0.5
        ((4, 0, 14, 1), -1),  # 6 / 14 = 0.43
        ((0, 0, 3.999, 1), 0),  # 0.3999
        ((0, 0, 4.999, 1), -1),  # 0.4999
    ],
)
@pytest.mark.parametrize("factor", [1, 2, 16, 51])
def test_iou_exactly_at_a_limit(anchor: Sequence[float], label: int, factor: int) -> None:
    boxes = np.array([[[0, 0, 10, 1]]], dtype=np.float32) * factor
    targets = match(np.array([anchor], dtype=np.float32) * factor, boxes, np.ones((1, 1), dtype=bool))
    assert targets.labels.tolist() == [[label]]


def test_of_equal_boxes_the_first_wins_that_exists() -> None:
    anchors = np.array([[0, 0, 8, 8]], dtype=np.float32)
    boxes = np.array([[[0, 0, 8, 6], [0, 2, 8, 8], [0, 0, 8, 6], [0, 0, 6, 8]]], dtype=np.float32)  # each 48 / 64
    for mask, first in (([1, 1, 1, 1], 0), ([0, 1, 1, 1], 1), ([0, 0, 1, 1], 2), ([0, 0, 0, 1], 3)):
        targets = match(anchors, boxes, np.array([mask], dtype=bool))
        assert targets.labels.tolist() == [[1]]
        assert targets.box_index.tolist() == [[first]]


def test_a_padded_row_never_matches_whatever_it_holds() -> None:
    anchors = np.array([[0, 0, 8, 8], [8, 8, 16, 16]], dtype=np.float32)
    boxes = np.array([[[0, 0, 8, 8], [8, 8, 16, 16]]], dtype=np.float32)
    targets = match(anchors, boxes, np.array([[False, True]]))
    assert targets.labels.tolist() == [[0, 1]]
    assert targets.box_index[0, 1] == 1


def test_no_box_forces_its_best_anchor() -> None:
    # A 2-px box in a 16-px anchor: IoU 4 / 256.
    anchors = np.array([[0, 0, 16, 16], [100, 100, 116, 116]], dtype=np.float32)
    targets = match(anchors, np.array([[[4, 4, 6, 6]]], dtype=np.float32), np.ones((1, 1), dtype=bool))
    assert targets.labels.tolist() == [[0, 0]]


def test_boxes_without_area_never_match() -> None:
    anchors = np.array([[4, 4, 8, 8], [4, 4, 5, 5]], dtype=np.float32)
    boxes = np.array([[[4, 4, 4, 8], [4, 4, 8, 4], [4, 4, 4, 4]]], dtype=np.float32)
    assert match(anchors, boxes, np.ones((1, 3), dtype=bool)).labels.tolist() == [[0, 0]]


def test_one_pixel_boxes_match() -> None:
    anchors = np.array([[4, 4, 5, 5], [4, 4, 6, 5], [4, 4, 6, 6]], dtype=np.float32)
    boxes = np.array([[[4, 4, 5, 5]]], dtype=np.float32)
    assert match(anchors, boxes, np.ones((1, 1), dtype=bool)).labels.tolist() == [[1, 1, 0]]  # IoU 1, 1/2, 1/4


@pytest.mark.parametrize("padded", [0, 3])
def test_images_without_boxes_are_all_negative(padded: int) -> None:
    anchors = np.array([[0, 0, 8, 8], [-4, -4, 4, 4]], dtype=np.float32)
    targets = match(anchors, np.zeros((2, padded, 4), dtype=np.float32), np.zeros((2, padded), dtype=bool))
    assert targets.labels.tolist() == [[0, 0], [0, 0]]
    assert targets.box_index.shape == (2, 2)


grid_box = st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(0, 6), st.integers(0, 6)).map(
    lambda box: (box[0], box[1], box[0] + box[2], box[1] + box[3])
)


@given(
    anchors=st.lists(grid_box.filter(lambda box: box[2] > box[0] and box[3] > box[1]), min_size=1, max_size=6),
    boxes=st.lists(st.tuples(grid_box, st.booleans()), max_size=6),
)
@examples(500)
def test_any_boxes_on_a_grid(anchors: list[tuple[int, ...]], boxes: list[tuple[tuple[int, ...], bool]]) -> None:
    corners = np.array([box for box, _ in boxes], dtype=np.float32).reshape(1, -1, 4)
    mask = np.array([exists for _, exists in boxes], dtype=bool).reshape(1, -1)
    compare(np.array(anchors, dtype=np.float32), corners, mask, exact=True)
