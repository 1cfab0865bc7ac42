"""The conclusion of a comparison in words: what is significant, what intervals include, what more it would take."""

from rsna_det.evaluation.statistics.comparison import Comparison
from rsna_det.evaluation.statistics.power import LEVEL, requirements
from rsna_det.evaluation.statistics.training_noise import FEWEST_SEEDS


def conclusion(comparison: Comparison, *, folds: int) -> str:
    """What a comparison shows and what it cannot show, in sentences.

    Args:
        comparison: of two variants or more.
        folds: whose images were predicted.
    """
    table = comparison.table
    others = table[table["variant"] != comparison.baseline]
    needs = requirements(
        standard_error=float(others["standard_error"].median()),
        noise=comparison.noise,
        images=comparison.images,
        folds=folds,
        seeds=comparison.seeds,
        comparisons=len(others),
    )
    return f"{_significance(comparison)} {_training_noise(comparison)} {needs}"


def _significance(comparison: Comparison) -> str:
    significant = comparison.table[comparison.table["p_holm"] < LEVEL]
    named = ", ".join(f"{row.variant} ({row.difference:+.3f})" for row in significant.itertuples())
    rule = f"(Holm-adjusted p < {LEVEL:g})"
    if named:
        return f"Significantly different from {comparison.baseline} {rule}: {named}."
    return f"No significant difference from {comparison.baseline} {rule}."


def _training_noise(comparison: Comparison) -> str:
    seeds, noise = comparison.seeds, comparison.noise
    if noise is None:
        return (
            f"Training noise is not included: estimating it takes {FEWEST_SEEDS} seeds per variant, and there "
            f"{'is 1' if seeds == 1 else f'are {seeds}'}. A significant difference may therefore be one between runs "
            "and not between methods."
        )
    return (
        f"Intervals and p-values include training noise: between seeds ({seeds} or more per variant), the mAP on the "
        f"same images has a standard deviation of {noise.deviation:.4f}, pooled over the variants; the part common to "
        f"all images has {noise.common:.4f}."
    )
