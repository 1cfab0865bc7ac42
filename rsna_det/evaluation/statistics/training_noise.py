"""How far runs that differ in nothing but their seed lie apart, and what of it an interval over patients leaves out.

Two runs of one method disagree on single images, and one may be better than the other on all of them. Resampled
patients hold the first, like all that differs from image to image: more images make it smaller. The second they cannot
show, and no number of images makes it smaller.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from rsna_det.evaluation.statistics.bootstrap import ImageContributions

FEWEST_SEEDS = 3
"""Of every variant, for its noise to be seen."""


@dataclass(frozen=True, kw_only=True)
class TrainingNoise:
    """The noise of one run's score on given images, the same for all variants of a study.

    Attributes:
        common: standard deviation of what a seed adds on all images alike.
        by_image: standard deviation of what a seed adds image by image, in the mean over these images.
        freedom: degrees of freedom of the estimate.
    """

    common: float
    by_image: float
    freedom: int

    @classmethod
    def estimated(
        cls, variants: Mapping[str, Sequence[ImageContributions]], *, true_patients: Sequence[str]
    ) -> "TrainingNoise | None":
        """Divide the variance between seeds into its parts, pooled over the variants.

        Args:
            variants: what each image adds, seed by seed; all of the same images in the same order.
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
        """Standard deviation of one seed's score on these images, of both kinds."""
        return math.hypot(self.common, self.by_image)

    def common_error(self, *seeds: int) -> float:
        """Standard error of the common part in a mean over so many seeds; of two numbers, in the difference of two."""
        return self.common * math.sqrt(sum(1 / count for count in seeds))

    def common_errors(self, *seeds: int, draws: int, seed: int) -> Float64[np.ndarray, " draws"]:
        """Draw such errors, with Student's tails: the deviation itself is estimated."""
        drawn = np.random.default_rng([seed, 1]).standard_t(self.freedom, size=draws)
        return np.asarray(drawn * self.common_error(*seeds), np.float64)


def _between(seeds: Sequence[ImageContributions]) -> float:
    """Sum of squares of the seeds' scores about their mean."""
    scores = [seed.value for seed in seeds]
    return float(np.square(np.subtract(scores, np.mean(scores))).sum())


def _by_image(seeds: Sequence[ImageContributions], true_patients: Sequence[str]) -> float:
    """The part of that sum which the patients explain, each by how the seeds differ on it beyond their scores."""
    _, owners = np.unique(np.asarray(true_patients, dtype=str), return_inverse=True)
    patients = owners.max() + 1
    if patients == 1:
        return 0.0
    # What a patient adds beyond its seed's own mean: a seed that is better on all images alike adds nothing.
    beyond = np.stack([np.bincount(owners, seed.sums - seed.value * seed.counts) for seed in seeds])
    squares = float(np.square(beyond - beyond.mean(axis=0)).sum())
    images = float(np.mean([seed.counts.sum() for seed in seeds]))
    return float(squares / images**2 * patients / (patients - 1))
