"""The module's own small decisions; what it wires is tested where it lives, and as a whole in test_pipeline."""

import pytest
import torch

from rsna_det.boxes.decoding import DecodingSettings
from rsna_det.boxes.matching import match_anchors
from rsna_det.models.encoder import Encoder
from rsna_det.models.retinanet import MultiTaskRetinaNet
from rsna_det.structures import Batch
from rsna_det.training.losses import MultiTaskLoss
from rsna_det.training.module import DetectorModule
from rsna_det.training.schedules import plateau


def module(*, cut_grid: list[float], global_head: bool = True) -> DetectorModule:
    encoder = Encoder(name="test_efficientnet", pretrained=False, weights=None, normalise=True, freeze_statistics=True)
    return DetectorModule(
        model=MultiTaskRetinaNet(
            encoder=encoder,
            width=8,
            levels=[3, 4, 5, 6, 7],
            dropout_global=0.0,
            dropout_box=0.0,
            global_head=global_head,
        ),
        loss=MultiTaskLoss(box_class=1.0, box_regression=2.0, global_class=0.5),
        optimizer=torch.optim.Adam,
        scheduler=plateau,
        decoding=DecodingSettings(
            score_floor=0.001, max_candidates=20, nms_iou=0.05, relative_cut=0.5, cut=0.15, cut_grid=cut_grid
        ),
    )


def batch() -> Batch:
    """Two images of 64 px: one with a box of 32 px, one without any."""
    boxes = torch.tensor([[[16.0, 16, 48, 48]], [[0, 0, 0, 0]]])
    mask = torch.tensor([[True], [False]])
    return Batch(
        images=torch.randint(0, 256, (2, 1, 64, 64)).byte(),
        boxes=boxes,
        box_mask=mask,
        source_boxes=2 * boxes,
        source_box_mask=mask,
        categories=torch.tensor([2, 1]),
        source_sizes=torch.tensor([[128, 128], [128, 128]]),
        image_ids=("a", "b"),
        folds=(0, 0),
        true_patients=("p", "q"),
    )


def test_the_grid_of_cuts_reads_as_it_was_meant() -> None:
    assert module(cut_grid=[0.1, 0.3, 0.1]).metrics.cuts == [0.15, 0.1, 0.2, 0.3]


@pytest.mark.parametrize("grid", [[0.1, 0.3], [0.3, 0.1, 0.1], [0.1, 1.0, 0.1], [0.1, 0.3, 0.0], [-0.1, 0.3, 0.1]])
def test_an_impossible_grid_is_refused(grid: list[float]) -> None:
    with pytest.raises(ValueError, match="the lowest cut"):
        module(cut_grid=grid)


def test_a_training_step_has_gradients_everywhere_and_weighs_its_losses() -> None:
    detector = module(cut_grid=[0.1, 0.3, 0.1])
    losses = detector.losses(batch(), detector(batch().images))
    total = detector.loss(losses)
    # weights 1, 2 and 0.5 of the means over both images
    assert total.item() == pytest.approx(
        losses.box_class.mean().item()
        + 2 * losses.box_regression.mean().item()
        + 0.5 * losses.global_class.mean().item()
    )
    assert losses.box_regression[1] == 0  # no box, nothing to regress
    assert losses.box_class[1] > 0  # but negatives to learn
    torch.autograd.backward(total)
    assert all(parameter.grad is not None for parameter in detector.parameters())


def test_without_the_global_head_its_loss_is_nothing() -> None:
    detector = module(cut_grid=[0.1, 0.3, 0.1], global_head=False)
    losses = detector.losses(batch(), detector(batch().images))
    assert losses.global_class.tolist() == [0, 0]


def test_validation_hands_over_candidates_in_source_pixels() -> None:
    detector = module(cut_grid=[0.1, 0.3, 0.1]).eval()
    with torch.no_grad():
        output = detector.validation_step(batch(), 0)
    assert output.candidates.boxes.amax() > 64  # twice the network's size
    assert output.candidates.boxes.amax() <= 128
    assert output.probabilities is not None
    assert output.probabilities.sum(dim=1).tolist() == pytest.approx([1, 1])


def test_anchors_are_those_of_the_maps() -> None:
    detector = module(cut_grid=[0.1, 0.3, 0.1])
    outputs = detector(batch().images)
    anchors = detector.anchors(outputs, 64)
    assert len(anchors) == outputs.box_logits.shape[1] == 9 * sum(h * w for h, w in outputs.feature_sizes)
    targets = match_anchors(anchors=anchors, boxes=batch().boxes, box_mask=batch().box_mask)
    assert (targets.labels[0] == 1).any()
    assert (targets.labels[1] == 0).all()
