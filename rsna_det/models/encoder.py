"""Any timm backbone as an encoder: grey radiographs -> feature maps C2..C5 with their true channels."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

import timm
import torch
from jaxtyping import Float, UInt8
from timm.layers.drop import DropPath
from torch import Tensor, nn

from rsna_det.errors import InvalidValueError
from rsna_det.models.recomputing import recomputed_norms
from rsna_det.models.weights import create_backbone

STRIDES = (4, 8, 16, 32)
"""Nominal strides of C2..C5; unpadded convolutions give maps somewhat smaller than image size / stride."""

_SMALLEST_SIDES = {"inception_resnet_v2": 75}
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


class Encoder(nn.Module):
    """C2..C5 of a timm backbone; repeats the grey channel to three and normalises it.

    Attributes:
        name: timm's name of the backbone.
        channels: channels of C2, C3, C4, C5.
    """

    channels: tuple[int, int, int, int]
    scale: Float[Tensor, "1 3 1 1"]
    shift: Float[Tensor, "1 3 1 1"]

    def __init__(
        self,
        *,
        name: str,
        pretrained: bool,
        weights: str | None,
        normalise: bool,
        freeze_statistics: bool,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """Build the backbone and load its weights.

        Args:
            name: timm's name, with or without a weights tag ("resnet34", "resnet34.a1_in1k"), or "nasnetamobile".
            pretrained: start from ImageNet weights.
            weights: a local file of the backbone's weights, which takes precedence over ``pretrained``; or None.
            normalise: with the backbone's mean and standard deviation; False for grey / 255, as the published code.
            freeze_statistics: freeze batch norm's running statistics; its affine parameters train.
            options: further arguments of timm's ``create_model``, such as ``img_size`` of a Swin transformer.

        Raises:
            InvalidValueError: for an unknown name, or a backbone without maps at strides 4, 8, 16 and 32.
            ConfigError: if no pre-trained weights exist for the backbone.
            MissingFileError: if ``weights`` does not exist.
            DataError: if ``weights`` is damaged or of another network.
            DownloadError: if the download of pre-trained weights fails.
        """
        super().__init__()
        _check_name(name)
        self.name = name
        self.freeze_statistics = freeze_statistics
        self.backbone = create_backbone(name=name, pretrained=pretrained, weights=weights, options=options or {})
        self._taps = _pyramid_taps(name, strides=self.backbone.feature_info.reduction())  # type: ignore[union-attr, operator]
        channels = self.backbone.feature_info.channels()  # type: ignore[union-attr, operator]
        c2, c3, c4, c5 = (int(channels[tap]) for tap in self._taps)
        self.channels = (c2, c3, c4, c5)
        self._channels_last = getattr(self.backbone, "output_fmt", None) == "NHWC"
        self._register_normalisation(normalise=normalise)
        _disable_dropout(self.backbone)
        self.train()

    def forward(self, images: UInt8[Tensor, "batch 1 side side"]) -> tuple[Float[Tensor, "batch _ _ _"], ...]:
        """C2..C5, in this order, of grey radiographs with values 0..255.

        Raises:
            TypeError: for images that are not uint8, whose range is unknown.
            InvalidValueError: for images too small for this backbone.
        """
        if images.dtype != torch.uint8:
            raise TypeError(f"expected uint8 images, got {images.dtype}; normalisation happens in the encoder")
        smallest = _SMALLEST_SIDES.get(self.name.partition(".")[0], 0)
        if images.shape[-1] < smallest:
            raise InvalidValueError(f"{self.name} needs images of {smallest} px or more, got {images.shape[-1]} px")
        with recomputed_norms(self.backbone):
            features = self.backbone(images.to(self.scale.dtype) * self.scale + self.shift)
        taken = [features[tap] for tap in self._taps]
        return tuple(feature.permute(0, 3, 1, 2) for feature in taken) if self._channels_last else tuple(taken)

    def train(self, mode: bool = True) -> "Encoder":  # noqa: FBT001, FBT002  # torch's signature
        """Switch between training and evaluation mode; frozen statistics stay frozen in both."""
        super().train(mode)
        if self.freeze_statistics:
            for module in self.backbone.modules():
                if isinstance(module, _BATCH_NORMS):
                    module.eval()
        return self

    def _register_normalisation(self, *, normalise: bool) -> None:
        """As buffers, so that a checkpoint carries the normalisation that it was trained with."""
        config = self.backbone.pretrained_cfg
        mean = torch.tensor(config["mean"] if normalise else (0.0,) * 3).view(1, 3, 1, 1)  # type: ignore[index]
        std = torch.tensor(config["std"] if normalise else (1.0,) * 3).view(1, 3, 1, 1)  # type: ignore[index]
        self.register_buffer("scale", 1 / (255 * std))
        self.register_buffer("shift", -mean / std)


def _check_name(name: str) -> None:
    """Refuse a name that timm does not know, and name the closest that it does."""
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        close = get_close_matches(architecture, timm.list_models(), n=5) or "none"
        raise InvalidValueError(f"timm has no backbone {name!r}; closest: {close}")
    tags = [known.partition(".")[2] for known in timm.list_pretrained(f"{architecture}.*")]
    if tag and tag not in tags:
        raise InvalidValueError(f"timm has no weights {tag!r} for the backbone {architecture!r}; it has {tags}")


def _pyramid_taps(name: str, *, strides: list[int]) -> tuple[int, ...]:
    """Positions of C2..C5 among a backbone's feature maps: the deepest map of each stride."""
    if missing := [stride for stride in STRIDES if stride not in strides]:
        raise InvalidValueError(
            f"the backbone {name!r} has feature maps of strides {strides}; an encoder needs 4, 8, 16 and 32, "
            f"and {missing} are missing: choose a hierarchical backbone"
        )
    return tuple(len(strides) - 1 - strides[::-1].index(stride) for stride in STRIDES)


def _disable_dropout(backbone: nn.Module) -> None:
    """The paper has dropout in the heads only, but some of timm's backbones bring their own."""
    for module in backbone.modules():
        if isinstance(module, nn.Dropout | nn.Dropout2d):
            module.p = 0.0
        elif isinstance(module, DropPath):
            module.drop_prob = 0.0
