"""Power: the images, folds and seeds that it takes to detect a small difference."""

import math
from statistics import NormalDist
from typing import Any

from rsna_det.evaluation.statistics.training_noise import FEWEST_SEEDS, TrainingNoise

LEVEL = 0.05
"""Significance level: a difference is significant if its p-value is below."""

POWER = 0.8
"""Probability with which a difference is to be detected."""

SMALL_DIFFERENCE = 0.005
"""The distance between neighbours in the paper's table 3."""


def error_needed(difference: float, *, comparisons: int = 1) -> float:
    """Standard error at which a difference is detected with :data:`POWER` at :data:`LEVEL`.

    Args:
        difference: to detect, above 0.
        comparisons: that Holm's correction is made for; the strictest of its levels is taken.
    """
    normal = NormalDist()
    return difference / (normal.inv_cdf(1 - LEVEL / comparisons / 2) + normal.inv_cdf(POWER))


def times_as_many_images(
    standard_error: float, *, difference: float, training_error: float = 0.0, comparisons: int = 1
) -> float:
    """The factor by which the number of images must grow to detect a difference.

    Args:
        standard_error: of the difference, over the present images.
        difference: to detect, above 0.
        training_error: of the difference, from the noise common to all images, which more images do not reduce.
        comparisons: as of :func:`error_needed`.

    Returns:
        Infinity if that noise alone hides the difference.
    """
    left = error_needed(difference, comparisons=comparisons) ** 2 - training_error**2
    return standard_error**2 / left if left > 0 else math.inf


def seeds_needed(
    noise: TrainingNoise, *, standard_error: float, difference: float, seeds: int, comparisons: int = 1
) -> float:
    """The seeds of each of two variants that it takes to detect a difference on the present images.

    Args:
        noise: of training; more seeds reduce both of its parts.
        standard_error: of the difference over the present images, with ``seeds`` of each variant.
        difference: to detect, above 0.
        seeds: present number of each variant.
        comparisons: as of :func:`error_needed`.

    Returns:
        A whole number; infinity if the variation between images alone hides the difference.
    """
    of_images = max(0.0, standard_error**2 - 2 * noise.by_image**2 / seeds)
    left = error_needed(difference, comparisons=comparisons) ** 2 - of_images
    return max(1.0, float(math.ceil(2 * noise.deviation**2 / left))) if left > 0 else math.inf


def requirements(
    *, standard_error: float, noise: TrainingNoise | None, images: int, folds: int, seeds: int, comparisons: int
) -> str:
    """What it takes to detect :data:`SMALL_DIFFERENCE`, as a sentence.

    Args:
        standard_error: of a difference between two variants, over patients.
        noise: of training; None if unknown.
        images: that were predicted.
        folds: of these images.
        seeds: of each variant.
        comparisons: that Holm's correction is made for.
    """
    if not standard_error > 0:
        return "The power cannot be estimated, since the variants do not differ on any image."
    task = f"To detect a difference of {SMALL_DIFFERENCE:g} with {POWER:.0%} power at the {LEVEL:.0%} level"
    task += f" (Holm-adjusted for {comparisons} comparisons)" if comparisons > 1 else ""
    asked: dict[str, Any] = {"difference": SMALL_DIFFERENCE, "comparisons": comparisons}
    training_error = noise.common_error(seeds, seeds) if noise else 0.0
    times = times_as_many_images(standard_error, training_error=training_error, **asked)
    if math.isinf(times):
        by_images = f"no number of images suffices with {_counted(seeds, 'seed')} per variant"
    else:
        by_images = (
            f"the study needs about {times * images:,.0f} images ({times:.1f} times the {images:,} images of "
            f"{_counted(folds, 'fold')} here, or {_counted(math.ceil(times * folds), 'fold')} of this size)"
        )
    if noise is None:
        by_seeds = (
            f"training noise comes on top, and with fewer than {FEWEST_SEEDS} seeds per variant the number of seeds "
            "needed cannot be estimated"
        )
    else:
        needed = seeds_needed(noise, standard_error=standard_error, seeds=seeds, **asked)
        by_seeds = (
            "on the present images no number of seeds suffices"
            if math.isinf(needed)
            else f"on the present images it needs {_counted(int(needed), 'seed')} per variant"
        )
    return f"{task}, {by_images}; {by_seeds}."


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
