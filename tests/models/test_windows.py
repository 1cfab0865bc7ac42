"""Windows of the regression head: planned by hand, and its outputs and gradients against the whole maps."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from rsna_det.boxes.anchors import pyramid_anchors
from rsna_det.boxes.decoding import candidate_deltas, candidates
from rsna_det.boxes.matching import match_anchors
from rsna_det.models.heads import BoxRegressionHead
from rsna_det.models.retinanet import MultiTaskRetinaNet
from rsna_det.models.windows import REACH, windows_around
from rsna_det.structures import DenseDeltas, HeadOutputs
from rsna_det.training.losses import MultiTaskLoss, image_losses
from tests.models.build import build_model, grey_images, wake

LEVELS = (3, 4, 5, 6, 7)


def planned(cells: Sequence[tuple[int, int]], height: int, width: int) -> list[tuple[int, int, int, int]]:
    rows, columns = np.array(cells, dtype=np.int64).reshape(-1, 2).T
    found = windows_around(rows, columns, height=height, width=width)
    covered = [int(cell) for window in found for cell in window.cells]
    assert sorted(covered) == list(range(len(cells)))
    for window in found:
        for row, column in zip(rows[window.cells], columns[window.cells], strict=True):
            assert window.top <= max(row - REACH, 0) <= min(row + REACH, height - 1) < window.top + window.height
            assert window.left <= max(column - REACH, 0) <= min(column + REACH, width - 1) < window.left + window.width
        assert 0 <= window.top <= window.top + window.height <= height
        assert 0 <= window.left <= window.left + window.width <= width
    assert sum(window.height * window.width for window in found) <= height * width
    return sorted((window.top, window.left, window.height, window.width) for window in found)


def test_windows_by_hand() -> None:
    assert planned([], 64, 64) == []
    # 5 cells on either side are 11, rounded up to 12
    assert planned([(30, 40)], 64, 64) == [(25, 35, 12, 12)]
    # at the corner the map ends: 6 cells, rounded up to 8
    assert planned([(0, 0)], 64, 64) == [(0, 0, 8, 8)]
    # at the far corner the 8 cells are moved inside
    assert planned([(63, 63)], 64, 64) == [(56, 56, 8, 8)]
    # neighbours in different tiles share a window: 5 + 2 + 5 columns
    assert planned([(30, 39), (30, 40)], 64, 64) == [(25, 34, 12, 12)]
    assert planned([(10, 10), (50, 50)], 64, 64) == [(5, 5, 12, 12), (45, 45, 12, 12)]
    # a small map is computed whole
    assert planned([(2, 2)], 8, 8) == [(0, 0, 8, 8)]


@pytest.mark.parametrize("seed", range(30))
def test_every_wanted_cell_has_what_it_depends_on(seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 60, size=2).tolist()
    count = int(rng.integers(1, min(40, height * width) + 1))
    chosen = rng.choice(height * width, size=count, replace=False)
    planned([divmod(int(cell), width) for cell in chosen], height, width)


@pytest.mark.parametrize("seed", range(20))
def test_outputs_at_anchors_are_those_of_the_whole_maps(seed: int) -> None:
    """In float64; maps of odd sizes, anchors at every border, a level or an image without any."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    head = BoxRegressionHead(width=6).double()
    torch.nn.init.normal_(head.last.weight, std=0.1)
    for layer in head.modules():
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.normal_(layer.bias, std=0.5)  # type: ignore[arg-type]
    pyramid = [torch.randn(3, 6, *size, generator=generator).double() for size in ((31, 37), (15, 18), (8, 9), (1, 2))]
    dense = head(pyramid)
    image, anchor = (torch.rand(dense.shape[:2], generator=generator) < (0.002, 0.02, 0.3)[seed % 3]).nonzero().T
    found = head.at(pyramid, image=image, anchor=anchor)
    torch.testing.assert_close(found, dense[image, anchor], rtol=1e-12, atol=1e-12)


def test_no_anchor_gives_no_output_and_gradients_of_zero() -> None:
    head = BoxRegressionHead(width=4)
    nothing = torch.zeros(0, dtype=torch.long)
    found = head.at([torch.randn(2, 4, 6, 6)], image=nothing, anchor=nothing)
    assert found.shape == (0, 4)
    torch.autograd.backward(found.sum())
    assert all(parameter.grad is not None and not parameter.grad.any() for parameter in head.parameters())


def random_labels(*, batch: int, side: int, seed: int) -> tuple[Tensor, Tensor]:
    """Boxes of all sizes, at borders too; the first image has none, and every fifth batch none at all."""
    rng = np.random.default_rng(seed)
    boxes, mask = torch.zeros(batch, 3, 4), torch.zeros(batch, 3, dtype=torch.bool)
    if seed % 5 == 0:
        return boxes, mask
    for image in range(1, batch):
        for number in range(int(rng.integers(1, 4))):
            corner = rng.uniform(-0.1, 0.8, size=2) * side
            far = corner + rng.uniform(0.1, 0.6, size=2) * side
            boxes[image, number] = torch.tensor([*corner.clip(0), *far.clip(max=side)])
            mask[image, number] = True
    return boxes, mask


def total_loss(model: MultiTaskRetinaNet, images: Tensor, boxes: Tensor, mask: Tensor, *, dense: bool) -> Tensor:
    outputs: HeadOutputs = model(images)
    if dense:
        outputs = HeadOutputs(
            box_logits=outputs.box_logits,
            box_deltas=DenseDeltas(values=outputs.box_deltas.dense()),
            global_logits=outputs.global_logits,
            feature_sizes=outputs.feature_sizes,
        )
    anchors = pyramid_anchors(
        image_size=images.shape[-1], feature_sizes=outputs.feature_sizes, levels=model.levels
    ).double()
    targets = match_anchors(anchors=anchors, boxes=boxes.double(), box_mask=mask)
    losses = image_losses(
        outputs=outputs,
        targets=targets,
        anchors=anchors,
        boxes=boxes.double(),
        categories=torch.zeros(len(images), dtype=torch.long),
    )
    return MultiTaskLoss(box_class=1.0, box_regression=1.0, global_class=0.1)(losses)


@pytest.mark.parametrize("seed", range(50))
def test_gradients_are_those_of_the_dense_head(seed: int) -> None:
    """In float64, every parameter of the network within 1e-9 of its largest gradient."""
    torch.manual_seed(seed)
    side = (96, 128, 97)[seed % 3]
    levels = ((2, 3, 4, 5, 6, 7), LEVELS)[seed % 2]
    model = build_model("test_efficientnet", levels=levels, global_head=seed % 4 != 0).double()
    wake(model)
    images = grey_images(side=side, batch=3, seed=seed)
    boxes, mask = random_labels(batch=3, side=side, seed=seed)
    gradients = []
    for dense in (True, False):
        model.zero_grad()
        torch.autograd.backward(total_loss(model, images, boxes, mask, dense=dense))
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    for name, wanted in gradients[0].items():
        found = gradients[1][name]
        assert wanted is not None
        assert found is not None
        assert (found - wanted).abs().max() <= 1e-9 * wanted.abs().max().clamp(min=1e-12), name


@pytest.mark.parametrize("side", [96, 127])
def test_candidates_are_those_of_the_dense_head(side: int) -> None:
    torch.manual_seed(0)
    model = build_model(levels=LEVELS).eval()
    wake(model)
    sizes = torch.tensor([[1024, 800], [side, side]])
    numbers = {"score_floor": 0.0101, "max_candidates": 50}
    with torch.inference_mode():
        outputs = model(grey_images(side=side, batch=2))
        anchors = pyramid_anchors(image_size=side, feature_sizes=outputs.feature_sizes, levels=LEVELS)
        dense = DenseDeltas(values=outputs.box_deltas.dense())
        common = {"anchors": anchors, "image_size": side, "source_sizes": sizes, **numbers}
        made = [
            candidates(
                outputs=HeadOutputs(
                    box_logits=outputs.box_logits,
                    box_deltas=deltas,
                    global_logits=None,
                    feature_sizes=outputs.feature_sizes,
                ),
                **common,
            )
            for deltas in (dense, outputs.box_deltas, candidate_deltas(outputs, **numbers))  # type: ignore[arg-type]
        ]
    assert made[0].mask.any()
    for found in made[1:]:
        assert torch.equal(found.scores, made[0].scores)
        assert torch.equal(found.mask, made[0].mask)
        torch.testing.assert_close(found.boxes, made[0].boxes, rtol=0, atol=1e-4)


def test_boxes_asked_for_outside_mixed_precision_are_computed_in_it() -> None:
    model = build_model()
    wake(model)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = model(grey_images(side=64))
        inside = outputs.box_deltas.dense()
    outside = outputs.box_deltas.dense()
    assert torch.equal(inside, outside)
    image, anchor = torch.tensor([0, 0]), torch.tensor([5, 300])
    assert outputs.box_deltas.at(image=image, anchor=anchor).dtype == torch.float32
