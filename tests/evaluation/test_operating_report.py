"""FROC, ROC, calibration and the results by kind: hand-worked, and against plain loops."""

import numpy as np
import pandas as pd
import pytest
import torch

from rsna_det.evaluation import operating_report as report
from rsna_det.structures import Detections
from tests.oracles import evaluation as oracle


def detections(boxes: list[list[float]], scores: list[float]) -> Detections:
    return Detections(boxes=torch.tensor(boxes).reshape(-1, 4), scores=torch.tensor(scores))


SQUARE, OTHER, FAR = [0.0, 0, 10, 10], [20.0, 0, 30, 10], [50.0, 50, 60, 60]


def worked() -> tuple[list[Detections], list[torch.Tensor]]:
    """Three images with three true boxes: right at 0.75, wrong at 0.5, right at 0.25, wrong at 0.25."""
    found = [detections([SQUARE, FAR], [0.75, 0.5]), detections([OTHER], [0.25]), detections([FAR], [0.25])]
    return found, [torch.tensor([SQUARE, OTHER]), torch.tensor([OTHER]), torch.zeros(0, 4)]


def test_froc_by_hand() -> None:
    found, truths = worked()
    curve = report.froc_curve(report.right_and_scores(found, truths), num_truths=3, num_images=3)
    assert curve.to_numpy().tolist() == [
        [0.75, 0, pytest.approx(1 / 3)],
        [0.5, pytest.approx(1 / 3), pytest.approx(1 / 3)],
        # The two boxes of score 0.25 come together.
        [0.25, pytest.approx(2 / 3), pytest.approx(2 / 3)],
    ]
    assert report.sensitivity_at(curve, 0.5) == pytest.approx(1 / 3)
    assert report.sensitivity_at(curve, 2 / 3) == pytest.approx(2 / 3)
    assert report.sensitivity_at(curve, 8) == pytest.approx(2 / 3)


def test_no_sensitivity_without_a_cut_that_is_strict_enough() -> None:
    found = [detections([FAR], [0.5])]
    curve = report.froc_curve(report.right_and_scores(found, [torch.tensor([SQUARE])]), num_truths=1, num_images=1)
    assert report.sensitivity_at(curve, 0.5) == 0
    assert report.sensitivity_at(curve, 1) == 0


@pytest.mark.parametrize("seed", range(6))
def test_froc_is_that_of_a_plain_loop(seed: int) -> None:
    generator = np.random.default_rng(seed)

    def boxes(count: int) -> list[list[float]]:
        corners = generator.integers(0, 5, (count, 2)) * 4.0
        return np.concatenate([corners, corners + generator.integers(2, 4, (count, 2)) * 4.0], axis=1).tolist()

    lists = [(boxes(n), sorted((generator.integers(1, 8, n) / 8).tolist(), reverse=True)) for n in (3, 0, 5, 2, 4, 1)]
    truths = [boxes(n) for n in (1, 2, 3, 0, 2, 0)]
    found = [detections(*one) for one in lists]
    rows = report.right_and_scores(found, [torch.tensor(t).reshape(-1, 4) for t in truths])
    curve = report.froc_curve(rows, num_truths=8, num_images=6)
    assert curve.to_numpy().tolist() == [pytest.approx(point) for point in oracle.froc(found=lists, truths=truths)]


def test_areas_under_the_curve_are_shares_of_pairs_in_the_right_order() -> None:
    generator = np.random.default_rng(0)
    scores, positive = generator.integers(0, 6, 40) / 5, (generator.random(40) < 0.4).tolist()
    assert report.image_auc(scores, positive) == pytest.approx(oracle.auc(scores.tolist(), positive))
    assert np.isnan(report.image_auc(scores, [True] * 40))


def test_an_image_without_boxes_scores_nothing() -> None:
    assert report.best_scores([detections([SQUARE, FAR], [0.75, 0.5]), detections([], [])]).tolist() == [0.75, 0]


def test_calibration_by_hand() -> None:
    boxes = pd.DataFrame(
        {"image": 0, "score": [0.1, 0.25, 0.25001, 0.5, 1.0], "right": [False, True, True, False, True]}
    )
    table = report.calibration(boxes, bins=4)
    # A bin holds what lies above its low edge and up to its high one.
    assert table["boxes"].tolist() == [2, 2, 0, 1]
    assert table["mean_score"].fillna(-1).tolist() == pytest.approx([0.175, 0.375005, -1, 1])
    assert table["share_right"].fillna(-1).tolist() == [0.5, 0.5, -1, 1]
    expected = (2 * (0.5 - 0.175) + 2 * (0.5 - 0.375005) + 0) / 5
    assert report.expected_calibration_error(table) == pytest.approx(expected)
    with pytest.raises(ValueError, match="one bin or more"):
        report.calibration(boxes, bins=0)


def test_without_any_detection_there_is_nothing_to_calibrate() -> None:
    rows = report.right_and_scores([detections([], [])], [torch.tensor([SQUARE])])
    table = report.calibration(rows, bins=3)
    assert table["boxes"].tolist() == [0, 0, 0]
    assert np.isnan(report.expected_calibration_error(table))
    assert report.froc_curve(rows, num_truths=1, num_images=1).empty
    assert report.sensitivity_at(report.froc_curve(rows, num_truths=1, num_images=1), 8) == 0


def results() -> pd.DataFrame:
    found, truths = worked()
    images = pd.DataFrame({"image_id": ["a", "b", "c"], "true_patient": ["p", "p", "q"], "category": [2, 2, 0]})
    return report.image_results(images=images, detections=found, truths=truths, scores=np.array([0.25, 0.5, 0.0]))


def test_what_came_of_each_image() -> None:
    frame = results().set_index("image_id")
    assert frame["true_boxes"].tolist() == [2, 1, 0]
    assert frame["found"].tolist() == [1, 1, 0]
    assert frame["false_positives"].tolist() == [1, 0, 1]


def test_results_by_category() -> None:
    frame = results()
    frame.loc[len(frame)] = ["d", "r", -1, 0, 0, 0, np.nan]
    table = report.by_category(frame, resamples=20, seed=0).set_index("kind")
    assert list(table.index) == ["No Lung Opacity / Not Normal", "Lung Opacity", "category unknown"]
    opacity = table.loc["Lung Opacity"]
    assert (opacity["images"], opacity["true_boxes"], opacity["found"]) == (2, 3, 2)
    assert opacity["score"] == pytest.approx(0.375)
    assert opacity["false_positives_per_image"] == 0.5
    assert table.loc["category unknown", "images_that_count"] == 0
    assert np.isnan(table.loc["category unknown", "score"])


def test_results_by_number_of_boxes() -> None:
    frame = results()
    frame["true_boxes"] = [7, 4, 0]
    table = report.by_number_of_boxes(frame, resamples=20, seed=0)
    assert table["kind"].tolist() == ["0", "4 or more"]
    assert table["images"].tolist() == [1, 2]
    assert table["images_with_detections"].tolist() == [1, 2]
