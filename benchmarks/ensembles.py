"""Combining the outputs of an ensemble's members, at the anchors that can matter and at all."""

import torch

from benchmarks.measure import Work, alternating_medians
from rsna_det.boxes.anchors import pyramid_anchors
from rsna_det.boxes.decoding import candidates
from rsna_det.models.ensemble import combine, with_percentile_sizes
from rsna_det.structures import Candidates, DenseDeltas, HeadOutputs

MEMBERS = (8, 16)
ANCHORS = 196_560
SCORE_FLOOR, MAX_CANDIDATES, SIZE_SCALE = 0.025, 300, 1.6
_SIDE, _LEVELS = 512, range(2, 8)
_SIZES = tuple((_SIDE // 2**level,) * 2 for level in _LEVELS)
_LIKELY = 400
"""Anchors around an opacity, which a trained member scores up to 0.9; it scores all others below 0.02."""


def milliseconds_per_image(*, members: int, repeats: int) -> tuple[float, float]:
    """Of the two tables of candidates, with mean sizes and by the percentile rule: at few anchors, and at all."""
    outputs = trained_outputs(members)
    works: list[Work] = [lambda: both_tables(outputs, score_floor=SCORE_FLOOR), lambda: everywhere(outputs)]
    ours, all_anchors = alternating_medians(works, repeats=repeats)
    return 1000 * ours, 1000 * all_anchors


def both_tables(outputs: list[HeadOutputs], *, score_floor: float) -> tuple[Candidates, Candidates]:
    """The candidates of an ensemble, with mean sizes and by the percentile rule."""
    mean = combine(outputs, score_floor=score_floor)
    return _table(mean), _table(with_percentile_sizes(mean, members=outputs, size_scale=SIZE_SCALE))


def everywhere(outputs: list[HeadOutputs]) -> tuple[Candidates, Candidates]:
    """The same, from every anchor's mean score and box."""
    mean = combine(outputs)
    smaller = with_percentile_sizes(mean, members=outputs, size_scale=SIZE_SCALE)
    return _table(_dense(mean)), _table(_dense(smaller))


def trained_outputs(members: int) -> list[HeadOutputs]:
    """One image's outputs as those of trained members: scores above the floor at a few hundred anchors."""
    generator = torch.Generator().manual_seed(0)
    likely = torch.randperm(ANCHORS, generator=generator)[:_LIKELY]
    found = []
    for _ in range(members):
        logits = -6 + 0.5 * torch.randn(1, ANCHORS, 1, generator=generator)
        logits[:, likely] = 2.5 * torch.randn(1, _LIKELY, 1, generator=generator) - 3
        deltas = DenseDeltas(values=torch.randn(1, ANCHORS, 4, generator=generator))
        found.append(HeadOutputs(box_logits=logits, box_deltas=deltas, global_logits=None, feature_sizes=_SIZES))
    return found


def _dense(outputs: HeadOutputs) -> HeadOutputs:
    return HeadOutputs(
        box_logits=outputs.box_logits,
        box_deltas=DenseDeltas(values=outputs.box_deltas.dense()),
        global_logits=None,
        feature_sizes=outputs.feature_sizes,
    )


def _table(outputs: HeadOutputs) -> Candidates:
    return candidates(
        outputs=outputs,
        anchors=pyramid_anchors(image_size=_SIDE, feature_sizes=_SIZES, levels=_LEVELS),
        image_size=_SIDE,
        source_sizes=torch.tensor([[1024, 1024]]),
        score_floor=SCORE_FLOOR,
        max_candidates=MAX_CANDIDATES,
    )
