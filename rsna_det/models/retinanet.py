"""The paper's network: a RetinaNet with a head for the category of the whole image."""

from collections.abc import Sequence

from jaxtyping import UInt8
from torch import Tensor, nn

from rsna_det.models.encoder import Encoder
from rsna_det.models.heads import BoxClassHead, BoxRegressionHead, GlobalHead, RegressedDeltas, at_least_float32
from rsna_det.models.pyramid import FeaturePyramid
from rsna_det.structures import HeadOutputs


class MultiTaskRetinaNet(nn.Module):
    """Encoder, pyramid and heads (paper, section 4); losses and decoding stand outside.

    Attributes:
        levels: numbers of the pyramid's levels, finest first; anchors are laid out for these.
    """

    levels: tuple[int, ...]

    def __init__(
        self,
        *,
        encoder: Encoder,
        width: int,
        levels: Sequence[int],
        dropout_global: float,
        dropout_box: float,
        global_head: bool,
    ) -> None:
        """Assemble the network.

        Args:
            encoder: images -> C2..C5.
            width: channels of the pyramid and of both box heads; the global head has its own 256.
            levels: consecutive numbers of the pyramid's levels, within 2..7 and with 5 among them.
            dropout_global: dropout of the global head (the paper's dropout).
            dropout_box: dropout of the box-class head (the published code has one there as well).
            global_head: False for a plain detector, whose ``global_logits`` are None.

        Raises:
            InvalidValueError: for a width, levels or dropout out of range.
        """
        super().__init__()
        self.encoder = encoder
        self.pyramid = FeaturePyramid(in_channels=encoder.channels, width=width, levels=levels)
        self.levels = self.pyramid.levels
        self.box_class_head = BoxClassHead(width=width, dropout=dropout_box)
        self.box_regression_head = BoxRegressionHead(width=width)
        head = GlobalHead(in_channels=encoder.channels[-1], dropout=dropout_global) if global_head else None
        self.global_head = head

    def forward(self, images: UInt8[Tensor, "batch 1 side side"]) -> HeadOutputs:
        """Outputs of every anchor and of the whole image for grey radiographs, in float32 at any lower precision.

        The boxes are computed where somebody asks for them; the outputs hold the pyramid until then.
        """
        features = self.encoder(images)
        pyramid = self.pyramid(features)
        return HeadOutputs(
            box_logits=at_least_float32(self.box_class_head(pyramid)),
            box_deltas=RegressedDeltas(head=self.box_regression_head, pyramid=pyramid),
            global_logits=None if self.global_head is None else at_least_float32(self.global_head(features[-1])),
            feature_sizes=tuple((level.shape[-2], level.shape[-1]) for level in pyramid),
        )
