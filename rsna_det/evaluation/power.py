"""What it would take to tell a small difference from zero: more images, more folds, more seeds."""

import math
from statistics import NormalDist

from rsna_det.evaluation.training_noise import FEWEST_SEEDS, TrainingNoise

LEVEL = 0.05
"""A difference whose p-value is below is said to be told from zero."""

POWER = 0.8
"""Share of the samples in which the difference is to be told."""

SMALL_DIFFERENCE = 0.005
"""What lies between neighbours in the paper's table 3."""


def error_needed(difference: float) -> float:
    """Standard error at which a difference is told from zero at 5% in four samples of five.

    Args:
        difference: that is to be told from zero, above 0.
    """
    return difference / (NormalDist().inv_cdf(1 - LEVEL / 2) + NormalDist().inv_cdf(POWER))


def times_as_many_images(standard_error: float, *, difference: float, training_error: float = 0.0) -> float:
    """How many times the images a difference would need.

    Args:
        standard_error: of the difference over the images that there are.
        difference: that is to be told from zero, above 0.
        training_error: of the difference over training runs, which more images leave as it is.

    Returns:
        Infinity if training noise alone hides the difference.
    """
    left = error_needed(difference) ** 2 - training_error**2
    return standard_error**2 / left if left > 0 else math.inf


def seeds_needed(noise: TrainingNoise, *, standard_error: float, difference: float) -> float:
    """How many seeds of each of two variants a difference would need on the images that there are.

    Arguments as those of :func:`times_as_many_images`.

    Returns:
        A whole number; infinity if the choice of images alone hides the difference.
    """
    left = error_needed(difference) ** 2 - standard_error**2
    return max(1.0, float(math.ceil(2 * noise.deviation**2 / left))) if left > 0 else math.inf


def requirements(*, standard_error: float, noise: TrainingNoise | None, images: int, folds: int, seeds: int) -> str:
    """The statement of power for :data:`SMALL_DIFFERENCE`, in sentences.

    Args:
        standard_error: of a difference between two variants, over patients.
        noise: of training, None if it is not known.
        images: that were predicted.
        folds: whose images they are.
        seeds: of each variant.
    """
    task = f"To tell a difference of {SMALL_DIFFERENCE:g} from zero four times in five"
    training_error = noise.standard_error(seeds, seeds) if noise else 0.0
    times = times_as_many_images(standard_error, difference=SMALL_DIFFERENCE, training_error=training_error)
    if math.isinf(times):
        by_images = f"{task}, no number of images would do with {seeds} seeds"
    else:
        own_folds = f"{folds} fold{'s' if folds > 1 else ''}"
        by_images = (
            f"{task} would take about {times * images:,.0f} images ({times:.1f} times the {images:,} of {own_folds} "
            f"here, or {math.ceil(times * folds):,} folds of this size)"
        )
    if noise is None:
        by_seeds = (
            "training noise comes on top, and how many seeds that takes cannot be said with fewer than "
            f"{FEWEST_SEEDS} of each variant"
        )
    else:
        needed = seeds_needed(noise, standard_error=standard_error, difference=SMALL_DIFFERENCE)
        by_seeds = (
            "on these images alone no number of seeds would do"
            if math.isinf(needed)
            else f"on these images it would take {needed:.0f} seeds of each variant"
        )
    return f"{by_images}; {by_seeds}."
