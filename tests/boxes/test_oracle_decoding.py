"""Decoding against the slow oracle.

Logits lie on a grid of 1/8, so that scores are either equal or far apart in single precision. Boxes whose width or
height left inside the radiograph is between 0 and a hundredth of a pixel could round to nothing: cases with such a box
are not drawn (``drawn_case`` says so), and the boxes without any area have tests of their own.
"""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rsna_det.boxes.decoding import candidates, detections
from rsna_det.structures import Candidates, DenseDeltas, HeadOutputs
from tests.oracles import decoding as oracle
from tests.oracles.cases import integer_boxes, near_boxes, real_boxes
from tests.properties import examples

IMAGE_SIZE = 64
STANDARD = {"nms_iou": 0.05, "relative_cut": 0.5, "cut": 0.15}  # the published code's numbers


@dataclass
class Heads:
    """Head outputs of a batch as arrays."""

    logits: np.ndarray
    deltas: np.ndarray
    anchors: np.ndarray
    source_sizes: list[tuple[int, int]]

    def found(self, **settings: float) -> Candidates:
        outputs = HeadOutputs(
            box_logits=torch.from_numpy(self.logits.astype(np.float32))[:, :, None],
            box_deltas=DenseDeltas(values=torch.from_numpy(self.deltas.astype(np.float32))),
            global_logits=None,
            feature_sizes=((1, len(self.anchors) // 9),),
        )
        return candidates(
            outputs=outputs,
            anchors=torch.from_numpy(self.anchors.astype(np.float32)),
            image_size=IMAGE_SIZE,
            source_sizes=torch.tensor(self.source_sizes, dtype=torch.int64).reshape(-1, 2),
            **({"score_floor": 0.025, "max_candidates": 300} | settings),  # type: ignore[arg-type]
        )

    def wanted(self, image: int, *, score_floor: float = 0.025, max_candidates: int = 300) -> oracle.ImageCandidates:
        return oracle.candidates(
            logits=self.logits[image].tolist(),
            deltas=self.deltas[image].tolist(),
            anchors=self.anchors.tolist(),
            image_size=IMAGE_SIZE,
            source_size=self.source_sizes[image],
            score_floor=score_floor,
            max_candidates=max_candidates,
        )

    def check(self, **settings: float) -> int:
        """Compare every image; returns the number of candidates."""
        found = self.found(**settings)
        batch, width = found.scores.shape
        assert found.boxes.shape == (batch, width, 4)
        assert batch == len(self.source_sizes)
        for image in range(batch):
            wanted = self.wanted(image, **settings)  # type: ignore[arg-type]
            mask = found.mask[image]
            assert int(found.counts_before_cap[image]) == wanted.count
            assert int(mask.sum()) == len(wanted.boxes)
            np.testing.assert_allclose(found.scores[image][mask].numpy(), wanted.scores, rtol=1e-6)
            boxes = np.array(wanted.boxes).reshape(-1, 4)
            np.testing.assert_allclose(found.boxes[image][mask].numpy(), boxes, rtol=1e-5, atol=5e-3)
            assert not found.boxes[image][~mask].any()
            assert not found.scores[image][~mask].any()
        return int(found.mask.sum())


def drawn_case(*, seed: int, cells: int, sizes: list[tuple[int, int]], spread: float = 1.5) -> Heads:
    """A random case without a box of which a sliver is left inside the radiograph; redrawn until there is none."""
    rng = np.random.default_rng(seed)
    for _ in range(200):
        anchors = integer_boxes(rng=rng, count=9 * cells, side=IMAGE_SIZE, smallest=4)
        logits = rng.integers(-48, 24, size=(len(sizes), len(anchors))) / 8
        deltas = rng.normal(0, spread, size=(len(sizes), len(anchors), 4)).astype(np.float32)
        case = Heads(logits=logits, deltas=deltas, anchors=anchors, source_sizes=sizes)
        left = [
            edges
            for image in range(len(sizes))
            for box in case.wanted(image, max_candidates=10**6).boxes
            for edges in (box[2] - box[0], box[3] - box[1])
        ]
        if not left or min(left) > 0.01:
            return case
    pytest.fail(f"no case without a sliver of a box in 200 draws from seed {seed}")


@pytest.mark.parametrize("seed", range(12))
def test_random_head_outputs(seed: int) -> None:
    sizes = [[(64, 64), (1024, 1024), (100, 200)], [(200, 100)], [(30, 41), (3000, 2000)]][seed % 3]
    assert drawn_case(seed=seed, cells=12, sizes=sizes).check() > 0


def test_more_candidates_than_the_cap() -> None:
    case = drawn_case(seed=20, cells=60, sizes=[(128, 96), (64, 64)])
    case.logits = case.logits + 3  # scores from 0.047 to 0.997: all above the floor
    assert case.check() <= 600
    assert case.found().counts_before_cap.tolist() == [540, 540]
    for cap in (1, 2, 17, 539, 540, 541, 1000):
        case.check(max_candidates=cap)


def test_of_equal_scores_the_lower_anchors_are_kept() -> None:
    case = drawn_case(seed=21, cells=50, sizes=[(64, 64), (64, 64)], spread=0.2)
    for logits in (0.0, np.arange(450) % 2, -(np.arange(450) % 7) / 8, np.arange(450) // 200):
        case.logits = np.zeros_like(case.logits) + logits
        case.check()
        case.check(max_candidates=5)
        case.check(max_candidates=449)


def test_scores_beyond_single_precision_are_equal() -> None:
    # Sigmoids of 20, 30 and 80 are all 1 in single precision, so the order is that of the anchors.
    case = drawn_case(seed=22, cells=6, sizes=[(64, 64)], spread=0.2)
    case.logits = np.array([[20.0, 30.0, 80.0] * 18])
    case.check(max_candidates=10)
    case.logits = np.array([[-20.0, -100.0, 1e4] * 18])
    assert case.check() == 18


@pytest.mark.parametrize(("logit", "count"), [(0.0, 0), (0.125, 54), (-0.125, 0)])
def test_a_score_at_the_floor_is_not_above_it(logit: float, count: int) -> None:
    case = drawn_case(seed=23, cells=6, sizes=[(64, 64)], spread=0.2)  # sigmoid(0) = 0.5 exactly
    case.logits = np.full((1, 54), logit)
    assert case.check(score_floor=0.5) == count
    assert case.found(score_floor=0.5).counts_before_cap.tolist() == [count]


def test_nothing_above_the_floor() -> None:
    case = drawn_case(seed=24, cells=4, sizes=[(64, 64), (50, 40)])
    case.logits[:] = -8
    assert case.check() == 0
    case.logits[1, 7] = 2  # one image with, one without
    assert case.check() == 1


def test_no_image() -> None:
    anchors = np.tile([0.0, 0.0, 8.0, 8.0], (9, 1))
    case = Heads(logits=np.zeros((0, 9)), deltas=np.zeros((0, 9, 4)), anchors=anchors, source_sizes=[])
    assert case.check() == 0


def still(boxes: list[list[float]], sizes: tuple[int, int]) -> Heads:
    """Anchors as given, zero deltas, scores falling by anchor (0.95, 0.94, ...); the rest below the floor."""
    anchors = np.tile([0.0, 0.0, 8.0, 8.0], (9, 1))
    anchors[: len(boxes)] = boxes
    logits = np.full((1, 9), -9.0)
    logits[0, : len(boxes)] = 3 - np.arange(len(boxes)) / 8
    return Heads(logits=logits, deltas=np.zeros((1, 9, 4)), anchors=anchors, source_sizes=[sizes])


def test_source_pixels_by_hand() -> None:
    # A radiograph 96 high, 128 wide fills 64 px by its width: factor 2 on both axes; 40..60 px in y is 80..120 -> 96.
    found = still([[10, 20, 30, 40], [50, 40, 70, 60], [-5, -5, 3, 3]], (96, 128)).found()
    wanted = [[20, 40, 60, 80], [100, 80, 128, 96], [0, 0, 6, 6]]
    np.testing.assert_allclose(found.boxes[0][found.mask[0]].numpy(), wanted, atol=1e-4)


def test_boxes_without_area_are_kept_out_but_counted() -> None:
    # In a 96 x 128 radiograph the content ends at y = 48 in network pixels: the padding's boxes vanish.
    padding, left, beyond, inside = [10, 50, 30, 60], [-20, 0, 0, 10], [64, 0, 80, 10], [1, 2, 3, 4]
    touching = [10, 48, 30, 60]
    case = still([padding, left, inside, beyond, touching, inside], (96, 128))
    assert case.check() == 2
    assert case.found().counts_before_cap.tolist() == [6]
    # The cap comes before decoding, so boxes without area use it up.
    assert case.check(max_candidates=2) == 0
    assert case.check(max_candidates=3) == 1


def test_a_box_shrunk_to_nothing_is_kept_out() -> None:
    case = still([[8, 8, 16, 16], [8, 8, 24, 24]], (64, 64))
    case.deltas[0, 0] = (0, 0, -1e4, -1e4)  # exp(-2000) is 0 in any precision
    assert case.check() == 1


def test_enormous_deltas_stay_finite() -> None:
    case = still([[8, 8, 16, 16], [8, 8, 24, 24], [0, 0, 4, 4]], (64, 64))
    case.deltas[0, 0], case.deltas[0, 1], case.deltas[0, 2] = (0, 0, 1e4, 1e4), (1e6, 0, 0, 0), (-1e6, 1e6, 900, 900)
    found = case.found()
    assert torch.isfinite(found.boxes).all()
    assert case.check() == 1


def final(boxes: np.ndarray, scores: np.ndarray, **settings: float) -> tuple[Tensor, Tensor]:
    found = detections(
        boxes=torch.from_numpy(boxes.astype(np.float32)).reshape(-1, 4),
        scores=torch.from_numpy(scores.astype(np.float32)),
        **(STANDARD | settings),
    )
    return found.boxes, found.scores


def check_final(boxes: np.ndarray, scores: np.ndarray, **given: float) -> int:
    rows = oracle.detections(boxes=boxes.tolist(), scores=scores.tolist(), **(STANDARD | given))
    found_boxes, found_scores = final(boxes, scores, **given)
    np.testing.assert_array_equal(found_scores.numpy(), scores[rows])
    np.testing.assert_array_equal(found_boxes.numpy(), boxes[rows].reshape(-1, 4))
    return len(rows)


def test_random_final_boxes_on_grids() -> None:
    # NMS limits that binary numbers hold exactly, so that IoU equal to the limit is frequent and decidable.
    rng = np.random.default_rng(30)
    kept = 0
    for round_ in range(1500):
        count = int(rng.integers(0, 12))
        boxes = integer_boxes(rng=rng, count=count, side=(4, 8, 30, 100)[round_ % 4])
        scores = (rng.integers(1, 33, size=count) / 32).astype(np.float32)
        nms_iou, relative_cut = (0.0625, 0.25, 0.5)[round_ % 3], (0.5, 0.25, 0.0, 1.0)[round_ % 4]
        kept += check_final(
            boxes, scores, nms_iou=nms_iou, relative_cut=relative_cut, cut=(0.125, 0.25, 0.0)[round_ % 3]
        )
    assert kept > 2000


def test_random_final_boxes_with_real_corners() -> None:
    rng = np.random.default_rng(31)
    for _ in range(300):
        boxes = real_boxes(rng=rng, count=6, side=1024)
        boxes = np.concatenate([boxes, near_boxes(rng=rng, boxes=boxes, shift=0.3)])
        check_final(boxes, rng.uniform(0.02, 1, size=12).astype(np.float32))


def test_a_large_image_of_candidates() -> None:
    rng = np.random.default_rng(32)
    boxes = integer_boxes(rng=rng, count=300, side=1024, smallest=20)
    check_final(boxes, (rng.permutation(300) / 300 + 0.1).astype(np.float32), relative_cut=0.0)


@pytest.mark.parametrize(
    ("overlap", "union", "nms_iou"), [(1, 2, 0.5), (1, 4, 0.25), (1, 20, 0.05), (1, 10, 0.1), (3, 10, 0.3), (2, 5, 0.4)]
)
@pytest.mark.parametrize("factor", [1, 7, 50])
def test_iou_exactly_at_the_nms_limit_is_not_greater(overlap: int, union: int, nms_iou: float, factor: int) -> None:
    # A box of width `overlap` inside one of width `union`: IoU = overlap / union, which is the limit itself.
    boxes = np.array([[0, 0, union, 1], [0, 0, overlap, 1]], dtype=np.float32) * factor
    assert check_final(boxes, np.array([1.0, 0.75], dtype=np.float32), nms_iou=nms_iou) == 2


def test_equal_scores_keep_the_first_row() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [0, 0, 10, 10], [100, 0, 110, 10]], dtype=np.float32)
    assert check_final(boxes, np.full(4, 0.5, dtype=np.float32)) == 2
    assert final(boxes, np.full(4, 0.5))[0].tolist() == boxes[[0, 3]].tolist()


def test_a_suppressed_box_suppresses_nothing() -> None:
    # IoU of neighbours 5 / 15 = 1/3, of the outer two 0: the middle goes, the third stays.
    boxes = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [10, 0, 20, 10]], dtype=np.float32)
    assert check_final(boxes, np.array([0.75, 0.625, 0.5], dtype=np.float32)) == 2


def test_cuts_at_their_limits() -> None:
    apart = np.array([[20 * k, 0, 20 * k + 10, 10] for k in range(4)], dtype=np.float32)
    scores = np.array([1.0, 0.5, 0.49999997, 0.25], dtype=np.float32)
    assert check_final(apart, scores) == 2  # half of the best stays, just less goes
    assert check_final(apart, scores, relative_cut=0.25, cut=0.25) == 3  # a score equal to the cut goes
    assert check_final(apart, scores, relative_cut=0.25, cut=0.0) == 4
    assert check_final(apart, scores, cut=1.0) == 0  # the best score equal to the cut
    assert check_final(apart[:1], scores[:1]) == 1


def test_the_relative_cut_counts_from_the_best_box_even_below_the_cut() -> None:
    apart = np.array([[0, 0, 10, 10], [20, 0, 30, 10]], dtype=np.float32)
    assert check_final(apart, np.array([0.140625, 0.125], dtype=np.float32)) == 0
    assert check_final(apart, np.array([0.25, 0.5625], dtype=np.float32)) == 1  # rows need not come sorted


@pytest.mark.parametrize("cut", [0.0, 0.15])
def test_no_boxes(cut: float) -> None:
    boxes, scores = final(np.zeros((0, 4)), np.zeros(0), cut=cut)
    assert boxes.shape == (0, 4)
    assert scores.shape == (0,)


def test_duplicates_and_one_pixel_boxes() -> None:
    boxes = np.array([[5, 5, 6, 6]] * 4 + [[6, 5, 7, 6]], dtype=np.float32)
    assert check_final(boxes, np.array([0.5, 0.75, 0.75, 0.5, 0.5], dtype=np.float32)) == 2


grid_boxes = st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(1, 5), st.integers(1, 5), st.integers(1, 8))


@given(rows=st.lists(grid_boxes, max_size=8), nms_iou=st.sampled_from([0.0, 0.125, 0.25, 0.5]))
@examples(400)
def test_any_boxes_on_a_grid(rows: list[tuple[int, int, int, int, int]], nms_iou: float) -> None:
    boxes = np.array([[x, y, x + w, y + h] for x, y, w, h, _ in rows], dtype=np.float32).reshape(-1, 4)
    scores = np.array([row[4] / 8 for row in rows], dtype=np.float32)
    check_final(boxes, scores, nms_iou=nms_iou)
