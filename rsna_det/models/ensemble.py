"""Head outputs of several members -> one, per anchor and before decoding (paper, section 7, figure 9)."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import logsigmoid

from rsna_det.errors import ConfigError
from rsna_det.structures import BoxDeltas, HeadOutputs, Windows

_MARGIN = 1e-3
LOW, HIGH = 0.2, 0.8
"""The percentiles of the members' box sizes whose distance is their spread (paper, section 6)."""


def combine(members: Sequence[HeadOutputs], *, score_floor: float = 0.0) -> HeadOutputs:
    """The mean of several members' outputs for the same batch.

    Box scores and global classes are averaged as probabilities, box deltas as they are; all in float64 and rounded
    once, so that one member, or several equal ones, give that member's box outputs bit for bit. A member without the
    global head is left out of the global class.

    Args:
        members: outputs of each.
        score_floor: an anchor that no member scores higher keeps the highest of its members' logits in place of their
            mean: neither makes it a candidate, and such anchors are nearly all of them.

    Raises:
        ConfigError: if the members' feature maps differ.
        ValueError: if there is no member, or their batches differ.
    """
    _check_alike(members)
    first = members[0]
    known = [member.global_logits for member in members if member.global_logits is not None]
    return HeadOutputs(
        box_logits=_mean_logits([member.box_logits for member in members], score_floor=score_floor),
        box_deltas=_MeanDeltas([member.box_deltas for member in members]),
        global_logits=_over_members(_log_of_mean, known) if known else None,
        feature_sizes=first.feature_sizes,
    )


def with_percentile_sizes(combined: HeadOutputs, *, members: Sequence[HeadOutputs], size_scale: float) -> HeadOutputs:
    """The combined outputs with smaller boxes, for a test set labelled by the consensus of several readers.

    Each anchor's dw and dh become p20 + (p20 - p80) * ``size_scale``, with linearly interpolated 20th and 80th
    percentiles over members: the less the members agree on a size, the smaller it gets (paper, section 6).

    Args:
        combined: of :func:`combine`.
        members: that were combined.
        size_scale: multiple of the spread that is subtracted; 1.6 in the paper.

    Raises:
        ConfigError: as :func:`combine`.
        ValueError: likewise, or if the scale is negative.
    """
    if not size_scale >= 0:
        raise ValueError(f"got a size_scale of {size_scale}; expected 0 or more")
    _check_alike([combined, *members])
    return replace(
        combined, box_deltas=_PercentileDeltas([member.box_deltas for member in members], size_scale=size_scale)
    )


class _MeanDeltas(BoxDeltas):
    """The mean over members, computed where it is asked for."""

    def __init__(self, members: Sequence[BoxDeltas]) -> None:
        self.members = tuple(members)

    def at(
        self, *, image: Int[Tensor, " wanted"], anchor: Int[Tensor, " wanted"], windows: Windows | None = None
    ) -> Float[Tensor, "wanted 4"]:
        found = [member.at(image=image, anchor=anchor, windows=windows) for member in self.members]
        return self._combined(torch.stack(found))

    def dense(self) -> Float[Tensor, "batch anchors 4"]:
        # Image by image, to bound the memory.
        per_image = zip(*(member.dense() for member in self.members), strict=True)
        return torch.stack([self._combined(torch.stack(members)) for members in per_image])

    def _combined(self, deltas: Float[Tensor, "members anchors 4"]) -> Float[Tensor, "anchors 4"]:
        return deltas.double().mean(dim=0).float()


class _PercentileDeltas(_MeanDeltas):
    """The mean place, and a size by the percentile rule."""

    def __init__(self, members: Sequence[BoxDeltas], *, size_scale: float) -> None:
        super().__init__(members)
        self.size_scale = size_scale

    def _combined(self, deltas: Float[Tensor, "members anchors 4"]) -> Float[Tensor, "anchors 4"]:
        # torch.quantile is limited to 16 million numbers.
        in_order = deltas[..., 2:].double().sort(dim=0).values
        low, high = _percentile(in_order, LOW), _percentile(in_order, HIGH)
        sizes = (low + (low - high) * self.size_scale).float()
        return torch.cat([super()._combined(deltas)[:, :2], sizes], dim=-1)


def _check_alike(members: Sequence[HeadOutputs]) -> None:
    if not members:
        raise ValueError("expected one member or more, got none")
    first = members[0]
    for number, member in enumerate(members[1:], start=2):
        if member.feature_sizes != first.feature_sizes:
            raise ConfigError(
                f"member {number} has feature maps of {member.feature_sizes}, the first of {first.feature_sizes}: the "
                "members of an ensemble must share their anchors, so combine checkpoints of the same image size, "
                "pyramid levels and strides"
            )
        if member.box_logits.shape != first.box_logits.shape:
            raise ValueError(
                f"member {number} has outputs of shape {tuple(member.box_logits.shape)}, the first of "
                f"{tuple(first.box_logits.shape)}: run all members on the same batch"
            )


def _over_members(
    function: Callable[[Tensor], Tensor], values: Sequence[Float[Tensor, "*shape"]]
) -> Float[Tensor, "*shape"]:
    """The function of [members, *shape] in float64, image by image to bound the memory."""
    return torch.stack([function(torch.stack(image).double()).float() for image in zip(*values, strict=True)])


def _mean_logits(
    members: Sequence[Float[Tensor, "batch anchors 1"]], *, score_floor: float
) -> Float[Tensor, "batch anchors 1"]:
    """The logits of the mean probabilities, where these can be above the floor."""
    highest = members[0].clone(memory_format=torch.contiguous_format)
    for member in members[1:]:
        highest = highest.maximum(member)
    # With a margin for the rounding of scores and logits.
    lowest_logit = math.log(score_floor / (1 - score_floor)) - _MARGIN if 0 < score_floor < 1 else -math.inf
    (chosen,) = (highest >= lowest_logit).flatten().nonzero(as_tuple=True)
    if len(chosen) == highest.numel():
        return _over_members(_logit_of_mean, members)
    logits = torch.stack([member.flatten()[chosen] for member in members])
    highest.view(-1)[chosen] = _logit_of_mean(logits.double()).float()
    return highest


def _logit_of_mean(logits: Float[Tensor, "members ..."]) -> Float[Tensor, "..."]:
    """The logit of the mean probability, by logarithms: probabilities near 0 or 1 lose digits."""
    mean = logsigmoid(logits).logsumexp(dim=0) - logsigmoid(-logits).logsumexp(dim=0)
    # Cancellation near 0 would change the last bits of equal members.
    lowest, highest = logits.aminmax(dim=0)
    return torch.where(lowest == highest, lowest, mean)


def _log_of_mean(logits: Float[Tensor, "members classes"]) -> Float[Tensor, " classes"]:
    """Logarithms of the mean probabilities up to a constant, which softmax removes."""
    return logits.log_softmax(dim=1).logsumexp(dim=0)


def _percentile(in_order: Float[Tensor, "members anchors numbers"], share: float) -> Float[Tensor, "anchors numbers"]:
    place = share * (len(in_order) - 1)
    below = int(place)
    above = min(below + 1, len(in_order) - 1)
    return in_order[below] + (place - below) * (in_order[above] - in_order[below])
