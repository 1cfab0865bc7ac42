"""What it would take to tell a small difference from zero: more images, more folds, more seeds."""

import math
from statistics import NormalDist
from typing import Any

from rsna_det.evaluation.statistics.training_noise import FEWEST_SEEDS, TrainingNoise

LEVEL = 0.05
"""A difference whose p-value is below is said to be told from zero."""

POWER = 0.8
"""Share of the samples in which the difference is to be told."""

SMALL_DIFFERENCE = 0.005
"""What lies between neighbours in the paper's table 3."""


def error_needed(difference: float, *, comparisons: int = 1) -> float:
    """Standard error at which a difference is told from zero at 5% in four samples of five.

    Args:
        difference: that is to be told from zero, above 0.
        comparisons: among which Holm's correction is made; the strictest level of its steps is taken.
    """
    normal = NormalDist()
    return difference / (normal.inv_cdf(1 - LEVEL / comparisons / 2) + normal.inv_cdf(POWER))


def times_as_many_images(
    standard_error: float, *, difference: float, training_error: float = 0.0, comparisons: int = 1
) -> float:
    """How many times the images a difference would need.

    Args:
        standard_error: of the difference over the images that there are.
        difference: that is to be told from zero, above 0.
        training_error: of the difference, of what seeds add on all images alike: more images leave it as it is.
        comparisons: as of :func:`error_needed`.

    Returns:
        Infinity if the common part of the training noise alone hides the difference.
    """
    left = error_needed(difference, comparisons=comparisons) ** 2 - training_error**2
    return standard_error**2 / left if left > 0 else math.inf


def seeds_needed(
    noise: TrainingNoise, *, standard_error: float, difference: float, seeds: int, comparisons: int = 1
) -> float:
    """How many seeds of each of two variants a difference would need on the images that there are.

    Args:
        noise: of training; more seeds make both of its parts smaller.
        standard_error: of the difference over the images that there are, with ``seeds`` of each variant.
        difference: that is to be told from zero, above 0.
        seeds: that there are.
        comparisons: as of :func:`error_needed`.

    Returns:
        A whole number; infinity if the choice of images alone hides the difference.
    """
    of_images = max(0.0, standard_error**2 - 2 * noise.by_image**2 / seeds)
    left = error_needed(difference, comparisons=comparisons) ** 2 - of_images
    return max(1.0, float(math.ceil(2 * noise.deviation**2 / left))) if left > 0 else math.inf


def requirements(
    *, standard_error: float, noise: TrainingNoise | None, images: int, folds: int, seeds: int, comparisons: int
) -> str:
    """The statement of power for :data:`SMALL_DIFFERENCE`, in sentences.

    Args:
        standard_error: of a difference between two variants, over patients.
        noise: of training, None if it is not known.
        images: that were predicted.
        folds: whose images they are.
        seeds: of each variant.
        comparisons: that Holm's correction is made for.
    """
    if not standard_error > 0:
        return "What a small difference would take cannot be said: the variants differ on no image."
    task = f"To tell a difference of {SMALL_DIFFERENCE:g} from zero four times in five"
    task += f", as one of {comparisons} comparisons," if comparisons > 1 else ""
    asked: dict[str, Any] = {"difference": SMALL_DIFFERENCE, "comparisons": comparisons}
    training_error = noise.common_error(seeds, seeds) if noise else 0.0
    times = times_as_many_images(standard_error, training_error=training_error, **asked)
    if math.isinf(times):
        by_images = f"{task} no number of images would do with {seeds} seeds"
    else:
        by_images = (
            f"{task} would take about {times * images:,.0f} images ({times:.1f} times the {images:,} of "
            f"{_counted(folds, 'fold')} here, or {_counted(math.ceil(times * folds), 'fold')} of this size)"
        )
    if noise is None:
        by_seeds = (
            "training noise comes on top, and how many seeds that takes cannot be said with fewer than "
            f"{FEWEST_SEEDS} of each variant"
        )
    else:
        needed = seeds_needed(noise, standard_error=standard_error, seeds=seeds, **asked)
        by_seeds = (
            "on these images alone no number of seeds would do"
            if math.isinf(needed)
            else f"on these images it would take {_counted(int(needed), 'seed')} of each variant"
        )
    return f"{by_images}; {by_seeds}."


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
