"""The losses and their gradients against the slow oracle."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from rsna_det.errors import InvalidValueError
from rsna_det.structures import AnchorTargets, DenseDeltas, HeadOutputs, Losses
from rsna_det.training.losses import MultiTaskLoss, image_losses
from tests.oracles import losses as oracle
from tests.oracles.cases import integer_boxes

CELLS = 4
ANCHORS = 9 * CELLS


class Case:
    """A random batch: anchors and boxes on whole pixels, labels drawn rather than matched."""

    def __init__(
        self, *, seed: int, batch: int = 3, boxes: int = 3, spread: float = 3.0, with_global: bool = True
    ) -> None:
        rng = np.random.default_rng(seed)
        self.anchors = integer_boxes(rng=rng, count=ANCHORS, side=64, smallest=4)
        self.boxes = integer_boxes(rng=rng, count=batch * boxes, side=64, smallest=0).reshape(batch, boxes, 4)
        kinds = [-1, 0, 1] if boxes else [-1, 0]
        self.labels = rng.choice(kinds, size=(batch, ANCHORS)).astype(np.int8)
        self.labels[0][self.labels[0] == 1] = 0  # the first image has no positive anchor
        self.box_index = rng.integers(0, max(1, boxes), size=(batch, ANCHORS))
        self.logits = rng.normal(0, spread, size=(batch, ANCHORS, 1)).astype(np.float32)
        self.deltas = rng.normal(0, 2, size=(batch, ANCHORS, 4)).astype(np.float32)
        self.global_logits = rng.normal(0, spread, size=(batch, 3)).astype(np.float32) if with_global else None
        self.categories = rng.integers(0, 3, size=batch)

    def found(self, *, logits: Tensor | None = None, deltas: Tensor | None = None) -> Losses:
        outputs = HeadOutputs(
            box_logits=torch.from_numpy(self.logits) if logits is None else logits,
            box_deltas=DenseDeltas(values=torch.from_numpy(self.deltas) if deltas is None else deltas),
            global_logits=None if self.global_logits is None else torch.from_numpy(self.global_logits),
            feature_sizes=((1, CELLS),),
        )
        targets = AnchorTargets(labels=torch.from_numpy(self.labels), box_index=torch.from_numpy(self.box_index))
        return image_losses(
            outputs=outputs,
            targets=targets,
            anchors=torch.from_numpy(self.anchors),
            boxes=torch.from_numpy(self.boxes),
            categories=torch.from_numpy(self.categories),
        )

    def wanted_class(self) -> list[float]:
        pairs = zip(self.logits[:, :, 0].tolist(), self.labels.tolist(), strict=True)
        return [oracle.box_class_loss(logits=logits, labels=labels) for logits, labels in pairs]

    def wanted_regression(self) -> list[float]:
        return [
            oracle.box_regression_loss(
                deltas=self.deltas[image].tolist(),
                labels=self.labels[image].tolist(),
                box_index=self.box_index[image].tolist(),
                anchors=self.anchors.tolist(),
                boxes=self.boxes[image].tolist(),
            )
            for image in range(len(self.boxes))
        ]

    def wanted_global(self) -> list[float]:
        logits = [None] * len(self.categories) if self.global_logits is None else self.global_logits.tolist()
        pairs = zip(logits, self.categories.tolist(), strict=True)
        return [oracle.global_class_loss(logits=values, category=category) for values, category in pairs]

    def check(self) -> None:
        found = self.found()
        for name, wanted in (
            ("box_class", self.wanted_class()),
            ("box_regression", self.wanted_regression()),
            ("global_class", self.wanted_global()),
        ):
            values = getattr(found, name)
            assert values.shape == (len(self.categories),), name
            np.testing.assert_allclose(values.numpy(), wanted, rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("seed", range(60))
def test_random_batches(seed: int) -> None:
    Case(
        seed=seed, batch=1 + seed % 4, boxes=seed % 4, spread=(0.5, 3.0, 10.0)[seed % 3], with_global=seed % 5 > 0
    ).check()


def test_no_boxes_at_all() -> None:
    case = Case(seed=100, boxes=0)
    case.labels[:] = 0
    case.check()
    assert case.found().box_regression.tolist() == [0.0, 0.0, 0.0]


def test_boxes_of_which_no_anchor_is_positive() -> None:
    case = Case(seed=101)
    case.labels[case.labels == 1] = -1
    case.check()


def test_every_anchor_ignored() -> None:
    case = Case(seed=102)
    case.labels[:] = -1
    case.check()
    assert case.found().box_class.tolist() == [0.0, 0.0, 0.0]


def test_every_anchor_positive() -> None:
    case = Case(seed=103)
    case.labels[:] = 1
    case.check()


def test_index_of_an_anchor_that_is_not_positive_means_nothing() -> None:
    for boxes, garbage in ((3, -1), (3, 10_000), (0, -1), (0, 7)):
        case = Case(seed=104, boxes=boxes)
        case.box_index[case.labels != 1] = garbage
        case.check()


@pytest.mark.parametrize("size", [20.0, 50.0, 88.0, 110.0, 1e4])
def test_extreme_logits_stay_finite_and_exact(size: float) -> None:
    case = Case(seed=105)
    case.logits = (np.sign(case.logits) * size).astype(np.float32)
    assert case.global_logits is not None
    case.global_logits = (np.sign(case.global_logits) * size).astype(np.float32)
    case.check()
    logits = torch.from_numpy(case.logits).requires_grad_()
    case.found(logits=logits).box_class.sum().backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_deltas_of_other_anchors_do_not_reach_the_loss() -> None:
    case = Case(seed=106)
    case.deltas[case.labels != 1] = 1e30
    case.check()


def test_smooth_l1_on_both_sides_of_beta() -> None:
    # Anchor 16 x 16, box equal to it: targets 0, so the differences are the deltas themselves.
    # 1/18 < 1/9: 0.5 (1/18)^2 9 = 1/72. 1/9: 1/9 - 1/18 = 1/18. 1: 1 - 1/18 = 17/18.
    # Mean with the fourth, 0: (1 + 4 + 68) / 72 / 4.
    case = Case(seed=107, batch=1, boxes=1)
    case.anchors[0] = case.boxes[0, 0] = (8, 8, 24, 24)
    case.labels[:] = 0
    case.labels[0, 0], case.box_index[0, 0] = 1, 0
    case.deltas[0, 0] = (1 / 18, -1 / 9, 1, 0)
    np.testing.assert_allclose(case.found().box_regression.item(), 73 / 72 / 4, rtol=1e-6)
    case.check()


def test_focal_loss_by_hand() -> None:
    # Logit 0 everywhere, one positive: 0.25 * 0.25 * log 2 + 35 * 0.75 * 0.25 * log 2 = 6.625 log 2.
    case = Case(seed=108, batch=1)
    case.logits[:] = 0
    case.labels[:] = 0
    case.labels[0, 5] = 1
    np.testing.assert_allclose(case.found().box_class.item(), 6.625 * np.log(2), rtol=1e-6)
    case.labels[0, 6] = 1  # two positives: (2 / 16 + 34 * 3 / 16) log 2 / 2 = 3.25 log 2
    np.testing.assert_allclose(case.found().box_class.item(), 3.25 * np.log(2), rtol=1e-6)


def slope(values: np.ndarray, position: tuple[int, ...], total: Callable[[], float]) -> float:
    """Central difference of ``total`` over one entry of ``values`` (double precision, restored afterwards)."""
    kept, step = values[position], 1e-5
    values[position] = kept + step
    above = total()
    values[position] = kept - step
    below = total()
    values[position] = kept
    return (above - below) / (2 * step)


def test_gradients_are_the_oracles_slopes() -> None:
    case = Case(seed=109, batch=2)
    logits = torch.from_numpy(case.logits.copy()).requires_grad_()
    deltas = torch.from_numpy(case.deltas.copy()).requires_grad_()
    found = case.found(logits=logits, deltas=deltas)
    (found.box_class.sum() + found.box_regression.sum()).backward()
    assert logits.grad is not None
    assert deltas.grad is not None
    case.logits, case.deltas = case.logits.astype(np.float64), case.deltas.astype(np.float64)
    for image in range(2):
        for anchor in range(ANCHORS):
            by_logit = slope(case.logits, (image, anchor, 0), lambda: sum(case.wanted_class()))
            assert logits.grad[image, anchor, 0].item() == pytest.approx(by_logit, rel=1e-3, abs=1e-6)
        for anchor in range(0, ANCHORS, 3):
            by_delta = slope(case.deltas, (image, anchor, 2), lambda: sum(case.wanted_regression()))
            assert deltas.grad[image, anchor, 2].item() == pytest.approx(by_delta, rel=1e-3, abs=1e-6)


def test_total_is_the_weighted_sum_of_batch_means() -> None:
    # 2 * (1 + 3) / 2 + 0.5 * (4 + 0) / 2 + 0.1 * (10 + 20) / 2 = 4 + 1 + 1.5
    losses = Losses(
        box_class=torch.tensor([1.0, 3.0]),
        box_regression=torch.tensor([4.0, 0.0]),
        global_class=torch.tensor([10.0, 20.0]),
    )
    total = MultiTaskLoss(box_class=2.0, box_regression=0.5, global_class=0.1)(losses)
    assert total.shape == ()
    assert total.item() == pytest.approx(6.5)


def test_weight_zero_removes_a_term() -> None:
    losses = Losses(box_class=torch.tensor([1.0]), box_regression=torch.tensor([2.0]), global_class=torch.tensor([4.0]))
    assert MultiTaskLoss(box_class=1.0, box_regression=1.0, global_class=0.0)(losses).item() == pytest.approx(3.0)


@pytest.mark.parametrize("weights", [(-1.0, 1.0, 1.0), (1.0, -0.1, 0.0), (0.0, 0.0, 0.0)])
def test_weights_that_cannot_be_are_named(weights: tuple[float, float, float]) -> None:
    names = dict(zip(("box_class", "box_regression", "global_class"), weights, strict=True))
    with pytest.raises(InvalidValueError) as caught:
        MultiTaskLoss(**names)
    assert str(caught.value) == f"loss weights must be 0 or more and not all 0, got {names}"
