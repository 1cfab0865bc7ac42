"""The challenge's metric against the slow oracle.

Integer corners are compared exactly. For real corners the oracle is exact and the implementation is in double
precision: a decision could differ only where an IoU is within 1e-12 of a threshold or of another IoU, which does not
happen with these seeds, so nothing is skipped.
"""

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rsna_det.evaluation.metric import ChallengeMAP, challenge_map, hits, image_scores
from rsna_det.structures import Detections
from tests.oracles import metric as oracle
from tests.oracles.cases import integer_boxes, near_boxes, real_boxes
from tests.properties import examples

Boxes = list[list[float]]


def padded(lists: Sequence[Boxes], dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Boxes of several images as one tensor and its mask."""
    longest = max((len(boxes) for boxes in lists), default=0)
    tensor, mask = torch.zeros(len(lists), longest, 4, dtype=dtype), torch.zeros(len(lists), longest, dtype=torch.bool)
    for image, boxes in enumerate(lists):
        if boxes:
            tensor[image, : len(boxes)] = torch.tensor(boxes, dtype=dtype)
            mask[image, : len(boxes)] = True
    return tensor, mask


def check(predictions: Sequence[Boxes], truths: Sequence[Boxes], dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Compare hits, the images' scores and the mean; returns the images' scores."""
    (boxes, mask), (true_boxes, true_mask) = padded(predictions, dtype), padded(truths, dtype)
    found = hits(boxes=boxes, mask=mask, truths=true_boxes, truth_mask=true_mask)
    assert found.shape == (*mask.shape, 8)
    assert found.dtype == torch.bool
    for image, (image_predictions, image_truths) in enumerate(zip(predictions, truths, strict=True)):
        wanted = oracle.hits(predictions=image_predictions, truths=image_truths)
        assert found[image, : len(wanted)].tolist() == wanted, f"{image_predictions} against {image_truths}"
        assert not found[image, len(wanted) :].any()
    scores = image_scores(hits=found, num_predictions=mask.sum(dim=1), num_truths=true_mask.sum(dim=1))
    assert scores.dtype == torch.float64
    pairs = zip(predictions, truths, strict=True)
    wanted_scores = [oracle.image_score(predictions=p, truths=t) for p, t in pairs]
    as_float = [math.nan if score is None else float(score) for score in wanted_scores]
    np.testing.assert_allclose(scores.numpy(), as_float, rtol=0, atol=1e-12)
    check_mean(predictions, truths, dtype)
    return scores


def detected(boxes: Boxes, dtype: torch.dtype, scores: Sequence[float] | None = None) -> Detections:
    falling = [1 - rank / 1000 for rank in range(len(boxes))] if scores is None else list(scores)
    return Detections(boxes=torch.tensor(boxes, dtype=dtype).reshape(-1, 4), scores=torch.tensor(falling, dtype=dtype))


def check_mean(predictions: Sequence[Boxes], truths: Sequence[Boxes], dtype: torch.dtype) -> None:
    found = challenge_map(
        detections=[detected(boxes, dtype) for boxes in predictions],
        truths=[torch.tensor(boxes, dtype=dtype).reshape(-1, 4) for boxes in truths],
    )
    assert isinstance(found, float)
    wanted = oracle.challenge_map(predictions=predictions, truths=truths)
    assert found == pytest.approx(math.nan if wanted is None else float(wanted), abs=1e-12, nan_ok=True)


def drawn(rng: np.random.Generator, kind: int) -> tuple[Boxes, Boxes]:
    """Predictions and truths of one image, often near each other, with duplicates and empty sides."""
    side = (3, 8, 40, 1024)[kind % 4]
    truths = integer_boxes(rng=rng, count=int(rng.integers(0, 4)), side=side)
    far = integer_boxes(rng=rng, count=int(rng.integers(0, 3)), side=side)
    picks = truths[rng.integers(0, len(truths), size=int(rng.integers(0, 5)))] if len(truths) else truths
    near = near_boxes(rng=rng, boxes=picks, shift=0.25)
    near = np.round(near) if kind % 8 < 4 else near
    predictions = np.concatenate([near, far, far[:1], picks[:1]])
    return rng.permutation(predictions).tolist(), truths.tolist()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_thousands_of_random_images(dtype: torch.dtype) -> None:
    rng = np.random.default_rng(40)
    images = [drawn(rng, kind) for kind in range(1500)]
    scores = check([image[0] for image in images], [image[1] for image in images], dtype)
    assert 100 < int(torch.isnan(scores).sum()) < 700 or int((scores > 0).sum()) > 300


def test_real_corners() -> None:
    rng = np.random.default_rng(41)
    truths = [real_boxes(rng=rng, count=3, side=1024) for _ in range(400)]
    predictions = [near_boxes(rng=rng, boxes=boxes, shift=0.2).tolist() for boxes in truths]
    scores = check(predictions, [boxes.tolist() for boxes in truths])
    assert int((scores > 0).sum()) > 300


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("factor", [1, 3, 7, 25, 51])
def test_iou_exactly_at_each_threshold_is_no_hit(dtype: torch.dtype, factor: int) -> None:
    # Widths k and 20: IoU = k / 20 exactly, for k = 8..15 the eight thresholds; greater than the first k - 8 of them.
    truths = [[[0.0, 0.0, 20.0 * factor, 1.0 * factor]]] * 8
    predictions = [[[0.0, 0.0, float(k * factor), 1.0 * factor]] for k in range(8, 16)]
    (boxes, mask), (true_boxes, true_mask) = padded(predictions, dtype), padded(truths, dtype)
    for left, right, left_mask, right_mask in (
        (boxes, true_boxes, mask, true_mask),
        (true_boxes, boxes, true_mask, mask),
    ):
        found = hits(boxes=left, mask=left_mask, truths=right, truth_mask=right_mask)
        assert found[:, 0].sum(dim=-1).tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    check(predictions, truths, dtype)


def test_iou_just_above_each_threshold_is_a_hit() -> None:
    # Widths 1,000 k + 1 and 20,000: IoU exceeds k / 20 by 5e-5; and by 1e-9 in double precision.
    for step, dtype in ((1.0, torch.float32), (2e-5, torch.float64)):
        predictions = [[[0.0, 0.0, 1000 * k + step, 4.0]] for k in range(8, 16)]
        (boxes, mask), (truths, truth_mask) = padded(predictions, dtype), padded([[[0, 0, 20_000, 4]]] * 8, dtype)
        found = hits(boxes=boxes, mask=mask, truths=truths, truth_mask=truth_mask)
        assert found[:, 0].sum(dim=-1).tolist() == [1, 2, 3, 4, 5, 6, 7, 8]


def test_greedy_matching_by_confidence_and_not_the_best_assignment() -> None:
    # Height 1, so widths suffice. Truths 0..20 and 5..30. P = 2..21: IoU 18/21 = 0.857 and 16/28 = 0.571.
    # Q = 0..14: IoU 14/20 = 0.7 exactly and 9/30 = 0.3.
    truths = [[0.0, 0.0, 20.0, 1.0], [5.0, 0.0, 30.0, 1.0]]
    first, second = [2.0, 0.0, 21.0, 1.0], [0.0, 0.0, 14.0, 1.0]
    # P first takes the first truth everywhere, Q finds none: TP 1 of 3 in the union of the lists at each threshold.
    # Q first takes it up to 0.65 (0.7 is not > 0.7); P then takes the second up to 0.55, and the first at 0.70, 0.75:
    # (4 * 2/2 + 2 * 1/3 + 2 * 1/3) / 8 = 2/3.
    scores = check([[first, second], [second, first]], [truths, truths])
    np.testing.assert_allclose(scores.numpy(), [1 / 3, 2 / 3])


def test_equal_ious_take_the_first_truth() -> None:
    # The prediction 0..10 has IoU 0.8 with 0..8 and with 2..10. Having taken the first, it leaves 2..10 to the next
    # prediction 2..10; had it taken the second, the next would find only 0..8, IoU 6 / 10.
    truths = [[0.0, 0.0, 8.0, 1.0], [2.0, 0.0, 10.0, 1.0]]
    wide, right, left = [0.0, 0.0, 10.0, 1.0], [2.0, 0.0, 10.0, 1.0], [0.0, 0.0, 8.0, 1.0]
    scores = check([[wide, right], [wide, left]], [truths, truths])
    # (wide, left): after the first truth is gone, left has IoU 6/10 with the second: hits at 0.40..0.55 (0.6 is not
    # > 0.6): (4 * 1 + 4 * 1/3) / 8 = 2/3.
    np.testing.assert_allclose(scores.numpy(), [1.0, 2 / 3])


def test_a_prediction_below_the_threshold_uses_no_truth() -> None:
    truths = [[0.0, 0.0, 10.0, 1.0]]
    check([[[0.0, 0.0, 5.0, 1.0], [0.0, 0.0, 10.0, 1.0]]], [truths])  # IoU 0.5, then 1


def test_duplicates_count_as_misses() -> None:
    box = [3.0, 3.0, 4.0, 4.0]
    scores = check([[box, box, box], [box], [box]], [[box], [box, box], [box]])  # one-pixel boxes
    np.testing.assert_allclose(scores.numpy(), [1 / 3, 1 / 2, 1])


def test_boxes_without_area_hit_nothing() -> None:
    flat, box = [5.0, 5.0, 5.0, 9.0], [0.0, 0.0, 9.0, 9.0]
    scores = check([[flat], [flat], [box]], [[flat], [box], [flat]])
    assert scores.tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(("predictions", "truths"), [(0, 0), (0, 2), (2, 0)])
def test_empty_sides(predictions: int, truths: int) -> None:
    some = [[0.0, 0.0, 4.0, 4.0], [8.0, 8.0, 12.0, 12.0]]
    scores = check([some[:predictions]] * 3, [some[:truths]] * 3)
    assert torch.isnan(scores).all() if predictions == truths else scores.tolist() == [0.0] * 3


def test_mixed_empty_images_and_no_images() -> None:
    box = [[0.0, 0.0, 4.0, 4.0]]
    check([[], box, [], box], [[], [], box, box])  # left out, 0, 0, 1: mean 1/3
    assert math.isnan(challenge_map(detections=[], truths=[]))


def test_padding_neither_hits_nor_uses_a_truth() -> None:
    truth = torch.tensor([[[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 10.0]]])
    boxes = truth[:, :1].repeat(1, 3, 1)
    found = hits(
        boxes=boxes,
        mask=torch.tensor([[False, True, True]]),
        truths=truth,
        truth_mask=torch.tensor([[False, True]]),
    )
    assert found.all(dim=-1).tolist() == [[False, True, False]]
    assert found.any(dim=-1).tolist() == [[False, True, False]]


cell = st.integers(0, 5)
grid_box = st.tuples(cell, cell, cell, cell).map(
    lambda b: [float(b[0]), float(b[1]), float(b[0] + b[2]), float(b[1] + b[3])]
)


@given(predictions=st.lists(grid_box, max_size=5), truths=st.lists(grid_box, max_size=4))
@examples(500)
def test_any_boxes_on_a_grid(predictions: Boxes, truths: Boxes) -> None:
    check([predictions], [truths])


def scored(rng: np.random.Generator, count: int) -> list[tuple[Boxes, list[float], Boxes]]:
    """Random images with confidences in falling order, on a grid of 1/16 so that ties and cuts at a score occur."""
    images = []
    for kind in range(count):
        predictions, truths = drawn(rng, kind)
        confidences = sorted((rng.integers(1, 17, size=len(predictions)) / 16).tolist(), reverse=True)
        images.append((predictions, confidences, truths))
    return images


def update(metric: ChallengeMAP, images: Sequence[tuple[Boxes, list[float], Boxes]]) -> None:
    metric.update(
        [detected(predictions, torch.float32, confidences) for predictions, confidences, _ in images],
        [torch.tensor(truths).reshape(-1, 4) for _, _, truths in images],
    )


def check_cuts(metric: ChallengeMAP, images: list[tuple[Boxes, list[float], Boxes]], cuts: Sequence[float]) -> None:
    found = metric.compute()
    assert found.shape == (len(cuts),)
    assert found.dtype == torch.float64
    predictions, confidences, truths = ([image[part] for image in images] for part in range(3))
    for value, cut in zip(found.tolist(), cuts, strict=True):
        wanted = oracle.challenge_map_at(predictions=predictions, confidences=confidences, truths=truths, cut=cut)
        assert value == pytest.approx(math.nan if wanted is None else float(wanted), abs=1e-9, nan_ok=True), cut


def test_the_metric_at_many_cuts_in_several_updates() -> None:
    cuts = [0.5, 0.0, 0.0625, 0.25, 0.15, 0.9375, 1.0, 2.0]  # unsorted, at scores, between scores, beyond all
    images = scored(np.random.default_rng(42), 240)
    metric = ChallengeMAP(cuts=cuts)
    for first in range(0, 240, 48):
        update(metric, images[first : first + 48])
    check_cuts(metric, images, cuts)
    metric.reset()
    update(metric, images[:7])
    check_cuts(metric, images[:7], cuts)


@pytest.mark.parametrize("image", range(40))
def test_the_metric_of_single_images(image: int) -> None:
    cuts = [0.0, 0.25, 0.5, 0.75]
    images = scored(np.random.default_rng(100 + image), 1)
    metric = ChallengeMAP(cuts=cuts)
    update(metric, images)
    check_cuts(metric, images, cuts)


def test_the_metric_of_images_that_do_not_count() -> None:
    # Without truth, the image counts (0) up to the cut that removes its last prediction, and is left out from there.
    box = [[0.0, 0.0, 4.0, 4.0]]
    metric = ChallengeMAP(cuts=[0.25, 0.5, 0.75])
    update(metric, [(box, [0.5], []), ([], [], [])])
    assert metric.compute()[0].item() == 0.0
    assert torch.isnan(metric.compute()[1:]).all()
    check_cuts(metric, [(box, [0.5], []), ([], [], [])], [0.25, 0.5, 0.75])


def test_the_metric_of_huge_scores() -> None:
    box = [[0.0, 0.0, 4.0, 4.0]]
    images = [(box * 2, [3e38, 1e30], box), (box, [1e-30], box)]
    metric = ChallengeMAP(cuts=[0.0, 1e-20, 1e20])
    update(metric, images)
    check_cuts(metric, images, [0.0, 1e-20, 1e20])


def test_the_metric_equals_the_function_on_cut_detections() -> None:
    images = scored(np.random.default_rng(43), 60)
    metric = ChallengeMAP(cuts=[0.3])
    update(metric, images)
    kept = [([b for b, s in zip(p, c, strict=True) if s > 0.3], [s for s in c if s > 0.3], t) for p, c, t in images]
    value = challenge_map(
        detections=[detected(predictions, torch.float32, confidences) for predictions, confidences, _ in kept],
        truths=[torch.tensor(truths).reshape(-1, 4) for _, _, truths in kept],
    )
    assert metric.compute().item() == pytest.approx(value, abs=1e-9)


@pytest.mark.parametrize("cuts", [[], [-0.1], [0.1, -0.1]])
def test_impossible_cuts_are_named(cuts: list[float]) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # the message is compared whole
        ChallengeMAP(cuts=cuts)
    assert str(caught.value) == f"expected one or more cuts of 0 or more, got {cuts}"


def test_states_are_sums_over_devices_of_exact_counts() -> None:
    metric = ChallengeMAP(cuts=[0.0, 0.5])
    assert metric.score_sums.dtype == torch.float64
    assert metric.image_counts.dtype == torch.long
    summed = {name: reduce(torch.tensor([[1.0], [2.0]])) for name, reduce in metric._reductions.items()}
    assert {name: value.tolist() for name, value in summed.items()} == {"score_sums": [3.0], "image_counts": [3.0]}
