"""Validation metrics by hand, without Lightning."""

import math

import pytest
import torch

from rsna_det.structures import DenseDeltas, Detections, HeadOutputs, Losses
from rsna_det.training.validation import ValidationMetrics

BOX = torch.tensor([[10.0, 10, 20, 20]])


def losses(*box_class: float) -> Losses:
    values = torch.tensor(box_class)
    return Losses(box_class=values, box_regression=2 * values, global_class=torch.zeros(len(values)))


def counted() -> ValidationMetrics:
    """Two batches of two images and of one: a hit scored 0.3, a miss scored 0.2 and an image without a box."""
    metrics = ValidationMetrics(cut=0.25, cuts=[0.1, 0.25, 0.5])
    nothing = Detections(boxes=torch.zeros(0, 4), scores=torch.zeros(0))
    hit = Detections(boxes=BOX, scores=torch.tensor([0.3]))
    miss = Detections(boxes=BOX + 50, scores=torch.tensor([0.2]))
    metrics.update_losses(losses(1.0, 2.0), total=torch.tensor(6.0))
    metrics.update_losses(losses(6.0), total=torch.tensor(9.0))
    metrics.update_map([hit, miss], [BOX, torch.zeros(0, 4)])
    metrics.update_map([nothing], [torch.zeros(0, 4)])
    return metrics


def test_losses_are_means_over_images_and_not_over_batches() -> None:
    values = counted().compute()
    # (1 + 2 + 6) / 3, and of the totals (6 + 6 + 9) / 3
    assert values["box_class"].item() == pytest.approx(3.0)
    assert values["box_regression"].item() == pytest.approx(6.0)
    assert values["loss"].item() == pytest.approx(7.0)


def test_the_map_is_that_of_its_cut_and_of_the_best_cut() -> None:
    metrics = counted()
    values = metrics.compute()
    # Above 0.25 the hit alone counts: 1. Above 0.1 the miss on an image without a box does too: (1 + 0) / 2.
    assert values["map"].item() == values["map_best"].item() == 1.0
    assert values["cut_best"].item() == 0.25
    assert metrics.map.compute().tolist() == pytest.approx([1.0, 0.5, 1.0, 0.0])


def test_the_global_head_is_scored_only_where_there_is_one() -> None:
    metrics = counted()
    assert not {"global_accuracy", "global_auc"} & set(metrics.compute())
    probabilities = torch.tensor([[0.1, 0.2, 0.7], [0.6, 0.3, 0.1], [0.2, 0.3, 0.5]])
    metrics.update_categories(probabilities, torch.tensor([2, 0, 1]))
    values = metrics.compute()
    assert values["global_accuracy"].item() == pytest.approx(2 / 3)
    assert values["global_auc"].item() == 1.0
    metrics.reset()
    metrics.update_losses(losses(1.0), total=torch.tensor(1.0))
    metrics.update_map([Detections(boxes=BOX, scores=torch.tensor([0.3]))], [BOX])
    assert "global_auc" not in metrics.compute()
    assert metrics.compute()["loss"].item() == 1.0
    metrics.update_categories(probabilities[:1], torch.tensor([2]))
    assert math.isnan(metrics.compute()["global_auc"].item()), "no image without an opacity"


def test_checkpoints_hold_none_of_it() -> None:
    assert dict(counted().state_dict()) == {}


def outputs(**changed: torch.Tensor | None) -> HeadOutputs:
    """Of three images with four anchors."""
    usual = {"box_logits": torch.zeros(3, 4, 1), "global_logits": torch.zeros(3, 3)}
    deltas = DenseDeltas(values=torch.zeros(3, 4, 4))
    return HeadOutputs(**(usual | changed), box_deltas=deltas, feature_sizes=((2, 2),))  # type: ignore[arg-type]


BOXES = torch.zeros(3, 2, 4)
"""Two of each of the images."""


@pytest.mark.parametrize("part", ["box_logits", "boxes", "global_logits"])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_one_bad_number_anywhere_marks_its_image(part: str, bad: float) -> None:
    changed = (BOXES if part == "boxes" else getattr(outputs(), part)).clone()
    changed[1].view(-1)[-1] = bad
    bad_outputs, its_boxes = (outputs(), changed) if part == "boxes" else (outputs(**{part: changed}), BOXES)
    found = bad_outputs.finite_images(its_boxes)
    assert found.tolist() == [True, False, True]
    assert outputs(global_logits=None).finite_images(BOXES).tolist() == [True, True, True]


def test_scores_of_outputs_that_are_not_finite_are_no_numbers() -> None:
    metrics = counted()
    metrics.update_outputs(outputs(), BOXES)
    assert metrics.compute()["map"].item() == 1.0
    broken = counted()
    broken.update_outputs(outputs(box_logits=torch.full((3, 4, 1), math.nan)), BOXES)
    broken.update_outputs(outputs(), BOXES)
    values = broken.compute()
    assert broken.images_not_finite == 3
    assert all(values[name].isnan() for name in ("map", "map_best", "cut_best"))
    broken.reset()
    assert broken.images_not_finite == 0
