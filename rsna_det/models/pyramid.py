"""Feature pyramid network: C2..C5 -> maps of equal width at some of the levels P2..P7."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from rsna_det.errors import InvalidValueError

FINEST, DEEPEST_ENCODED, COARSEST = 2, 5, 7


class FeaturePyramid(nn.Module):
    """Lin et al.'s pyramid as RetinaNet has it: P6 from C5, P7 from P6, no normalisation (published code).

    Attributes:
        levels: numbers of its levels, finest first.
    """

    def __init__(self, *, in_channels: Sequence[int], width: int, levels: Sequence[int]) -> None:
        """Create the convolutions.

        Args:
            in_channels: channels of C2, C3, C4, C5.
            width: channels of every level.
            levels: consecutive numbers from 2..5 to 5..7, such as 3, 4, 5, 6, 7 for a pyramid without P2.

        Raises:
            InvalidValueError: for other levels, or a width below 1.
        """
        super().__init__()
        self.levels = checked_levels(levels)
        if width < 1:
            raise InvalidValueError(f"model.width is {width}; expected 1 or more")
        encoded = list(in_channels)[self.levels[0] - FINEST :]
        self.laterals = nn.ModuleList([nn.Conv2d(channels, width, 1) for channels in encoded])
        self.outputs = nn.ModuleList([nn.Conv2d(width, width, 3, padding=1) for _ in encoded])
        coarse_inputs = [encoded[-1], width][: self.levels[-1] - DEEPEST_ENCODED]
        self.coarse = nn.ModuleList([nn.Conv2d(channels, width, 3, stride=2, padding=1) for channels in coarse_inputs])
        init_convolutions(self)

    def forward(self, features: Sequence[Float[Tensor, "batch _ _ _"]]) -> tuple[Float[Tensor, "batch width _ _"], ...]:
        """The pyramid's maps, finest first, of C2..C5.

        A coarser map is resized to the exact size of the finer one, since unpadded convolutions in some encoders give
        sizes that are not multiples of each other (61 above 124 in Inception-ResNet-v2 at 512 px).
        """
        used = features[self.levels[0] - FINEST :]
        merged = [lateral(feature) for lateral, feature in zip(self.laterals, used, strict=True)]
        for finer in range(len(merged) - 2, -1, -1):
            coarser = functional.interpolate(merged[finer + 1], size=merged[finer].shape[-2:], mode="nearest")
            merged[finer] = merged[finer] + coarser
        maps = [output(feature) for output, feature in zip(self.outputs, merged, strict=True)]
        return (*maps, *self._coarse_maps(features[-1]))

    def _coarse_maps(self, c5: Float[Tensor, "batch _ _ _"]) -> list[Float[Tensor, "batch width _ _"]]:
        """P6 and P7, as far as ``levels`` has them."""
        maps: list[Tensor] = []
        for convolution in self.coarse:
            maps.append(convolution(functional.relu(maps[-1]) if maps else c5))
        return maps


def checked_levels(levels: Sequence[int]) -> tuple[int, ...]:
    """The levels as a tuple.

    Raises:
        InvalidValueError: if they are not consecutive, begin outside 2..5 or end outside 5..7.
    """
    given = tuple(levels)
    if not given or given != tuple(range(given[0], given[0] + len(given))):
        raise InvalidValueError(
            f"model.levels is {list(given)}; expected consecutive pyramid levels such as 3, 4, 5, 6, 7"
        )
    if not FINEST <= given[0] <= DEEPEST_ENCODED <= given[-1] <= COARSEST:
        raise InvalidValueError(f"model.levels is {list(given)}; expected pyramid levels from 2..5 to 5..7")
    return given


def init_convolutions(module: nn.Module) -> None:
    """He-normal weights (fan-out) and zero biases in all convolutions of a module, as in the published code."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)
