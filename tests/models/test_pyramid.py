"""The pyramid: sizes, levels, sums against a slow oracle, initial weights."""

import math

import pytest
import torch
from torch import Tensor, nn

from rsna_det.errors import InvalidValueError
from rsna_det.models.pyramid import FeaturePyramid

CHANNELS = (3, 5, 7, 11)


def encoder_maps(*sizes: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(2, channels, size, size + 1, generator=generator)
        for channels, size in zip(CHANNELS, sizes, strict=True)
    ]


def nearest(coarse: Tensor, height: int, width: int) -> Tensor:
    """Cell (y, x) of the finer map lies in the coarse cell (floor(y * h / H), floor(x * w / W))."""
    rows = [y * coarse.shape[2] // height for y in range(height)]
    columns = [x * coarse.shape[3] // width for x in range(width)]
    return coarse[:, :, rows][:, :, :, columns]


def test_equals_a_slow_oracle_on_sizes_that_are_no_multiples() -> None:
    pyramid = FeaturePyramid(in_channels=CHANNELS, width=4, levels=(2, 3, 4, 5, 6, 7))
    maps = encoder_maps(31, 15, 7, 3)
    outputs = pyramid(maps)
    sums: list[Tensor] = []
    for lateral, feature in reversed(list(zip(pyramid.laterals, maps, strict=True))):
        own = lateral(feature)
        sums.insert(0, own + nearest(sums[0], *own.shape[-2:]) if sums else own)
    p6 = pyramid.coarse[0](maps[-1])
    expected = [
        *(conv(x) for conv, x in zip(pyramid.outputs, sums, strict=True)),
        p6,
        pyramid.coarse[1](p6.clamp(min=0)),
    ]
    assert [output.shape[-2:] for output in outputs] == [(31, 32), (15, 16), (7, 8), (3, 4), (2, 2), (1, 1)]
    for output, wanted in zip(outputs, expected, strict=True):
        assert torch.allclose(output, wanted, atol=1e-6)


@pytest.mark.parametrize(
    ("levels", "sizes"),
    [((2, 3, 4, 5), [16, 8, 4, 2]), ((3, 4, 5, 6, 7), [8, 4, 2, 1, 1]), ((5,), [2]), ((4, 5, 6), [4, 2, 1])],
)
def test_levels(levels: tuple[int, ...], sizes: list[int]) -> None:
    pyramid = FeaturePyramid(in_channels=CHANNELS, width=4, levels=levels)
    outputs = pyramid(encoder_maps(16, 8, 4, 2))
    assert pyramid.levels == levels
    assert [output.shape[2] for output in outputs] == sizes
    # No weights lie unused: a level that is not wanted has none.
    sum(output.sum() for output in outputs).backward()  # type: ignore[union-attr]
    assert all(parameter.grad is not None for parameter in pyramid.parameters())


@pytest.mark.parametrize("levels", [(), (1, 2, 3, 4, 5), (2, 3, 4), (6, 7), (2, 4, 5), (5, 4), (3, 4, 5, 6, 7, 8)])
def test_wrong_levels(levels: tuple[int, ...]) -> None:
    with pytest.raises(InvalidValueError, match=r"model\.levels is .*pyramid levels"):
        FeaturePyramid(in_channels=CHANNELS, width=4, levels=levels)


def test_wrong_width() -> None:
    with pytest.raises(InvalidValueError, match=r"model\.width is 0; expected 1 or more"):
        FeaturePyramid(in_channels=CHANNELS, width=0, levels=(3, 4, 5))


def test_initial_weights() -> None:
    """He-normal by fan-out: a 3x3 convolution to 64 channels has deviation sqrt(2 / (9 * 64)) = 0.0589."""
    torch.manual_seed(0)
    pyramid = FeaturePyramid(in_channels=(64, 64, 64, 64), width=64, levels=(2, 3, 4, 5, 6, 7))
    for convolution in pyramid.modules():
        if isinstance(convolution, nn.Conv2d):
            area = math.prod(convolution.kernel_size)
            assert float(convolution.weight.detach().std()) == pytest.approx(math.sqrt(2 / (area * 64)), rel=0.05)
            assert convolution.bias is not None
            assert not convolution.bias.any()


def test_inputs_are_left_alone() -> None:
    pyramid = FeaturePyramid(in_channels=CHANNELS, width=4, levels=(2, 3, 4, 5, 6, 7))
    maps = encoder_maps(16, 8, 4, 2)
    copies = [feature.clone() for feature in maps]
    pyramid(maps)
    assert all(torch.equal(feature, copy) for feature, copy in zip(maps, copies, strict=True))
