"""Encoders and networks as the tests of this package want them: random weights and small."""

from typing import Any

import torch
from torch import Tensor, nn

from rsna_det.models.encoder import Encoder
from rsna_det.models.retinanet import MultiTaskRetinaNet
from rsna_det.structures import HeadOutputs


def build_encoder(name: str = "test_efficientnet", **changes: Any) -> Encoder:
    settings: dict[str, Any] = {
        "pretrained": False,
        "weights": None,
        "normalise": True,
        "freeze_statistics": True,
    }
    return Encoder(name=name, **(settings | changes))


def build_model(name: str = "test_efficientnet", **changes: Any) -> MultiTaskRetinaNet:
    settings: dict[str, Any] = {
        "width": 8,
        "levels": (2, 3, 4, 5, 6, 7),
        "dropout_global": 0.0,
        "dropout_box": 0.0,
        "global_head": True,
    }
    return MultiTaskRetinaNet(encoder=build_encoder(name), **(settings | changes))


def grey_images(*, side: int, batch: int = 1, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (batch, 1, side, side), dtype=torch.uint8, generator=generator)


def wake(model: MultiTaskRetinaNet) -> None:
    """Give the box heads' last convolutions, which start at zero and so stop gradients, some weights."""
    for head in (model.box_class_head, model.box_regression_head):
        nn.init.normal_(head.last.weight, std=0.01)


def any_loss(outputs: HeadOutputs) -> Tensor:
    assert outputs.global_logits is not None
    return (
        outputs.box_logits.square().mean()
        + outputs.box_deltas.dense().square().mean()
        + outputs.global_logits.exp().mean()
    )
