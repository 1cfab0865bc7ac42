"""The whole network: sizes, variants by configuration, copies, precision."""

import copy
import io
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from rsna_det.boxes.anchors import pyramid_anchors
from rsna_det.models.retinanet import MultiTaskRetinaNet
from tests.models.build import any_loss, build_encoder, build_model, grey_images, wake

CONF = Path(__file__).parents[2] / "conf"


def from_config(name: str, *overrides: str) -> MultiTaskRetinaNet:
    with initialize_config_dir(str(CONF / "model"), version_base="1.3"):
        model: Any = instantiate(compose(name, overrides=list(overrides)), encoder=build_encoder())
    assert isinstance(model, MultiTaskRetinaNet)
    return model


@pytest.mark.parametrize("side", [64, 65, 96, 127, 200])
@pytest.mark.parametrize("name", ["test_efficientnet", "nasnetamobile"])
def test_image_sizes(side: int, name: str) -> None:
    model = build_model(name).eval()
    with torch.no_grad():
        outputs = model(grey_images(side=side, batch=2))
    anchors = pyramid_anchors(image_size=side, feature_sizes=outputs.feature_sizes, levels=model.levels)
    assert outputs.box_logits.shape == (2, len(anchors), 1)
    assert outputs.box_deltas.dense().shape == (2, len(anchors), 4)
    assert outputs.global_logits is not None
    assert outputs.global_logits.shape == (2, 3)
    assert len(outputs.feature_sizes) == 6
    assert outputs.feature_sizes[-1] == ((2, 2) if side == 200 else (1, 1))


@pytest.mark.parametrize(
    ("config", "width", "anchors"),
    [
        # 9 anchors on each cell of maps of 128, 64, 32, 16, 8 and 4 cells a side: 9 * 21,840 = 196,560
        ("retinanet", 256, 196_560),
        ("without_global", 256, 196_560),
        # less P2's 9 * 128**2 = 147,456, which are 75%
        ("without_p2", 256, 49_104),
        ("small", 128, 49_104),
    ],
)
def test_configurations_at_512_pixels(config: str, width: int, anchors: int) -> None:
    model = from_config(config).to("meta").eval()
    outputs = model(torch.empty(1, 1, 512, 512, dtype=torch.uint8, device="meta"))
    assert outputs.box_logits.shape == (1, anchors, 1)
    assert outputs.box_deltas.dense().shape == (1, anchors, 4)
    assert model.box_class_head.last.in_channels == width
    assert (outputs.global_logits is None) is (config == "without_global")
    assert outputs.feature_sizes == tuple((512 // 2**level,) * 2 for level in model.levels)
    if model.global_head is not None:
        # The global head does not follow the pyramid's width; the paper's dropout is on it alone.
        assert model.global_head.convolution.out_channels == 256
        assert model.global_head.dropout.p == 0.75
    assert model.box_class_head.dropout.p == 0.0


def test_dropouts_by_configuration() -> None:
    model = from_config("small", "dropout_global=0.25", "dropout_box=0.5", "width=16")
    assert model.global_head is not None
    assert model.global_head.dropout.p == 0.25
    assert model.box_class_head.dropout.p == 0.5
    assert model.box_regression_head.dropout.p == 0.0
    assert model.levels == (3, 4, 5, 6, 7)
    assert model.box_class_head.last.in_channels == 16


@pytest.mark.parametrize("name", ["test_efficientnet", "legacy_xception"])
def test_copies_are_the_same_and_independent(name: str) -> None:
    """Weight averaging copies the network; Xception gives its features through hooks, which must follow the copy."""
    model = build_model(name).eval()
    wake(model)
    images = grey_images(side=64)
    copied = copy.deepcopy(model)
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    stored = torch.load(buffer, weights_only=False)
    with torch.no_grad():
        wanted = model(images).box_deltas.dense()
        for other in (copied, stored):
            assert torch.equal(other(images).box_deltas.dense(), wanted)
        for parameter in copied.encoder.parameters():
            parameter.zero_()
        assert torch.equal(model(images).box_deltas.dense(), wanted)
        assert not torch.equal(copied(images).box_deltas.dense(), wanted)


def test_images_of_a_batch_do_not_mix() -> None:
    model = build_model().eval()
    wake(model)
    images = grey_images(side=64, batch=3)
    with torch.no_grad():
        together = model(images).box_deltas.dense()
        alone = torch.cat([model(images[i : i + 1]).box_deltas.dense() for i in range(3)])
    assert torch.allclose(together, alone, atol=1e-5)


def test_mixed_precision_gives_float32() -> None:
    model = build_model()
    wake(model)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = model(grey_images(side=64))
    assert outputs.box_logits.dtype == outputs.box_deltas.dense().dtype == torch.float32
    assert outputs.global_logits is not None
    assert outputs.global_logits.dtype == torch.float32


def test_half_precision_weights() -> None:
    outputs = build_model().to(torch.bfloat16)(grey_images(side=64))
    assert outputs.box_logits.dtype == torch.float32


def test_outputs_follow_the_image() -> None:
    """Gradients of every output reach the stem, the global head's included."""
    model = build_model()
    wake(model)
    any_loss(model(grey_images(side=64, batch=2))).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
