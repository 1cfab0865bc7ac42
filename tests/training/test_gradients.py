"""Every parameter of every network has a gradient after every batch, as distributed training takes for granted.

``find_unused_parameters`` would search for others in every step. On the meta device, where gradients cost nothing.
"""

from pathlib import Path

import pytest
import torch
import yaml
from omegaconf import OmegaConf
from torch import Tensor

from rsna_det.config.compose import CONF, compose_config
from rsna_det.models.encoder import Encoder
from rsna_det.models.retinanet import MultiTaskRetinaNet
from rsna_det.structures import HeadOutputs
from rsna_det.training.losses import MultiTaskLoss, batch_losses
from rsna_det.training.targets import TargetMaker
from tests.training.test_module import batch, module

SIDE = 128
ENCODERS = sorted(path.stem for path in (CONF / "encoder").glob("*.yaml") if path.stem != "timm")
VARIANTS = sorted(path.stem for path in (CONF / "model").glob("*.yaml"))
BOX = torch.tensor([[[16.0, 16, 80, 80]]])


def encoder_of(config: str) -> Encoder:
    name = yaml.safe_load((Path(CONF) / "encoder" / f"{config}.yaml").read_text())["name"]
    with torch.device("meta"):
        return Encoder(name=name, pretrained=False, weights=None, normalise=True, freeze_statistics=True)


def network_of(variant: str, encoder: Encoder) -> MultiTaskRetinaNet:
    config = compose_config("train", [f"model={variant}", "data.root=x", "encoder=tiny"]).model
    options = {str(name): value for name, value in OmegaConf.to_container(config, resolve=True).items()}  # type: ignore[union-attr]
    options.pop("_target_")
    with torch.device("meta"):
        return MultiTaskRetinaNet(encoder=encoder, **options)  # type: ignore[arg-type]


def loss_of(network: MultiTaskRetinaNet, *, positives: bool) -> Tensor:
    outputs: HeadOutputs = network(torch.zeros(1, 1, SIDE, SIDE, dtype=torch.uint8, device="meta"))
    maker = TargetMaker(image_size=SIDE, feature_sizes=outputs.feature_sizes, levels=network.levels)
    made = maker.matched(boxes=BOX, box_mask=torch.tensor([[positives]]))
    assert (len(made.anchor) > 0) == positives
    losses = batch_losses(
        outputs=outputs, targets=made.to("meta"), categories=torch.zeros(1, dtype=torch.long, device="meta")
    )
    return MultiTaskLoss(box_class=1.0, box_regression=1.0, global_class=0.1)(losses)


@pytest.mark.parametrize("positives", [True, False])
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_parameter_of_every_model_has_a_gradient(variant: str, positives: bool) -> None:
    network = network_of(variant, encoder_of("tiny"))
    torch.autograd.backward(loss_of(network, positives=positives))
    assert not [key for key, parameter in network.named_parameters() if parameter.grad is None]


@pytest.mark.parametrize("name", ENCODERS)
def test_every_parameter_of_every_encoder_has_a_gradient(name: str) -> None:
    """Even from C3 to C5 alone, which is all that a pyramid without P2 looks at."""
    encoder = encoder_of(name)
    features = encoder(torch.zeros(1, 1, SIDE, SIDE, dtype=torch.uint8, device="meta"))
    torch.autograd.backward(torch.stack([feature.sum() for feature in features[1:]]).sum())
    assert not [key for key, parameter in encoder.named_parameters() if parameter.grad is None]


def test_weights_of_zero_leave_no_parameter_out() -> None:
    """A loss that does not count is in the sum all the same."""
    detector = module(cut_grid=[0.1, 0.3, 0.1])
    detector.loss = MultiTaskLoss(box_class=1.0, box_regression=0.0, global_class=0.0)
    torch.autograd.backward(detector.loss(detector.losses(batch(), detector(batch().images))))
    assert all(parameter.grad is not None for parameter in detector.parameters())
