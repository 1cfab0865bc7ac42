"""The heads: order of the anchors, places of the dropout, initial values, small maps."""

import math

import pytest
import torch
from torch import Tensor, nn

from rsna_det.boxes.anchors import pyramid_anchors
from rsna_det.errors import InvalidValueError
from rsna_det.models.heads import BoxClassHead, BoxHead, BoxRegressionHead, GlobalHead


def positions(height: int, width: int) -> Tensor:
    """A map whose two channels are each cell's centre in units of the map's size, (x, y)."""
    y = ((torch.arange(height) + 0.5) / height).view(-1, 1).expand(height, width)
    x = ((torch.arange(width) + 0.5) / width).view(1, -1).expand(height, width)
    return torch.stack([x, y])[None]


def test_outputs_are_in_the_order_of_the_anchors() -> None:
    """A head that says where it looks names the centre of the anchor of the same index.

    Its convolutions pass the cell's position through; output k of anchor a is channel 4 a + k of the last one.
    """
    head = BoxRegressionHead(width=2)
    for convolution in head.modules():
        if isinstance(convolution, nn.Conv2d):
            nn.init.zeros_(convolution.weight)
            nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
    with torch.no_grad():
        for layer in head.tower:
            if isinstance(layer, nn.Conv2d):
                layer.weight[:, :, 1, 1] = torch.eye(2)
        for anchor in range(9):
            head.last.weight[4 * anchor, 0, 1, 1] = 1
            head.last.weight[4 * anchor + 1, 1, 1, 1] = 1
            head.last.bias[4 * anchor + 2] = anchor  # type: ignore[index]
            head.last.bias[4 * anchor + 3] = 7  # type: ignore[index]
    sizes = [(6, 5), (3, 2), (1, 1)]
    outputs = head([positions(*size) for size in sizes])
    anchors = pyramid_anchors(image_size=90, feature_sizes=sizes, levels=(3, 4, 5))
    assert outputs.shape == (1, 9 * (30 + 6 + 1), 4)
    centres = (anchors[:, :2] + anchors[:, 2:]) / 2
    assert torch.allclose(outputs[0, :, :2] * 90, centres, atol=1e-3)
    assert outputs[0, :, 2].tolist() == list(range(9)) * 37
    assert (outputs[0, :, 3] == 7).all()


def test_batch_elements_do_not_mix() -> None:
    head = BoxHead(width=3, outputs=4, dropout=0.0)
    nn.init.normal_(head.last.weight)
    pyramid = [torch.randn(3, 3, 4, 4), torch.randn(3, 3, 2, 2)]
    together = head(pyramid)
    alone = torch.cat([head([level[i : i + 1] for level in pyramid]) for i in range(3)])
    assert torch.allclose(together, alone, atol=1e-5)


def test_initial_outputs() -> None:
    """Every anchor starts at a score of 0.01 (logit -ln 99 = -4.5951) and at its own box."""
    pyramid = [torch.randn(2, 8, 4, 4), torch.randn(2, 8, 2, 2)]
    logits = BoxClassHead(width=8, dropout=0.0)(pyramid)
    assert logits.shape == (2, 9 * 20, 1)
    assert torch.allclose(logits, torch.tensor(-math.log(99)))
    assert torch.allclose(logits.sigmoid(), torch.tensor(0.01))
    deltas = BoxRegressionHead(width=8)(pyramid)
    assert deltas.shape == (2, 9 * 20, 4)
    assert not deltas.any()


def test_initial_weights_of_the_tower() -> None:
    """He-normal by fan-out: sqrt(2 / (9 * 64)) = 0.0589."""
    torch.manual_seed(0)
    for layer in BoxRegressionHead(width=64).tower:
        if isinstance(layer, nn.Conv2d):
            assert float(layer.weight.detach().std()) == pytest.approx(math.sqrt(2 / 576), rel=0.05)


def test_box_dropout_lies_before_the_last_convolution() -> None:
    """With half of the hidden channels dropped and the others doubled, a sum over 64 channels of 1 varies about 64."""
    torch.manual_seed(0)
    head = BoxClassHead(width=64, dropout=0.5)
    seen: list[Tensor] = []
    head.last.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    level = torch.randn(1, 64, 8, 8)
    head([level])
    head.eval()([level])
    trained, evaluated = seen
    kept = trained != 0
    assert torch.allclose(trained[kept], 2 * evaluated[kept])
    assert 0.4 < float(kept.float().mean() / (evaluated != 0).float().mean()) < 0.6


def test_regression_has_no_dropout() -> None:
    head = BoxRegressionHead(width=8).train()
    nn.init.normal_(head.last.weight)
    level = torch.randn(1, 8, 4, 4)
    assert torch.equal(head([level]), head([level]))


@pytest.mark.parametrize("probability", [-0.1, 1.0, 2.0])
def test_wrong_dropout(probability: float) -> None:
    with pytest.raises(InvalidValueError, match=r"dropout probability in \[0, 1\)"):
        BoxClassHead(width=8, dropout=probability)
    with pytest.raises(InvalidValueError, match=r"dropout probability in \[0, 1\)"):
        GlobalHead(in_channels=8, dropout=probability)


@pytest.mark.parametrize(
    ("c5", "pooled", "margins"),
    [
        ((1, 1), (1, 1), (1, 1)),  # Inception-ResNet-v2 at 75 pixels
        ((2, 2), (1, 1), (1, 1)),  # 64 pixels
        ((4, 5), (2, 2), (0, 0)),  # 128 pixels: the odd row of zeros goes below
        ((6, 6), (3, 3), (0, 0)),
        ((16, 15), (8, 7), (0, 0)),
    ],
)
def test_global_head_pads_small_maps_with_zeros(
    c5: tuple[int, int], pooled: tuple[int, int], margins: tuple[int, int]
) -> None:
    head = GlobalHead(in_channels=2, dropout=0.0, width=4)
    seen: list[Tensor] = []
    head.convolution.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    features = torch.rand(1, 2, *c5) + 1
    assert head(features).shape == (1, 3)
    assert seen[0].shape[2:] == tuple(max(3, size) for size in pooled)
    assert int((seen[0] > 0).sum()) == 2 * pooled[0] * pooled[1]
    inside = seen[0][:, :, margins[0] : margins[0] + pooled[0], margins[1] : margins[1] + pooled[1]]
    assert (inside >= 1).all()


def test_global_head_equals_its_description() -> None:
    torch.manual_seed(0)
    head = GlobalHead(in_channels=3, dropout=0.0)
    c5 = torch.randn(2, 3, 9, 8)
    pooled = torch.stack(
        [
            torch.stack([c5[:, :, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2].amax((2, 3)) for x in range(4)], -1)
            for y in range(4)
        ],
        -2,
    )
    hidden = head.convolution(pooled).clamp(min=0).flatten(2)
    assert hidden.shape == (2, 256, 4)
    expected = head.linear(torch.cat([hidden.mean(-1), hidden.max(-1).values], 1))
    assert torch.allclose(head(c5), expected, atol=1e-6)


def test_global_dropout_lies_before_the_linear_layer() -> None:
    torch.manual_seed(0)
    head = GlobalHead(in_channels=3, dropout=0.75).train()
    seen: list[Tensor] = []
    head.linear.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    c5 = torch.randn(8, 3, 8, 8)
    head(c5)
    head.eval()(c5)
    trained, evaluated = seen
    kept = trained != 0
    assert trained.shape == (8, 512)
    assert torch.allclose(trained[kept], 4 * evaluated[kept])  # 1 / (1 - 0.75)
    assert 0.2 < float(kept.float().mean() / (evaluated != 0).float().mean()) < 0.3
