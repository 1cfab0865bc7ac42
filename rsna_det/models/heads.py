"""The three heads: box class and box regression on every level of the pyramid, global class on C5."""

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from rsna_det.boxes.anchors import ANCHORS_PER_CELL
from rsna_det.errors import InvalidValueError
from rsna_det.models.pyramid import init_convolutions
from rsna_det.models.windows import plan_windows
from rsna_det.structures import BoxDeltas, Category, WindowGroup, Windows

PRIOR = 0.01
"""Score of every anchor before training, so that negatives do not dominate the first steps (focal loss)."""

_TOWER_DEPTH = 4
_SMALLEST_POOLED = 3


class BoxHead(nn.Module):
    """Four 3x3 convolutions with ReLU, dropout, and a 3x3 convolution to the outputs of a cell's anchors.

    All levels share one head, whose last convolution starts at zero.
    """

    def __init__(self, *, width: int, outputs: int, dropout: float) -> None:
        """Create the convolutions.

        Args:
            width: channels of the pyramid and of the hidden layers.
            outputs: numbers per anchor.
            dropout: probability, after the hidden layers.

        Raises:
            InvalidValueError: for a dropout outside [0, 1).
        """
        super().__init__()
        self.outputs = outputs
        layers: list[nn.Module] = []
        for _ in range(_TOWER_DEPTH):
            layers += [nn.Conv2d(width, width, 3, padding=1), nn.ReLU(inplace=True)]
        self.tower = nn.Sequential(*layers)
        self.dropout = nn.Dropout(checked_dropout(dropout))
        self.last = nn.Conv2d(width, ANCHORS_PER_CELL * outputs, 3, padding=1)
        init_convolutions(self)
        nn.init.zeros_(self.last.weight)

    def forward(self, pyramid: Sequence[Float[Tensor, "batch width _ _"]]) -> Float[Tensor, "batch anchors outputs"]:
        """The outputs of all anchors, in the order of level, row, column and the cell's anchors."""
        maps = [in_float32(self.last, self.dropout(self.tower(level))) for level in pyramid]
        # Views bring the cells to the front, so that joining the levels is the only copy.
        cells = torch.cat([level.flatten(2).transpose(1, 2) for level in maps], dim=1)
        return cells.reshape(len(cells), -1, self.outputs)


class BoxClassHead(BoxHead):
    """Logit of an opacity at each anchor; its bias starts at the logit of :data:`PRIOR`."""

    def __init__(self, *, width: int, dropout: float) -> None:
        super().__init__(width=width, outputs=1, dropout=dropout)
        nn.init.constant_(self.last.get_parameter("bias"), -math.log((1 - PRIOR) / PRIOR))


class BoxRegressionHead(BoxHead):
    """Box relative to its anchor (see :mod:`rsna_det.boxes.coding`); no dropout (published code)."""

    def __init__(self, *, width: int) -> None:
        super().__init__(width=width, outputs=4, dropout=0.0)

    def at(
        self,
        pyramid: Sequence[Float[Tensor, "batch width _ _"]],
        *,
        image: Int[Tensor, " wanted"],
        anchor: Int[Tensor, " wanted"],
        windows: Windows | None = None,
    ) -> Float[Tensor, "wanted 4"]:
        """The outputs of some anchors alone: those of :meth:`forward`, from windows around the anchors' cells.

        Every parameter has a gradient, of zero where no anchor is wanted: distributed training waits for it.

        Args:
            pyramid: the levels' maps.
            image: number of the image within the batch.
            anchor: number of the anchor, in the order of :meth:`forward`.
            windows: of :func:`~rsna_det.models.windows.plan_windows` for these, on the device of the maps; None to plan
                them now.
        """
        if windows is None:
            sizes = [(level.shape[-2], level.shape[-1]) for level in pyramid]
            windows = plan_windows(image=image.cpu().numpy(), anchor=anchor.cpu().numpy(), feature_sizes=sizes)
            windows = windows.to(pyramid[0].device, non_blocking=True)
        if not windows.groups:
            # A convolution of no image costs nothing.
            nothing = in_float32(self.last, self.tower(pyramid[-1][:0]))
            return nothing.reshape(0, self.outputs)
        places = torch.split(windows.places, [group.wanted for group in windows.groups], dim=1)
        found = [self._in_group(pyramid, group, own) for group, own in zip(windows.groups, places, strict=True)]
        return torch.cat(found)[windows.order]

    def _in_group(
        self,
        pyramid: Sequence[Float[Tensor, "batch width _ _"]],
        group: WindowGroup,
        places: Int[Tensor, "4 own"],
    ) -> Float[Tensor, "own 4"]:
        """The outputs at places of windows of one size."""
        crops = [
            pyramid[level][image].narrow(1, top, group.height).narrow(2, left, group.width)
            for level, image, top, left in group.corners
        ]
        maps = in_float32(self.last, self.tower(torch.stack(crops)))
        outputs = torch.unflatten(maps, 1, (ANCHORS_PER_CELL, self.outputs))
        window, within, row, column = places
        found: Tensor = outputs[window, within, :, row, column]
        return found


class RegressedDeltas(BoxDeltas):
    """Boxes that the regression head computes where they are asked for, exactly as for all anchors at once.

    Args:
        head: of the network.
        pyramid: the maps of a batch.
    """

    def __init__(self, *, head: BoxRegressionHead, pyramid: Sequence[Float[Tensor, "batch width _ _"]]) -> None:
        self.head = head
        self.pyramid = tuple(pyramid)
        self._device = self.pyramid[0].device.type
        # They may be asked for outside the block of mixed precision in which the network ran.
        self._mixed = torch.get_autocast_dtype(self._device) if _is_mixed(self._device) else None

    def at(
        self, *, image: Int[Tensor, " wanted"], anchor: Int[Tensor, " wanted"], windows: Windows | None = None
    ) -> Float[Tensor, "wanted 4"]:
        """See :meth:`BoxDeltas.at`."""
        with self._precision():
            return at_least_float32(self.head.at(self.pyramid, image=image, anchor=anchor, windows=windows))

    def dense(self) -> Float[Tensor, "batch anchors 4"]:
        """See :meth:`BoxDeltas.dense`."""
        with self._precision():
            return at_least_float32(self.head(self.pyramid))

    def _precision(self) -> AbstractContextManager[object]:
        return nullcontext() if self._mixed is None else torch.autocast(self._device, dtype=self._mixed)


def _is_mixed(device: str) -> bool:
    return device != "meta" and torch.is_autocast_enabled(device)


def in_float32(layer: nn.Module, features: Float[Tensor, "*features"]) -> Float[Tensor, "*outputs"]:
    """The outputs of a head's last layer, which mixed precision would round to 8 or 11 bits.

    Measured on the outputs, bfloat16 in the last layers costs 0.34 standard deviations, float16 0.03.
    """
    device = features.device.type
    exact = features.float() if _is_mixed(device) else features
    with torch.autocast(device, enabled=False) if _is_mixed(device) else nullcontext():
        outputs: Tensor = layer(exact)
    return outputs


def at_least_float32(tensor: Tensor) -> Tensor:
    """The tensor in float32, or in float64 if it is."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


class GlobalHead(nn.Module):
    """Category of the whole image from C5 (paper, section 4.4; layers of the published code).

    Max-pool 2, 3x3 convolution without padding, ReLU, global average and maximum, dropout, linear layer.
    """

    def __init__(self, *, in_channels: int, dropout: float, width: int = 256) -> None:
        """Create the layers.

        Args:
            in_channels: channels of C5.
            dropout: probability, before the linear layer.
            width: channels of the convolution, independent of the pyramid's.

        Raises:
            InvalidValueError: for a dropout outside [0, 1).
        """
        super().__init__()
        self.convolution = nn.Conv2d(in_channels, width, 3)
        self.dropout = nn.Dropout(checked_dropout(dropout))
        self.linear = nn.Linear(2 * width, len(Category))
        init_convolutions(self)

    def forward(self, c5: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch 3"]:
        """Logits of the categories. A pooled map smaller than 3x3 (images below 192 pixels) is zero-padded to it."""
        # A map of one cell cannot be halved; rounding up keeps it.
        pooled = functional.max_pool2d(c5, 2, ceil_mode=min(c5.shape[-2:]) == 1)
        features = functional.relu(self.convolution(_padded(pooled)))
        joined = torch.cat([features.mean(dim=(2, 3)), features.amax(dim=(2, 3))], dim=1)
        return in_float32(self.linear, self.dropout(joined))


def checked_dropout(probability: float) -> float:
    """The probability itself.

    Raises:
        InvalidValueError: if it is outside [0, 1).
    """
    if not 0 <= probability < 1:
        raise InvalidValueError(f"expected a dropout probability in [0, 1), got {probability}")
    return probability


def _padded(pooled: Float[Tensor, "batch channels _ _"]) -> Float[Tensor, "batch channels _ _"]:
    """The map padded with zeros to at least 3x3, the smallest input of an unpadded 3x3 convolution."""
    missing_y, missing_x = (max(0, _SMALLEST_POOLED - size) for size in pooled.shape[-2:])
    if not (missing_y or missing_x):
        return pooled
    left, top = missing_x // 2, missing_y // 2
    return functional.pad(pooled, (left, missing_x - left, top, missing_y - top))
