"""NASNet-A-Mobile (4 @ 1056), which timm lacks, registered with timm as ``nasnetamobile``."""

from typing import Any, NoReturn

import timm
import torch
from timm.layers.helpers import to_2tuple
from timm.layers.padding import pad_same
from timm.layers.pool2d_same import AvgPool2dSame
from timm.models import build_model_with_cfg, register_model
from timm.models.nasnet import NASNetALarge
from torch import Tensor, nn
from torch.nn import functional

PUBLIC_WEIGHTS = "http://data.lip6.fr/cadene/pretrainedmodels/nasnetamobile-7e03cead.pth"
"""Public ImageNet weights (pretrained-models.pytorch). Not downloaded from here: the address offers no HTTPS."""

_DROPPED_CELLS = (4, 5, 10, 11, 16, 17)
_TAPS = (
    (32, 2, "conv0"),
    (44, 4, "cell_stem_1.conv_1x1.act"),
    (264, 8, "reduction_cell_0.conv_1x1.act"),
    (528, 16, "reduction_cell_1.conv_1x1.act"),
    (1056, 32, "act"),
)

default_cfgs = timm.models.generate_default_cfgs(
    {
        "nasnetamobile": {
            "input_size": (3, 224, 224),
            "pool_size": (7, 7),
            "crop_pct": 0.875,
            "interpolation": "bicubic",
            "mean": (0.5, 0.5, 0.5),
            "std": (0.5, 0.5, 0.5),
            "num_classes": 1000,
            "first_conv": "conv0.conv",
            "classifier": "last_linear",
        }
    }
)


class AveragePoolInside(nn.AvgPool2d):
    """TensorFlow's "same" average pooling, which leaves padding out of the mean."""

    def forward(self, x: Tensor) -> Tensor:
        """Means over windows, ``[batch, channels, ceil(H / stride), ceil(W / stride)]``."""
        return self._padded_mean(x) / self._padded_mean(torch.ones_like(x[:1, :1]))

    def _padded_mean(self, x: Tensor) -> Tensor:
        kernel, stride = to_2tuple(self.kernel_size), to_2tuple(self.stride)
        return functional.avg_pool2d(pad_same(x, kernel, stride), kernel, stride)


class NASNetAMobile(NASNetALarge):
    """NASNet-A with four normal cells per stage instead of six; names and shapes are those of the public weights file.

    Source: Zoph et al., Learning Transferable Architectures for Scalable Image Recognition (2018).
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(stem_size=32, num_features=1056, **kwargs)
        for index in _DROPPED_CELLS:
            delattr(self, f"cell_{index}")
        self._average_inside_the_map()
        self.feature_info = [
            {"num_chs": channels, "reduction": reduction, "module": module} for channels, reduction, module in _TAPS
        ]

    def forward_features(self, x: Tensor) -> Tensor:
        """The last feature map, ``[batch, 1056, S/32, S/32]``, of normalised images ``[batch, 3, S, S]``."""
        conv0 = self.conv0(x)
        previous = self.cell_stem_0(conv0)
        x = self.cell_stem_1(conv0, previous)
        x, previous = self._stage(x, previous, first=0)
        x, previous = self._stage(self.reduction_cell_0(x, previous), x, first=6)
        x, previous = self._stage(self.reduction_cell_1(x, previous), x, first=12)
        return self.act(x)  # type: ignore[no-any-return]

    def forward_intermediates(self, *_: object, **__: object) -> NoReturn:
        """Not available: the inherited method joins the stages as the large network does.

        Raises:
            NotImplementedError: always; timm's ``features_only=True`` gives the features.
        """
        raise NotImplementedError("nasnetamobile gives its features only with features_only=True")

    def _average_inside_the_map(self) -> None:
        """Replace timm's average pools, which count padding as zeros; the public weights were trained without it."""
        for parent in list(self.modules()):
            for name, child in parent.named_children():
                if isinstance(child, AvgPool2dSame):
                    setattr(parent, name, AveragePoolInside(child.kernel_size, child.stride))

    def _stage(self, x: Tensor, previous: Tensor, *, first: int) -> tuple[Tensor, Tensor]:
        for index in range(first, first + 4):
            x, previous = getattr(self, f"cell_{index}")(x, previous), x
        return x, previous


@register_model
def nasnetamobile(pretrained: bool = False, **kwargs: Any) -> nn.Module:  # noqa: FBT001, FBT002  # timm's
    """A :class:`NASNetAMobile`, or its feature extractor for ``features_only=True``: timm's entry point."""
    # As timm's NASNet-A-Large: cells take two inputs, so features come from hooks.
    features = {"feature_cls": "hook", "no_rewrite": True}
    model: nn.Module = build_model_with_cfg(
        NASNetAMobile, "nasnetamobile", pretrained, feature_cfg=features, pad_type="same", **kwargs
    )
    return model
