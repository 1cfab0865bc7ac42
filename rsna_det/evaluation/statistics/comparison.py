"""Variants of a study compared with its baseline on the same images: paired differences, intervals and p-values.

Every variant's epoch and cut are chosen honestly (see :mod:`rsna_det.evaluation.selection`), with the same halves of
the patients. The p-values of several comparisons with one baseline are adjusted by Holm's method.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from torch import Tensor

from rsna_det.evaluation.candidate_rows import CandidateRows
from rsna_det.evaluation.grid import Grid, image_scores_at_cuts
from rsna_det.evaluation.selection import best_point
from rsna_det.evaluation.statistics.bootstrap import ImageContributions, bootstrap_mean, paired_difference
from rsna_det.evaluation.statistics.training_noise import TrainingNoise


def honest_contributions(
    *,
    grid: Grid,
    halves: Bool[Tensor, "halves images"],
    candidates: Callable[[int], CandidateRows],
    truths: Sequence[Float[Tensor, "_ 4"]],
    relative_cut: float,
    rescale_factor: float,
) -> ImageContributions:
    """What each image contributes to the honest mean: its score at the grid point chosen on the half without it.

    Args:
        grid: over the halves as groups.
        halves: of :func:`~rsna_det.evaluation.selection.patient_halves`.
        candidates: of every image at an epoch of the grid.
        truths: true boxes of each image, source pixels.
        relative_cut: as the grid was scored with.
        rescale_factor: likewise.

    Returns:
        The mean over splits.

    Raises:
        ValueError: if no image of a half counts at any grid point.
    """
    chosen = [best_point(grid, group=group) for group in range(len(halves))]
    sums, counts = np.zeros(halves.shape[1]), np.zeros(halves.shape[1])
    for epoch, nms_iou in sorted({(point.epoch, point.nms_iou) for point in chosen}):
        own = [group for group, point in enumerate(chosen) if (point.epoch, point.nms_iou) == (epoch, nms_iou)]
        scores = image_scores_at_cuts(
            rows=candidates(epoch),
            truths=truths,
            cuts=[chosen[group].cut for group in own],
            nms_iou=nms_iou,
            relative_cut=relative_cut,
            rescale_factor=rescale_factor,
        ).numpy()
        for column, group in enumerate(own):
            own_scores = ImageContributions.of(scores[:, column])
            reported = halves[group ^ 1].numpy()
            sums += own_scores.sums * reported
            counts += own_scores.counts * reported
    splits = len(halves) / 2
    return ImageContributions(sums=sums / splits, counts=counts / splits)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Variants compared with a baseline.

    Attributes:
        baseline: the variant that the others are compared with.
        table: one row per variant: ``variant``, ``map``, ``map_low``, ``map_high``, ``difference``, ``difference_low``,
            ``difference_high``, ``standard_error`` (of the difference, over patients), ``training_error`` (of the
            difference, from the noise common to all images; NaN if unknown), ``p_value`` and ``p_holm``; the last two
            are NaN for the baseline.
        images: that were predicted.
        seeds: of the variant with the fewest.
        noise: of training, which intervals and p-values then include; None if there are too few seeds to estimate it.
    """

    baseline: str
    table: pd.DataFrame
    images: int
    seeds: int
    noise: TrainingNoise | None


def compare(
    variants: Mapping[str, Sequence[ImageContributions]],
    *,
    baseline: str,
    true_patients: Sequence[str],
    resamples: int,
    seed: int,
) -> Comparison:
    """Every variant's mean, and its paired difference from the baseline.

    Args:
        variants: by name, the images' contributions of each seed; all of the same images in the same order. A
            variant's seeds are averaged image by image.
        baseline: the variant that the others are compared with.
        true_patients: of each image.
        resamples: of the patients, the same for all variants.
        seed: of the resampling.

    Raises:
        ValueError: if the baseline is not among the variants, or a variant has no seed or another number of images.
    """
    if baseline not in variants:
        raise ValueError(f"the baseline {baseline} is not among the variants {', '.join(variants)}")
    if not all(variants.values()):
        raise ValueError("expected one seed or more of every variant")
    noise = TrainingNoise.estimated(variants, true_patients=true_patients)
    draw = {"true_patients": true_patients, "resamples": resamples, "seed": seed}
    rows = [{"variant": name} | _row(own, variants[baseline], noise, draw) for name, own in variants.items()]
    table = pd.DataFrame(rows)
    table.loc[table["variant"] == baseline, ["training_error", "p_value"]] = math.nan
    return Comparison(
        baseline=baseline,
        table=table.assign(p_holm=holm(table["p_value"].to_numpy(np.float64))),
        images=len(true_patients),
        seeds=min(map(len, variants.values())),
        noise=noise,
    )


def _row(
    own: Sequence[ImageContributions],
    base: Sequence[ImageContributions],
    noise: TrainingNoise | None,
    draw: Mapping[str, Any],
) -> dict[str, float]:
    """A variant's mean, and its difference from the baseline: for the baseline itself 0, without noise."""
    errors = {"draws": draw["resamples"], "seed": draw["seed"]}
    alone = noise.common_errors(len(own), **errors) if noise else None
    against = noise.common_errors(len(own), len(base), **errors) if noise and own is not base else None
    contributions = ImageContributions.mean(own)
    mean = bootstrap_mean(contributions, further_errors=alone, **draw)
    more = paired_difference(contributions, ImageContributions.mean(base), further_errors=against, **draw)
    return {
        "map": mean.estimate,
        "map_low": mean.low,
        "map_high": mean.high,
        "difference": more.estimate,
        "difference_low": more.low,
        "difference_high": more.high,
        "standard_error": more.standard_error,
        "training_error": noise.common_error(len(own), len(base)) if noise else math.nan,
        "p_value": more.p_value,
    }


def holm(p_values: Float[np.ndarray, " comparisons"]) -> Float[np.ndarray, " comparisons"]:
    """Holm's step-down adjustment, which bounds the probability of any false positive; NaN stays."""
    corrected = np.full(len(p_values), np.nan)
    known = np.flatnonzero(~np.isnan(p_values))
    highest = 0.0
    for rank, index in enumerate(known[np.argsort(p_values[known], kind="stable")]):
        highest = max(highest, min(1.0, float(p_values[index]) * (len(known) - rank)))
        corrected[index] = highest
    return corrected
