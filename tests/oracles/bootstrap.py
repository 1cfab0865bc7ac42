"""The bootstrap over patients, one resample at a time.

A resample draws as many patients as there are, with replacement, and takes all images of each drawn patient as often as
the patient is drawn. A mean is over the images that count (not NaN); a resample without any is left out.
"""

import math
import random
from collections.abc import Sequence


def mean(scores: Sequence[float]) -> float:
    """Mean of the scores that count, NaN if none does."""
    counting = [score for score in scores if not math.isnan(score)]
    return sum(counting) / len(counting) if counting else math.nan


def resampled_means(
    *, lists: Sequence[Sequence[float]], patients: Sequence[str], resamples: int, seed: int
) -> list[tuple[float, ...]]:
    """Means of each of several lists of scores of the same images, for every resample of the patients."""
    rng = random.Random(seed)  # noqa: S311
    images: dict[str, list[int]] = {}
    for image, patient in enumerate(patients):
        images.setdefault(patient, []).append(image)
    names, results = list(images), []
    for _ in range(resamples):
        drawn = [image for _ in names for image in images[rng.choice(names)]]
        means = tuple(mean([scores[image] for image in drawn]) for scores in lists)
        if not any(math.isnan(value) for value in means):
            results.append(means)
    return results


def percentile(values: Sequence[float], share: float) -> float:
    """Between the two nearest of the sorted values, in proportion."""
    ordered = sorted(values)
    position = share * (len(ordered) - 1)
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (position - below) * (ordered[above] - ordered[below])
