"""Variants of one study against a baseline, on the same images: which differences can be told from zero.

Every variant's epoch and cut are chosen honestly (see :mod:`rsna_det.evaluation.selection`), by the same halves of the
same patients. Several comparisons with one baseline are corrected by Holm's method.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import NormalDist

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from torch import Tensor

from rsna_det.evaluation.predictions import CandidateRows
from rsna_det.evaluation.selection import best_cell
from rsna_det.evaluation.thresholds import Grid, image_scores_at_cuts
from rsna_det.evaluation.uncertainty import Difference, ImageShares, bootstrap_mean, paired_difference

LEVEL = 0.05
"""A difference whose corrected p-value is below is said to be told from zero."""

POWER = 0.8
"""Of the samples that :func:`times_as_many_images` speaks of, how many would tell the difference."""

SMALL_DIFFERENCE = 0.005
"""What lies between neighbours in the paper's table 3."""

_SEEDS_TO_SEE_NOISE = 3


def honest_shares(
    *,
    grid: Grid,
    halves: Bool[Tensor, "halves images"],
    candidates: Callable[[int], CandidateRows],
    truths: Sequence[Float[Tensor, "_ 4"]],
    relative_cut: float,
    rescale_factor: float,
) -> ImageShares:
    """What each image adds to the honest mean: its score in the cell that was chosen on the half without it.

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
        ValueError: if no image of a half counts in any cell.
    """
    chosen = [best_cell(grid, group=group) for group in range(len(halves))]
    sums, counts = np.zeros(halves.shape[1]), np.zeros(halves.shape[1])
    for epoch, nms_iou in sorted({(cell.epoch, cell.nms_iou) for cell in chosen}):
        own = [group for group, cell in enumerate(chosen) if (cell.epoch, cell.nms_iou) == (epoch, nms_iou)]
        scores = image_scores_at_cuts(
            rows=candidates(epoch),
            truths=truths,
            cuts=[chosen[group].cut for group in own],
            nms_iou=nms_iou,
            relative_cut=relative_cut,
            rescale_factor=rescale_factor,
        ).numpy()
        for column, group in enumerate(own):
            shares = ImageShares.of(scores[:, column])
            reported = halves[group ^ 1].numpy()
            sums += shares.sums * reported
            counts += shares.counts * reported
    splits = len(halves) / 2
    return ImageShares(sums=sums / splits, counts=counts / splits)


def compare(
    variants: Mapping[str, ImageShares],
    *,
    baseline: str,
    true_patients: Sequence[str],
    resamples: int,
    seed: int,
) -> pd.DataFrame:
    """Every variant's mean, and its paired difference to the baseline.

    Args:
        variants: what each image adds, by name; all of the same images in the same order.
        baseline: the variant that the others are held against.
        true_patients: of each image.
        resamples: of the patients, the same for all.
        seed: of the resampling.

    Returns:
        One row a variant in the mapping's order: ``variant``, ``map``, ``map_low``, ``map_high``, ``difference``,
        ``difference_low``, ``difference_high``, ``standard_error`` (of the difference), ``p_value`` and ``p_holm``,
        the last two NaN for the baseline.

    Raises:
        ValueError: if the baseline is not among the variants, or one is of another number of images.
    """
    if baseline not in variants:
        raise ValueError(f"the baseline {baseline} is not among the variants {', '.join(variants)}")
    options = {"true_patients": true_patients, "resamples": resamples, "seed": seed}
    rows = []
    for name, shares in variants.items():
        mean = bootstrap_mean(shares, **options)  # type: ignore[arg-type]
        more: Difference = paired_difference(shares, variants[baseline], **options)  # type: ignore[arg-type]
        rows.append(
            {
                "variant": name,
                "map": mean.estimate,
                "map_low": mean.low,
                "map_high": mean.high,
                "difference": more.estimate,
                "difference_low": more.low,
                "difference_high": more.high,
                "standard_error": more.standard_error,
                "p_value": math.nan if name == baseline else more.p_value,
            }
        )
    table = pd.DataFrame(rows)
    return table.assign(p_holm=holm(table["p_value"].to_numpy(np.float64)))


def holm(p_values: Float[np.ndarray, " comparisons"]) -> Float[np.ndarray, " comparisons"]:
    """Holm's step-down correction: the chance of one false difference among all stays below the level; NaN stays."""
    corrected = np.full(len(p_values), np.nan)
    known = np.flatnonzero(~np.isnan(p_values))
    highest = 0.0
    for rank, index in enumerate(known[np.argsort(p_values[known], kind="stable")]):
        highest = max(highest, min(1.0, float(p_values[index]) * (len(known) - rank)))
        corrected[index] = highest
    return corrected


def times_as_many_images(standard_error: float, *, difference: float) -> float:
    """How many times the images a difference would need, to be told from zero at 5% in four samples of five.

    Args:
        standard_error: of the difference on the images that there are.
        difference: that is to be told from zero, above 0.
    """
    needed = difference / (NormalDist().inv_cdf(1 - LEVEL / 2) + NormalDist().inv_cdf(POWER))
    return (standard_error / needed) ** 2


def conclusion(table: pd.DataFrame, *, baseline: str, images: int, seeds: int) -> str:
    """What a table of :func:`compare` says and does not say, in sentences.

    Args:
        table: of at least one comparison.
        baseline: as there.
        images: that were predicted.
        seeds: trained for each variant.
    """
    others = table[table["variant"] != baseline]
    told = others[others["p_holm"] < LEVEL]
    named = ", ".join(f"{row.variant} ({row.difference:+.4f})" for row in told.itertuples())
    first = (
        f"Told from zero against {baseline} (Holm, {LEVEL:g}): {named}."
        if named
        else f"No difference to {baseline} can be told from zero (Holm, {LEVEL:g})."
    )
    noise = (
        f"Each variant is the mean of {seeds} seeds."
        if seeds >= _SEEDS_TO_SEE_NOISE
        else f"Training noise is left out: {seeds} seed{'s' if seeds > 1 else ''} a variant do not show it, so that a "
        "difference told from zero may be that of two runs and not of two methods."
    )
    times = times_as_many_images(float(others["standard_error"].median()), difference=SMALL_DIFFERENCE)
    power = (
        f"A difference of {SMALL_DIFFERENCE:g} would take about {times * images:,.0f} images, {times:.1f} times those "
        "here, to be told from zero four times in five."
    )
    return f"{first} {noise} {power}"
