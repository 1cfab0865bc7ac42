"""Training noise: how much the scores of runs differ by their seed alone, and the part that patients cannot show.

Runs of one method differ on single images, and one run may be better on all of them. Resampling patients covers the
first part, like everything that varies between images: more images reduce it. The second part is common to all images:
resampling cannot show it and more images do not reduce it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from rsna_det.evaluation.statistics.bootstrap import ImageContributions

FEWEST_SEEDS = 3
"""Seeds of every variant that an estimate of the noise takes."""


@dataclass(frozen=True, kw_only=True)
class TrainingNoise:
    """The noise of one run's score on given images, assumed equal for all variants of a study.

    Attributes:
        common: standard deviation of a seed's effect on all images alike.
        by_image: standard deviation of a seed's effects on single images, in the mean over these images.
        freedom: degrees of freedom of the estimate.
    """

    common: float
    by_image: float
    freedom: int

    @classmethod
    def estimated(
        cls, variants: Mapping[str, Sequence[ImageContributions]], *, true_patients: Sequence[str]
    ) -> "TrainingNoise | None":
        """Split the variance between seeds into its parts, pooled over the variants.

        Args:
            variants: the images' contributions of each seed; all of the same images in the same order.
            true_patients: of each image.

        Returns:
            None if a variant has fewer than :data:`FEWEST_SEEDS` seeds.
        """
        if not variants or min(map(len, variants.values())) < FEWEST_SEEDS:
            return None
        freedom = sum(len(seeds) - 1 for seeds in variants.values())
        between = sum(_between(seeds) for seeds in variants.values()) / freedom
        by_image = sum(_by_image(seeds, true_patients) for seeds in variants.values()) / freedom
        return cls(common=math.sqrt(max(0.0, between - by_image)), by_image=math.sqrt(by_image), freedom=freedom)

    @property
    def deviation(self) -> float:
        """Standard deviation of one seed's score on these images, both parts together."""
        return math.hypot(self.common, self.by_image)

    def common_error(self, *seeds: int) -> float:
        """Standard error of the common part in a mean over ``seeds``; of two numbers, in a difference of means."""
        return self.common * math.sqrt(sum(1 / count for count in seeds))

    def common_errors(self, *seeds: int, draws: int, seed: int) -> Float64[np.ndarray, " draws"]:
        """Draw such errors from Student's t, since the standard deviation is estimated."""
        drawn = np.random.default_rng([seed, 1]).standard_t(self.freedom, size=draws)
        return np.asarray(drawn * self.common_error(*seeds), np.float64)


def _between(seeds: Sequence[ImageContributions]) -> float:
    """Sum of squares of the seeds' scores about their mean."""
    scores = [seed.value for seed in seeds]
    return float(np.square(np.subtract(scores, np.mean(scores))).sum())


def _by_image(seeds: Sequence[ImageContributions], true_patients: Sequence[str]) -> float:
    """The part of that sum explained by patients: by how the seeds differ on each, beyond their scores."""
    _, owners = np.unique(np.asarray(true_patients, dtype=str), return_inverse=True)
    patients = owners.max() + 1
    if patients == 1:
        return 0.0
    # A patient's sum beyond its seed's mean: a seed that is better on all images alike adds nothing here.
    beyond = np.stack([np.bincount(owners, seed.sums - seed.value * seed.counts) for seed in seeds])
    squares = float(np.square(beyond - beyond.mean(axis=0)).sum())
    images = float(np.mean([seed.counts.sum() for seed in seeds]))
    return float(squares / images**2 * patients / (patients - 1))
