"""Every cell of the grid against the slow oracle, which decodes and scores each image anew for each cell.

Corners are integers, scores lie on a grid of 1/16 and the factors are exact in binary numbers, so that ties, boxes at a
limit and cuts at a score are frequent and exact. With real corners nothing lies within rounding of a limit.
"""

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rsna_det.evaluation.candidate_rows import CandidateRows
from rsna_det.evaluation.grid import Grid, image_scores_at_cuts, score_grid
from rsna_det.evaluation.metric import challenge_map
from rsna_det.evaluation.operating_point import OperatingPoint, image_detections
from tests.oracles import grid as oracle
from tests.oracles.cases import integer_boxes, near_boxes, real_boxes
from tests.properties import examples

Boxes = list[list[float]]
ImageRows = tuple[Boxes, list[float]]
CUTS = (0.5, 0.0, 0.0625, 0.3, 0.9375, 1.0, 2.0, 0.25)  # unsorted, at scores, between scores, beyond all


def rows(images: Sequence[ImageRows]) -> CandidateRows:
    boxes = [box for image_boxes, _ in images for box in image_boxes]
    scores = [score for _, image_scores in images for score in image_scores]
    return CandidateRows(
        boxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        scores=torch.tensor(scores, dtype=torch.float32),
        offsets=torch.tensor([0, *np.cumsum([len(image_scores) for _, image_scores in images])], dtype=torch.int64),
    )


def tensors(truths: Sequence[Boxes]) -> list[torch.Tensor]:
    return [torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4) for boxes in truths]


def check(
    epochs: Mapping[int, Sequence[ImageRows]],
    truths: Sequence[Boxes],
    *,
    groups: Sequence[Sequence[bool]] | None = None,
    cuts: Sequence[float] = CUTS,
    nms_ious: Sequence[float] = (0.0625,),
    relative_cut: float = 0.5,
    rescale_factor: float = 1.0,
) -> Grid:
    """Compare sums, counts and scores of every cell, and each image's scores."""
    groups = [[True] * len(truths)] if groups is None else groups
    found = score_grid(
        epochs=((epoch, rows(images)) for epoch, images in epochs.items()),
        truths=tensors(truths),
        groups=torch.tensor(groups, dtype=torch.bool).reshape(len(groups), len(truths)),
        cuts=cuts,
        nms_ious=nms_ious,
        relative_cut=relative_cut,
        rescale_factor=rescale_factor,
    )
    assert (found.epochs, found.nms_ious, found.cuts) == (tuple(epochs), tuple(nms_ious), tuple(cuts))
    shape = (len(groups), len(epochs), len(nms_ious), len(cuts))
    assert found.sums.shape == found.counts.shape == found.scores.shape == shape
    for e, images in enumerate(epochs.values()):
        for n, nms_iou in enumerate(nms_ious):
            decoding = {"nms_iou": nms_iou, "relative_cut": relative_cut, "rescale_factor": rescale_factor}
            each = image_scores_at_cuts(rows=rows(images), truths=tensors(truths), cuts=cuts, **decoding)
            assert each.shape == (len(truths), len(cuts))
            for c, cut in enumerate(cuts):
                wanted = oracle.image_scores(images=images, truths=truths, cut=cut, **decoding)
                as_float = [math.nan if score is None else float(score) for score in wanted]
                where = f"epoch {e}, NMS IoU {nms_iou}, cut {cut}"
                np.testing.assert_allclose(each[:, c].numpy(), as_float, rtol=0, atol=1e-9, err_msg=where)
                for g, group in enumerate(groups):
                    total, count = oracle.cell(wanted, group)
                    assert int(found.counts[g, e, n, c]) == count, where
                    assert float(found.sums[g, e, n, c]) == pytest.approx(float(total), abs=1e-9), where
                    mean = float(total / count) if count else math.nan
                    assert float(found.scores[g, e, n, c]) == pytest.approx(mean, abs=1e-9, nan_ok=True), where
    return found


def drawn_truths(rng: np.random.Generator, count: int) -> list[Boxes]:
    """No to three boxes an image, on small and large grids."""
    sides = [(3, 8, 40, 1024)[image % 4] for image in range(count)]
    return [integer_boxes(rng=rng, count=int(rng.integers(0, 4)), side=side).tolist() for side in sides]


def drawn_images(rng: np.random.Generator, truths: Sequence[Boxes], *, real: bool = False) -> list[ImageRows]:
    """Candidates near and far from the truths, duplicates, equal scores, and images without any."""
    images = []
    for image, boxes in enumerate(truths):
        some = np.float32(boxes).reshape(-1, 4)
        side = (3, 8, 40, 1024)[image % 4]
        picks = some[rng.integers(0, len(some), size=int(rng.integers(0, 4)))] if len(some) else some
        near = near_boxes(rng=rng, boxes=picks, shift=0.25)
        count = int(rng.integers(0, 3))
        far = real_boxes(rng=rng, count=count, side=side) if real else integer_boxes(rng=rng, count=count, side=side)
        together = np.concatenate([near if real else np.round(near), far, picks[:1], far[:1]])
        together = rng.permutation(together)[: int(rng.integers(0, 7))]
        grid = rng.uniform(0.01, 1, size=len(together)) if real else rng.integers(1, 17, size=len(together)) / 16
        images.append((together.tolist(), sorted(np.float32(grid).tolist(), reverse=True)))
    return images


@pytest.mark.parametrize("rescale_factor", [1.0, 0.875, 0.5, 1.25])
@pytest.mark.parametrize("relative_cut", [0.0, 0.5, 1.0])
def test_every_cell_of_random_tables(relative_cut: float, rescale_factor: float) -> None:
    rng = np.random.default_rng(round(1000 * relative_cut + 8 * rescale_factor))
    truths = drawn_truths(rng, 16)
    groups = rng.integers(0, 2, size=(3, 16)).astype(bool).tolist()
    found = check(
        {7: drawn_images(rng, truths), 2: drawn_images(rng, truths)},
        truths,
        groups=[*groups, [True] * 16, [False] * 16],
        nms_ious=(0.25, 0.0),
        relative_cut=relative_cut,
        rescale_factor=rescale_factor,
    )
    assert torch.isnan(found.scores[4]).all()
    assert rescale_factor == 0.5 or (found.scores[3] > 0).any()  # half as wide, hardly any box hits


def test_real_corners_and_the_papers_numbers() -> None:
    rng = np.random.default_rng(50)
    truths = drawn_truths(rng, 40)
    images = drawn_images(rng, truths, real=True)
    check({0: images}, truths, cuts=(0.15, 0.025, 0.4), nms_ious=(0.05, 0.45), rescale_factor=0.875)


cell = st.integers(0, 5)
grid_box = st.tuples(cell, cell, cell, cell).map(
    lambda b: [float(b[0]), float(b[1]), float(b[0] + b[2]), float(b[1] + b[3])]
)
some_scores = st.lists(st.integers(1, 8).map(lambda k: k / 8), max_size=5)


@given(
    images=st.lists(
        st.tuples(some_scores, st.lists(grid_box, min_size=5, max_size=5), st.lists(grid_box, max_size=3)), max_size=3
    ),
    nms_iou=st.sampled_from([0.0, 0.25, 0.5]),
    relative_cut=st.sampled_from([0.0, 0.5, 0.75]),
    rescale_factor=st.sampled_from([0.5, 1.0, 1.5]),
)
@examples(80)
def test_any_boxes_on_a_grid(
    images: list[tuple[list[float], Boxes, Boxes]], nms_iou: float, relative_cut: float, rescale_factor: float
) -> None:
    tables = [(boxes[: len(scores)], sorted(scores, reverse=True)) for scores, boxes, _ in images]
    check(
        {0: tables},
        [truths for _, _, truths in images],
        cuts=(0.375, 0.0, 0.5, 1.0),
        nms_ious=(nms_iou,),
        relative_cut=relative_cut,
        rescale_factor=rescale_factor,
    )


BOX = [[0.0, 0.0, 4.0, 4.0]]


def test_images_without_candidates_without_truths_and_without_either() -> None:
    truths: list[Boxes] = [BOX, [], [], BOX]
    found = check({3: [([], []), (BOX, [0.5]), ([], []), (BOX, [0.75])]}, truths, cuts=(0.75, 0.25, 0.5))
    # Missed and hit truths always count; the false alarm counts below its score only.
    assert found.counts.flatten().tolist() == [2, 3, 2]
    np.testing.assert_allclose(found.sums.flatten().numpy(), [0, 1, 1])


def test_cells_in_which_no_image_counts() -> None:
    found = check({0: [(BOX, [0.5]), ([], [])]}, [[], []], cuts=(0.5, 0.25, 0.75))
    assert found.scores.flatten().isnan().tolist() == [True, False, True]
    assert check({0: []}, []).counts.sum() == 0


def test_a_weak_duplicate_of_a_false_alarm_does_not_count_again() -> None:
    check({0: [(BOX * 3, [0.75, 0.5, 0.25])]}, [[]], cuts=(0.0, 0.25, 0.5, 0.75), nms_ious=(0.0, 1.0))


def test_overlap_exactly_at_a_limit() -> None:
    # Widths k and 20: IoU k / 20. Neither suppressed at the NMS limit itself nor a hit at the threshold itself.
    truths = [[[0.0, 0.0, 20.0, 1.0]]] * 16
    single = [([[0.0, 0.0, float(k), 1.0]], [0.5]) for k in range(1, 17)]
    pairs = [([[0.0, 0.0, 20.0, 1.0], [0.0, 0.0, float(k), 1.0]], [0.5, 0.5]) for k in range(1, 17)]
    limits = (0.05, 0.1, 0.25, 0.3, 0.35, 0.4, 0.45, 0.55, 0.6, 0.7, 0.8)
    for images in (single, pairs):
        found = check({0: images}, truths, cuts=(0.0,), nms_ious=limits)
        assert found.counts.unique().tolist() == [16]


def test_the_sizes_are_corrected_after_nms() -> None:
    # Side by side with IoU 2 / 18 they exclude each other; half as wide they would not overlap.
    pair = ([[0.0, 0.0, 10.0, 10.0], [8.0, 0.0, 18.0, 10.0]], [0.75, 0.625])
    truth = [[[2.5, 2.5, 7.5, 7.5], [10.5, 2.5, 15.5, 7.5]]]
    found = check({0: [pair]}, truth, cuts=(0.0,), nms_ious=(0.0625, 0.125), rescale_factor=0.5)
    np.testing.assert_allclose(found.scores.flatten().numpy(), [0.5, 1.0])


def test_many_candidates_of_one_image() -> None:
    # 400 boxes apart from each other: none is left out, whatever a table's cap was.
    boxes = [[20.0 * (k % 20), 20.0 * (k // 20), 20.0 * (k % 20) + 9, 20.0 * (k // 20) + 9] for k in range(400)]
    scores = [1 - k / 1024 for k in range(400)]
    found = check({0: [(boxes, scores)]}, [boxes[395:]], cuts=(0.0, 0.625), relative_cut=0.0)
    np.testing.assert_allclose(found.scores.flatten().numpy(), [5 / 400, 0.0])


@pytest.mark.parametrize("cut", [0.15, 0.1, 0.2, 0.7])
def test_a_cell_is_the_score_of_the_detections_that_prediction_makes(cut: float) -> None:
    # Also where single precision holds a score as the very number that the cut is written as.
    near = [float(np.nextafter(np.float32(cut), np.float32(k))) for k in (2, 0)]
    images = [(BOX, [score]) for score in (near[0], float(np.float32(cut)), near[1])] * 2
    truths = [BOX] * 3 + [[]] * 3
    point = OperatingPoint(
        image_size=64, score_floor=0.0, max_candidates=300, nms_iou=0.05, relative_cut=0.5, cut=cut, size_rule="none"
    )
    for image, boxes in zip(images, tensors(truths), strict=True):
        table = rows([image])
        wanted = challenge_map(detections=image_detections(table, point), truths=[boxes])
        found = image_scores_at_cuts(
            rows=table, truths=[boxes], cuts=[cut], nms_iou=0.05, relative_cut=0.5, rescale_factor=1.0
        )
        assert float(found) == pytest.approx(wanted, nan_ok=True), f"score {image[1][0]!r}, truths {len(boxes)}"


@pytest.mark.parametrize("truths", [BOX, []])
@pytest.mark.parametrize("cut", [0.15, 0.1, 0.2, 0.7])
def test_a_cell_does_not_depend_on_the_other_cuts(cut: float, truths: Boxes) -> None:
    table = rows([(BOX, [float(np.float32(cut))])])
    given = {"nms_iou": 0.05, "relative_cut": 0.5, "rescale_factor": 1.0}
    alone, beside = (
        image_scores_at_cuts(rows=table, truths=tensors([truths]), cuts=cuts, **given)
        for cuts in ([cut], [cut, cut / 2, 0.9])
    )
    assert float(alone[0, 0]) == pytest.approx(float(beside[0, 0]), nan_ok=True)


@pytest.mark.parametrize("relative_cut", [0.1, 0.3, 0.6, 0.7])
def test_the_relative_cut_is_the_decimal_number_that_was_written(relative_cut: float) -> None:
    boxes = [[20.0 * k, 0.0, 20.0 * k + 10, 10.0] for k in range(10)]
    scores = [k / 16 for k in range(10, 0, -1)]  # tenths of the best, exactly
    check({0: [(boxes, scores)]}, [boxes[:1]], cuts=(0.0,), relative_cut=relative_cut)


def given_epochs(*lengths: int) -> Iterator[tuple[int, CandidateRows]]:
    return ((number, rows([(BOX, [0.5])] * length)) for number, length in enumerate(lengths))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"cuts": []}, r"NMS IoUs to score at, got \[\] and \[0.05\]"),
        ({"nms_ious": []}, r"NMS IoUs to score at, got \[0.1\] and \[\]"),
        ({"epochs": []}, "one epoch or more, got none"),
        ({"epochs": given_epochs(3)}, "each of 2 images, got those of 3"),
        ({"epochs": given_epochs(2, 1)}, "each of 2 images, got those of 1"),
        ({"epochs": given_epochs(0)}, "each of 2 images, got those of 0"),
        ({"truths": tensors([BOX] * 3)}, "each of 3 images, got those of 2"),
    ],
)
def test_the_grid_refuses(wrong: dict[str, object], message: str) -> None:
    right = {"epochs": given_epochs(2, 2), "truths": tensors([BOX] * 2), "cuts": [0.1], "nms_ious": [0.05]}
    fixed = {"groups": torch.ones(1, 2, dtype=torch.bool), "relative_cut": 0.5, "rescale_factor": 1.0}
    with pytest.raises(ValueError, match=message):
        score_grid(**(right | fixed | wrong))  # type: ignore[arg-type]


def test_groups_of_another_number_of_images_are_refused() -> None:
    with pytest.raises((ValueError, TypeError, RuntimeError)):
        score_grid(
            epochs=given_epochs(2),
            truths=tensors([BOX] * 2),
            groups=torch.ones(1, 1, dtype=torch.bool),
            cuts=[0.1],
            nms_ious=[0.05],
            relative_cut=0.5,
            rescale_factor=1.0,
        )


@pytest.mark.parametrize("count", [0, 1, 3])
def test_image_scores_refuse_another_number_of_truths(count: int) -> None:
    with pytest.raises(ValueError, match=r"\d"):
        image_scores_at_cuts(
            rows=rows([(BOX, [0.5])] * 2),
            truths=tensors([BOX] * count),
            cuts=[0.1],
            nms_iou=0.05,
            relative_cut=0.5,
            rescale_factor=1.0,
        )
