"""Ranges of the numbers that decide which anchors become detections, and the edges of candidates."""

from typing import Any

import pytest
import torch

from rsna_det.boxes.anchors import pyramid_anchors
from rsna_det.boxes.decoding import DecodingSettings, batch_detections, candidates, check_thresholds
from rsna_det.errors import InvalidValueError
from rsna_det.structures import Candidates, DenseDeltas, HeadOutputs

NUMBERS: dict[str, Any] = {
    "score_floor": 0.025,
    "max_candidates": 300,
    "nms_iou": 0.05,
    "relative_cut": 0.5,
    "cut": 0.15,
}


@pytest.mark.parametrize("name", ["score_floor", "nms_iou", "relative_cut", "cut"])
def test_shares_lie_between_0_and_1(name: str) -> None:
    for edge in (0, 1):
        check_thresholds(**(NUMBERS | {name: edge}))
        DecodingSettings(**(NUMBERS | {name: edge}), cut_grid=[0.1, 0.3, 0.1])
    for beyond in (-0.001, 1.001, float("nan")):
        with pytest.raises(InvalidValueError, match=rf"^{name} is {beyond}; expected 0 to 1$"):
            check_thresholds(**(NUMBERS | {name: beyond}))
        with pytest.raises(InvalidValueError, match=rf"^decoding\.{name} is {beyond}; expected 0 to 1$"):
            DecodingSettings(**(NUMBERS | {name: beyond}), cut_grid=[0.1, 0.3, 0.1])


def test_there_is_at_least_one_candidate() -> None:
    check_thresholds(**(NUMBERS | {"max_candidates": 1}))
    with pytest.raises(InvalidValueError, match=r"^max_candidates is 0; expected 1 or more$"):
        check_thresholds(**(NUMBERS | {"max_candidates": 0}))
    with pytest.raises(InvalidValueError, match=r"^decoding\.max_candidates is 0; expected 1 or more$"):
        DecodingSettings(**(NUMBERS | {"max_candidates": 0}), cut_grid=[0.1, 0.3, 0.1])


@pytest.mark.parametrize("grid", [[0.1, 0.3], [0.3, 0.1, 0.1], [0.1, 1.0, 0.1], [0.1, 0.3, 0.0], [-0.1, 0.3, 0.1]])
def test_a_grid_is_named_as_it_was_given(grid: list[float]) -> None:
    with pytest.raises(InvalidValueError) as caught:
        DecodingSettings(**NUMBERS, cut_grid=grid)
    assert f"decoding.cut_grid is {grid}" in str(caught.value)


def test_a_grid_of_one_cut_and_of_cuts_at_its_end() -> None:
    assert DecodingSettings(**NUMBERS, cut_grid=[0.0, 0.0, 0.1]).cuts == [0.0]
    assert DecodingSettings(**NUMBERS, cut_grid=[0.1, 0.3, 0.1]).cuts == [0.1, 0.2, 0.3]


def found(anchors: torch.Tensor, logits: list[list[float]]) -> Candidates:
    outputs = HeadOutputs(
        box_logits=torch.tensor(logits)[..., None],
        box_deltas=DenseDeltas(values=torch.zeros(len(logits), len(anchors), 4)),
        global_logits=None,
        feature_sizes=((1, 1),),
    )
    sizes = torch.tensor([[64, 64]] * len(logits))
    return candidates(
        outputs=outputs, anchors=anchors, image_size=64, source_sizes=sizes, score_floor=0.5, max_candidates=4
    )


def test_the_smallest_box_is_a_candidate_and_rows_are_as_long_as_the_longest() -> None:
    anchors = torch.tensor([[1.0, 1, 1.5, 1.5], [2, 2, 9, 9], [3, 3, 9, 9], [4, 4, 9, 9]])
    batch = found(anchors, [[2.0, -1, 1, -1], [-1.0, -1, -1, -1]])
    assert batch.mask.tolist() == [[True, True], [False, False]]
    assert batch.boxes[0].tolist() == [[1.0, 1, 1.5, 1.5], [3, 3, 9, 9]]  # the first has a quarter of a pixel
    assert batch.counts_before_cap.tolist() == [2, 0]
    assert found(anchors, [[-1.0] * 4] * 2).scores.shape == (2, 0)


def test_detections_of_a_batch_take_every_number() -> None:
    batch = Candidates(
        boxes=torch.tensor([[[0.0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30], [40, 40, 50, 50]]]),
        scores=torch.tensor([[0.9, 0.8, 0.4, 0.2]]),
        mask=torch.tensor([[True, True, True, True]]),
        counts_before_cap=torch.tensor([4]),
    )

    def scores(nms_iou: float, relative_cut: float, cut: float) -> list[float]:
        (one,) = batch_detections(batch, nms_iou=nms_iou, relative_cut=relative_cut, cut=cut)
        return [round(score, 6) for score in one.scores.tolist()]

    assert scores(0.05, 0.0, 0.0) == [0.9, 0.4, 0.2]
    assert scores(0.95, 0.0, 0.0) == [0.9, 0.8, 0.4, 0.2]
    assert scores(0.05, 0.3, 0.0) == [0.9, 0.4]
    assert scores(0.05, 0.0, 0.3) == [0.9, 0.4]


def test_levels_without_their_sizes_are_refused_with_both() -> None:
    with pytest.raises(ValueError, match=r"one feature size per level, got 1 for levels \(3, 4\)"):
        pyramid_anchors(image_size=64, feature_sizes=[(8, 8)], levels=[3, 4])
