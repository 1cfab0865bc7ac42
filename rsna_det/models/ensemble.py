"""Head outputs of several members -> one, anchor by anchor and before any decoding (paper, section 7, figure 9)."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid

from rsna_det.structures import HeadOutputs

LOW, HIGH = 0.2, 0.8
"""The percentiles of the members' box sizes between which their spread is measured (paper, section 6)."""


def combine(members: Sequence[HeadOutputs]) -> HeadOutputs:
    """The mean of several members' outputs of the same batch.

    Box scores and global classes are means of probabilities, box deltas of numbers; all are taken in float64 and
    rounded once, so that one member, or several equal ones, give that member's box outputs bit for bit. A member
    without the global head has no say in the global class.

    Raises:
        ValueError: if there is no member, or their maps, images or anchors differ.
    """
    _check_alike(members)
    first = members[0]
    known = [member.global_logits for member in members if member.global_logits is not None]
    return HeadOutputs(
        box_logits=_over_members(_logit_of_mean, [member.box_logits for member in members]),
        box_deltas=_over_members(lambda deltas: deltas.mean(dim=0), [member.box_deltas for member in members]),
        global_logits=_over_members(_log_of_mean, known) if known else None,
        feature_sizes=first.feature_sizes,
    )


def with_percentile_sizes(combined: HeadOutputs, *, members: Sequence[HeadOutputs], size_scale: float) -> HeadOutputs:
    """The combined outputs with smaller boxes, as for a test set labelled by the agreement of several readers.

    Of each anchor, dw and dh become p20 + (p20 - p80) * ``size_scale``, with the linearly interpolated 20th and 80th
    percentiles over members: the less the members agree on a size, the smaller it gets (paper, section 6).

    Args:
        combined: what :func:`combine` makes of the members.
        members: as there.
        size_scale: how many times the spread is taken off; 1.6 in the paper.

    Raises:
        ValueError: as :func:`combine`, or if the scale is negative.
    """
    if not size_scale >= 0:
        raise ValueError(f"the spread between members is taken off 0 or more times, got a size_scale of {size_scale}")
    _check_alike([combined, *members])

    def shrink(sizes: Tensor) -> Tensor:
        # Not torch.quantile, which takes no more than 16 million numbers.
        in_order = sizes.sort(dim=0).values
        low, high = _percentile(in_order, LOW), _percentile(in_order, HIGH)
        return low + (low - high) * size_scale

    sizes = _over_members(shrink, [member.box_deltas[..., 2:] for member in members])
    return replace(combined, box_deltas=torch.cat([combined.box_deltas[..., :2], sizes], dim=-1))


def _check_alike(members: Sequence[HeadOutputs]) -> None:
    if not members:
        raise ValueError("an ensemble has one member or more, got none")
    first = members[0]
    for number, member in enumerate(members[1:], start=2):
        if member.feature_sizes != first.feature_sizes:
            raise ValueError(
                f"member {number} has feature maps of {member.feature_sizes} and the first of {first.feature_sizes}: "
                "members of one ensemble share image size, pyramid levels and strides, so that they speak of the "
                "same anchors"
            )
        if member.box_deltas.shape != first.box_deltas.shape:
            raise ValueError(
                f"member {number} has outputs of shape {tuple(member.box_deltas.shape)} and the first of "
                f"{tuple(first.box_deltas.shape)}: give all members the same batch"
            )


def _over_members(
    function: Callable[[Tensor], Tensor], values: Sequence[Float[Tensor, "*shape"]]
) -> Float[Tensor, "*shape"]:
    """What the function makes of [members, *shape] in float64, image after image: the whole batch would be large."""
    return torch.stack([function(torch.stack(image).double()).float() for image in zip(*values, strict=True)])


def _logit_of_mean(logits: Float[Tensor, "members anchors numbers"]) -> Float[Tensor, "anchors numbers"]:
    """The logit of the mean probability; through logarithms, since a probability near 0 or 1 has too few digits."""
    mean = logsigmoid(logits).logsumexp(dim=0) - logsigmoid(-logits).logsumexp(dim=0)
    # Near 0 the difference cancels, and the members' own value would not come back to the bit.
    lowest, highest = logits.aminmax(dim=0)
    return torch.where(lowest == highest, lowest, mean)


def _log_of_mean(logits: Float[Tensor, "members classes"]) -> Float[Tensor, " classes"]:
    """Logarithms of the mean probabilities, up to a constant: softmax gives the mean back."""
    return logits.log_softmax(dim=1).logsumexp(dim=0)


def _percentile(in_order: Float[Tensor, "members anchors numbers"], share: float) -> Float[Tensor, "anchors numbers"]:
    place = share * (len(in_order) - 1)
    below = int(place)
    above = min(below + 1, len(in_order) - 1)
    return in_order[below] + (place - below) * (in_order[above] - in_order[below])
