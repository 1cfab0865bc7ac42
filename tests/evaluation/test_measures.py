"""FROC, calibration, ROC-AUC and the tables by kind of image: by loops and by hand."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
import torch

from rsna_det.data.labels.frame import UNKNOWN_CATEGORY
from rsna_det.evaluation.image_results import by_category, by_number_of_boxes, image_results
from rsna_det.evaluation.measures import (
    FALSE_POSITIVE_RATES,
    best_scores,
    calibration,
    expected_calibration_error,
    froc_curve,
    image_auc,
    matched_detections,
    sensitivity_at,
)
from rsna_det.files.tables import markdown_table
from rsna_det.structures import Detections
from tests.oracles import froc as oracle
from tests.oracles.cases import integer_boxes, near_boxes
from tests.oracles.metric import THRESHOLDS, hits_at

Boxes = list[list[float]]
NAN = math.nan
CELLS = [[20.0 * k, 0.0, 20.0 * k + 10, 10.0] for k in range(8)]
"""Boxes apart from each other."""


def detected(boxes: Boxes, scores: Sequence[float]) -> Detections:
    tensor = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return Detections(boxes=tensor, scores=torch.tensor(list(scores), dtype=torch.float32))


def tensors(truths: Sequence[Boxes]) -> list[torch.Tensor]:
    return [torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4) for boxes in truths]


def table(entries: Sequence[tuple[float, bool]]) -> pd.DataFrame:
    """Boxes as :func:`matched_detections` gives them."""
    columns = {"image": 0, "score": [score for score, _ in entries], "true_positive": [right for _, right in entries]}
    return pd.DataFrame(columns).astype({"score": "float64", "true_positive": "bool"})


def drawn(rng: np.random.Generator, count: int) -> tuple[list[Boxes], list[list[float]], list[Boxes]]:
    """Boxes, falling scores and truths of images, some without either."""
    boxes, scores, truths = [], [], []
    for _ in range(count):
        some = integer_boxes(rng=rng, count=int(rng.integers(0, 4)), side=30)
        near = np.round(near_boxes(rng=rng, boxes=some, shift=0.3))[: int(rng.integers(0, 4))]
        together = np.concatenate([near, integer_boxes(rng=rng, count=int(rng.integers(0, 3)), side=30)])
        boxes.append(rng.permutation(together).tolist())
        scores.append(sorted((rng.integers(1, 17, size=len(together)) / 16).tolist(), reverse=True))
        truths.append(some.tolist())
    return boxes, scores, truths


def test_right_is_a_hit_at_the_most_lenient_threshold() -> None:
    boxes, scores, truths = drawn(np.random.default_rng(90), 300)
    found = matched_detections([detected(b, s) for b, s in zip(boxes, scores, strict=True)], tensors(truths))
    wanted = [
        (image, score, right)
        for image, (b, s, t) in enumerate(zip(boxes, scores, truths, strict=True))
        for score, right in zip(s, hits_at(predictions=b, truths=t, threshold=THRESHOLDS[0]), strict=True)
    ]
    assert list(found[["image", "score", "true_positive"]].itertuples(index=False, name=None)) == wanted
    assert 100 < found["true_positive"].sum() < len(found) - 100


def test_overlap_of_exactly_two_fifths_is_wrong_and_a_second_hit_too() -> None:
    truth = [[0.0, 0.0, 10.0, 1.0]]
    images = [[[0.0, 0.0, 4.0, 1.0]], [[0.0, 0.0, 5.0, 1.0], [0.0, 0.0, 10.0, 1.0]]]
    found = matched_detections([detected(images[0], [0.5]), detected(images[1], [0.75, 0.5])], tensors([truth, truth]))
    assert found["true_positive"].tolist() == [False, True, False]


@pytest.mark.parametrize("seed", range(8))
def test_froc_by_a_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    entries = [(int(rng.integers(1, 20)) / 16, bool(rng.integers(0, 2))) for _ in range(int(rng.integers(1, 60)))]
    truths, images = sum(right for _, right in entries) + int(rng.integers(1, 9)), int(rng.integers(1, 20))
    found = froc_curve(table(entries), num_truths=truths, num_images=images)
    wanted = oracle.curve(boxes=entries, num_truths=truths, num_images=images)
    assert list(found.columns) == ["score", "false_positives_per_image", "sensitivity"]
    np.testing.assert_allclose(found.to_numpy(), wanted, rtol=0, atol=1e-12)
    for rate in (*FALSE_POSITIVE_RATES, 0.0, 1 / images, 100):
        assert sensitivity_at(found, rate) == pytest.approx(oracle.sensitivity_at(wanted, rate), abs=1e-12, nan_ok=True)


def test_froc_by_hand() -> None:
    # Four images, five truths. In order of score: right; wrong and right at one score; wrong; right; wrong.
    entries = [(0.9, True), (0.8, False), (0.8, True), (0.6, False), (0.5, True), (0.2, False)]
    curve = froc_curve(table(entries[::-1]), num_truths=5, num_images=4)
    assert curve["score"].tolist() == [0.9, 0.8, 0.6, 0.5, 0.2]
    assert curve["false_positives_per_image"].tolist() == [0.0, 0.25, 0.5, 0.5, 0.75]
    assert curve["sensitivity"].tolist() == pytest.approx([0.2, 0.4, 0.4, 0.6, 0.6])
    found = [sensitivity_at(curve, rate) for rate in FALSE_POSITIVE_RATES]
    assert FALSE_POSITIVE_RATES == (0.125, 0.25, 0.5, 1, 2, 4, 8)
    # All boxes together cost 0.75 false positives per image: what would be found at 1 and more is not known.
    assert found == pytest.approx([0.2, 0.4, 0.6, NAN, NAN, NAN, NAN], nan_ok=True)
    assert sensitivity_at(curve, 0.75) == pytest.approx(0.6)


def test_the_best_box_wrong_leaves_no_cut_at_a_low_rate() -> None:
    curve = froc_curve(table([(0.9, False), (0.5, True)]), num_truths=1, num_images=2)
    assert [sensitivity_at(curve, rate) for rate in (0.25, 0.5)] == [0.0, 1.0]


@pytest.mark.filterwarnings("error")
def test_no_detection_at_all() -> None:
    nothing = matched_detections([detected([], [])] * 2, tensors([CELLS[:2], []]))
    assert len(nothing) == 0
    curve = froc_curve(nothing, num_truths=2, num_images=2)
    assert len(curve) == 0
    assert math.isnan(sensitivity_at(curve, 8))
    bins = calibration(nothing, bins=3)
    assert bins["detections"].tolist() == [0, 0, 0]
    assert bins[["mean_score", "precision"]].isna().all(axis=None)
    assert math.isnan(expected_calibration_error(bins))
    assert best_scores([detected([], [])] * 2).tolist() == [0.0, 0.0]
    assert image_auc(np.zeros(2), [True, False]) == 0.5
    assert len(matched_detections([], [])) == 0
    assert best_scores([]).tolist() == []


@pytest.mark.filterwarnings("error")
def test_no_truth_at_all() -> None:
    found = matched_detections([detected(CELLS[:2], [0.9, 0.5])], tensors([[]]))
    assert found["true_positive"].tolist() == [False, False]
    curve = froc_curve(found, num_truths=0, num_images=1)
    assert curve["false_positives_per_image"].tolist() == [1, 2]
    assert curve["sensitivity"].isna().all()


def test_best_scores() -> None:
    images = [detected(CELLS[:2], [0.75, 0.5]), detected([], []), detected(CELLS[:1], [0.125])]
    assert best_scores(images).tolist() == [0.75, 0.0, 0.125]


@pytest.mark.parametrize("seed", range(10))
def test_auc_by_pairs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    positive = [bool(value) for value in rng.integers(0, 2, size=40)]
    scores = (rng.integers(0, 6, size=40) + 2 * np.array(positive)) / 8  # many ties
    assert image_auc(scores, positive) == pytest.approx(oracle.auc(scores.tolist(), positive), abs=1e-12)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("positive", [[True, True], [False, False], []])
def test_auc_of_one_kind_of_image_only(positive: list[bool]) -> None:
    assert math.isnan(image_auc(np.linspace(0, 1, len(positive)), positive))


def test_calibration_by_hand() -> None:
    # Four bins: (0, 1/4], (1/4, 1/2], (1/2, 3/4], (3/4, 1].
    entries = [(0.125, False), (0.25, True), (0.375, False), (0.75, True), (0.625, True), (0.75, False), (0.6875, True)]
    found = calibration(table(entries), bins=4)
    assert list(found.columns) == ["low", "high", "detections", "mean_score", "precision"]
    assert found["low"].tolist() == [0, 0.25, 0.5, 0.75]
    assert found["high"].tolist() == [0.25, 0.5, 0.75, 1]
    assert found["detections"].tolist() == [2, 1, 4, 0]
    np.testing.assert_allclose(found["mean_score"], [0.1875, 0.375, 0.703125, NAN])
    np.testing.assert_allclose(found["precision"], [0.5, 0, 0.75, NAN])
    wanted = (2 * 0.3125 + 1 * 0.375 + 4 * 0.046875) / 7
    assert expected_calibration_error(found) == pytest.approx(wanted)


@pytest.mark.parametrize("bins", [1, 3, 7, 10, 15])
def test_every_box_is_in_one_bin(bins: int) -> None:
    scores = [float(np.float32(k / 210)) for k in range(1, 211)] + [k / 210 for k in range(1, 211)] + [1.0, 1e-30]
    found = calibration(table([(score, False) for score in scores]), bins=bins)
    assert len(found) == bins
    assert found["detections"].sum() == len(scores)
    assert found["low"].iloc[0] == 0
    assert found["high"].iloc[-1] == 1
    assert (found["mean_score"] > found["low"] - 1e-7).all()
    assert (found["mean_score"] <= found["high"] + 1e-7).all()


@pytest.mark.parametrize("bins", [0, -1])
def test_no_bin_is_refused(bins: int) -> None:
    with pytest.raises(ValueError, match=str(bins)):
        calibration(table([(0.5, True)]), bins=bins)


def results(categories: list[int | None]) -> pd.DataFrame:
    """Six images of four patients with 0, 0, 1, 2, 4 and 6 true boxes."""
    images = pd.DataFrame(
        {
            "image_id": list("abcdef"),
            "true_patient": ["p", "p", "q", "r", "s", "s"],
            "category": pd.array(categories, dtype="Int64"),
            "left": "out",
        }
    )
    finds = [[], [7], [0, 7], [1, 5, 6], [0, 1, 2, 3], [5]]
    detections = [detected([CELLS[k] for k in find], [0.9 - n / 8 for n in range(len(find))]) for find in finds]
    truths = tensors([CELLS[:count] for count in (0, 0, 1, 2, 4, 6)])
    return image_results(
        images=images, detections=detections, truths=truths, scores=np.array([NAN, 0, 0.5, 0.25, 1, 0.125])
    )


def test_results_of_each_image() -> None:
    found = results([1, 0, 2, 2, 2, 2])
    names = ["image_id", "true_patient", "category", "true_boxes", "true_positives", "false_positives", "score"]
    assert list(found.columns) == names
    assert found["image_id"].tolist() == list("abcdef")
    assert found["true_boxes"].tolist() == [0, 0, 1, 2, 4, 6]
    assert found["true_positives"].tolist() == [0, 0, 1, 1, 4, 1]
    assert found["false_positives"].tolist() == [0, 1, 1, 2, 0, 0]
    np.testing.assert_array_equal(found["score"], [NAN, 0, 0.5, 0.25, 1, 0.125])


def by_kind(found: pd.DataFrame, *names: str) -> dict[str, list[float]]:
    return {str(row["kind"]): [float(row[name]) for name in names] for _, row in found.iterrows()}


@pytest.mark.parametrize("unknown", [UNKNOWN_CATEGORY, None])
def test_counts_by_category(unknown: int | None) -> None:
    found = by_category(results([1, 0, 2, 2, unknown, 2]), resamples=200, seed=0)
    counts = by_kind(found, "images", "images_that_count", "true_boxes", "true_positives", "images_with_detections")
    assert counts == {
        "No Lung Opacity / Not Normal": [1, 1, 0, 0, 1],
        "Normal": [1, 0, 0, 0, 0],
        "Lung Opacity": [3, 3, 9, 3, 3],
        "category unknown": [1, 1, 4, 4, 1],
    }
    means = by_kind(found, "score", "false_positives_per_image")
    assert means["Lung Opacity"] == pytest.approx([0.875 / 3, 1])
    assert math.isnan(means["Normal"][0])
    low, high = by_kind(found, "score_low", "score_high")["Lung Opacity"]
    assert 0.125 <= low < 0.875 / 3 < high <= 0.5


def test_counts_by_number_of_boxes() -> None:
    found = by_number_of_boxes(results([1, 0, 2, 2, 2, 2]), resamples=200, seed=0)
    assert by_kind(found, "images", "images_that_count", "true_boxes", "true_positives", "score") == {
        "0": [2, 1, 0, 0, 0.0],
        "1": [1, 1, 1, 1, 0.5],
        "2": [1, 1, 2, 1, 0.25],
        "4 or more": [2, 2, 10, 5, 0.5625],
    }


def test_all_categories_unknown() -> None:
    found = by_category(results([UNKNOWN_CATEGORY] * 6), resamples=20, seed=0)
    assert by_kind(found, "images", "true_boxes") == {"category unknown": [6, 13]}


@pytest.mark.filterwarnings("error")
def test_tables_of_no_image() -> None:
    nothing = results([1] * 6).iloc[:0]
    for function in (by_category, by_number_of_boxes):
        assert function(nothing, resamples=20, seed=0).get("images", pd.Series(dtype=int)).sum() == 0


def test_cells_of_markdown_hold_nothing_that_acts() -> None:
    table = markdown_table(pd.DataFrame({"variant": ["a|b", "<script>"], "map": [0.5, 1.0]}))
    assert table.splitlines()[2:] == [r"| a\|b | 0.5000 |", "| &lt;script&gt; | 1 |"]
