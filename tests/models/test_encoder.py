"""The encoder: taps, normalisation, frozen statistics, and every encoder of the paper in a training step."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch import nn

from rsna_det.errors import InvalidValueError
from rsna_det.models.encoder import Encoder
from tests.models.build import any_loss, build_encoder, build_model, grey_images, wake

CONF = Path(__file__).parents[2] / "conf"

# Channels of C2..C5 in the published code, and parameters in millions.
PAPER_ENCODERS = {
    "resnet34": ((64, 128, 256, 512), 21.3),
    "resnet50": ((256, 512, 1024, 2048), 23.5),
    "resnet101": ((256, 512, 1024, 2048), 42.5),
    "se_resnext50": ((256, 512, 1024, 2048), 25.5),
    "se_resnext101": ((256, 512, 1024, 2048), 46.9),
    "senet154": ((256, 512, 1024, 2048), 113.0),
    "xception": ((128, 256, 728, 2048), 20.8),
    "nasnet_a_mobile": ((44, 264, 528, 1056), 4.2),
    "nasnet_a_large": ((168, 1008, 2016, 4032), 84.7),
    "pnasnet5_large": ((270, 1080, 2160, 4320), 81.7),
    "dpn92": ((336, 704, 1552, 2688), 35.0),
    "inception_resnet_v2": ((192, 320, 1088, 1536), 54.3),
    "efficientnet_lite0": ((24, 40, 112, 320), 3.0),
}


def composed(encoder: str, *overrides: str) -> Any:
    with initialize_config_dir(str(CONF / "encoder"), version_base="1.3"):
        return compose(encoder, overrides=list(overrides))


def test_every_encoder_has_a_configuration() -> None:
    assert {path.stem for path in (CONF / "encoder").glob("*.yaml")} == {*PAPER_ENCODERS, "tiny", "timm"}


@pytest.mark.parametrize("config", PAPER_ENCODERS)
def test_training_step_reaches_every_parameter(config: str) -> None:
    channels, mparams = PAPER_ENCODERS[config]
    # Inception-ResNet-v2's unpadded convolutions leave nothing of 64 pixels.
    side = 96 if config == "inception_resnet_v2" else 64
    name = composed(config).name
    model = build_model(name)
    wake(model)
    assert model.encoder.channels == channels
    assert sum(p.numel() for p in model.encoder.parameters()) / 1e6 == pytest.approx(mparams, abs=0.05)

    outputs = model(grey_images(side=side))
    any_loss(outputs).backward()

    # Distributed training waits for the gradient of every parameter.
    assert [key for key, parameter in model.named_parameters() if parameter.grad is None] == []
    stem = next(model.encoder.parameters())
    assert stem.grad is not None
    assert torch.isfinite(stem.grad).all()
    assert stem.grad.abs().sum() > 0
    assert outputs.box_logits.shape == (1, 9 * sum(h * w for h, w in outputs.feature_sizes), 1)


def test_config_builds_the_encoder() -> None:
    encoder = instantiate(composed("tiny"), _convert_="none")
    assert isinstance(encoder, Encoder)
    assert encoder.name == "test_efficientnet"
    assert composed("timm", "name=convnext_atto").name == "convnext_atto"


def test_unpadded_maps_are_not_multiples() -> None:
    with torch.device("meta"):
        encoder = build_encoder("inception_resnet_v2").to("meta")
    sizes = [
        tuple(feature.shape[-2:]) for feature in encoder(torch.empty(1, 1, 512, 512, dtype=torch.uint8, device="meta"))
    ]
    assert sizes == [(124, 124), (61, 61), (30, 30), (14, 14)]


@pytest.mark.parametrize(
    ("name", "strides"),
    [("test_vit", r"\[16, 16.*\]"), ("visformer_tiny", r"\[8, 16, 32\]"), ("nest_tiny", r"\[4, 8, 16\]")],
)
def test_unusable_backbone_is_named_with_its_strides(name: str, strides: str) -> None:
    with pytest.raises(InvalidValueError, match=rf"'{name}' has feature maps of strides {strides}.*missing"):
        build_encoder(name)


def test_unknown_names_get_the_closest() -> None:
    with pytest.raises(InvalidValueError, match=r"no backbone 'resnet35'.*'resnet34'"):
        build_encoder("resnet35")
    with pytest.raises(InvalidValueError, match=r"no weights 'a9_in1k'.*'a1_in1k'"):
        build_encoder("resnet34.a9_in1k")


@pytest.mark.parametrize(
    ("name", "options"), [("test_convnext", None), ("swin_tiny_patch4_window7_224", {"strict_img_size": False})]
)
def test_other_backbones(name: str, options: dict[str, Any] | None) -> None:
    """Swin gives its maps channels last; the encoder turns them."""
    encoder = build_encoder(name, options=options).eval()
    features = encoder(grey_images(side=64))
    assert tuple(feature.shape[1] for feature in features) == encoder.channels
    assert [feature.shape[2] for feature in features] == [16, 8, 4, 2]


def test_too_small_image() -> None:
    with pytest.raises(InvalidValueError, match="inception_resnet_v2 needs images of 75 px or more, got 64 px"):
        build_encoder("inception_resnet_v2")(grey_images(side=64))


def test_float_images_are_refused() -> None:
    with pytest.raises(Exception, match=r"uint8|UInt8"):
        build_encoder()(grey_images(side=64).float())


def backbone_input(encoder: Encoder, grey: int) -> list[float]:
    seen: list[torch.Tensor] = []
    encoder.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    encoder(torch.full((1, 1, 64, 64), grey, dtype=torch.uint8))
    assert seen[0].shape == (1, 3, 64, 64)
    return [round(channel.unique().item(), 4) for channel in seen[0][0]]


def test_normalisation() -> None:
    # ImageNet's numbers of this backbone: (1 - 0.485) / 0.229 = 2.2489, (1 - 0.456) / 0.224 = 2.4286,
    # (1 - 0.406) / 0.225 = 2.64; and -0.485 / 0.229 = -2.1179, ...
    assert backbone_input(build_encoder(), 255) == [2.2489, 2.4286, 2.64]
    assert backbone_input(build_encoder(), 0) == [-2.1179, -2.0357, -1.8044]
    # The published code: 51 / 255 = 0.2.
    assert backbone_input(build_encoder(normalise=False), 51) == [0.2, 0.2, 0.2]


def norms(encoder: Encoder) -> list[nn.BatchNorm2d]:
    return [module for module in encoder.modules() if isinstance(module, nn.BatchNorm2d)]


@pytest.mark.parametrize("frozen", [True, False])
def test_frozen_statistics_stay_while_the_affine_parameters_learn(frozen: bool) -> None:
    encoder = build_encoder(freeze_statistics=frozen).eval().train()
    before = copy.deepcopy(encoder.state_dict())
    encoder(grey_images(side=64, batch=2))[-1].square().mean().backward()
    moved = [key for key, value in encoder.state_dict().items() if not torch.equal(value, before[key])]
    assert encoder.training
    assert (moved == []) is frozen
    assert all("running" in key or "num_batches" in key for key in moved)
    assert all(norm.training is not frozen for norm in norms(encoder))
    assert all(norm.weight.grad is not None and norm.bias.grad is not None for norm in norms(encoder))


def test_backbone_has_no_dropout_of_its_own() -> None:
    """Two passes in training mode agree, although this backbone comes with stochastic depth when asked for it."""
    encoder = build_encoder("test_convnext", options={"drop_path_rate": 0.5}).train()
    images = grey_images(side=64)
    assert torch.equal(encoder(images)[-1], encoder(images)[-1])
