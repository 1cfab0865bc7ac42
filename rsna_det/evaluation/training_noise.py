"""How far runs that differ in nothing but their seed lie apart: what an interval over patients leaves out."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

FEWEST_SEEDS = 3
"""Of every variant, for its noise to be seen."""


@dataclass(frozen=True, kw_only=True)
class TrainingNoise:
    """The noise of one run's score on given images, the same for all variants of a study.

    Attributes:
        deviation: standard deviation of one seed's score.
        freedom: degrees of freedom of its estimate.
    """

    deviation: float
    freedom: int

    @classmethod
    def estimated(cls, scores: Mapping[str, Sequence[float]]) -> "TrainingNoise | None":
        """Pool the variance between seeds over the variants.

        Args:
            scores: of every seed of each variant, all on the same images.

        Returns:
            None if a variant has fewer than :data:`FEWEST_SEEDS` seeds.
        """
        if not scores or min(map(len, scores.values())) < FEWEST_SEEDS:
            return None
        squares = sum(float(np.square(np.subtract(own, np.mean(own))).sum()) for own in scores.values())
        freedom = sum(len(own) - 1 for own in scores.values())
        return cls(deviation=math.sqrt(squares / freedom), freedom=freedom)

    def standard_error(self, *seeds: int) -> float:
        """Of a mean over so many seeds; with two numbers, of the difference between two such means."""
        return self.deviation * math.sqrt(sum(1 / count for count in seeds))

    def errors(self, *seeds: int, draws: int, seed: int) -> Float64[np.ndarray, " draws"]:
        """Draw errors of such a mean or difference, with Student's tails: the deviation itself is estimated."""
        drawn = np.random.default_rng([seed, 1]).standard_t(self.freedom, size=draws)
        return np.asarray(drawn * self.standard_error(*seeds), np.float64)
