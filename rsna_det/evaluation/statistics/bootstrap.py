"""Bootstrap intervals over true patients, and the paired difference of two ways of predicting the same images.

Patients are resampled instead of images, since the images of one person are correlated. A mean over images is resampled
as its sum and its count, to which images that do not count (NaN) add nothing. The intervals cover the choice of
patients, and that of the training run only if its errors are passed in.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int

from rsna_det.errors import InvalidValueError

# Resamples in memory at once.
_TOGETHER = 64


@dataclass(frozen=True, kw_only=True)
class Interval:
    """An estimate and the bounds of its interval."""

    estimate: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.estimate:.4f} ({self.low:.4f} to {self.high:.4f})"


@dataclass(frozen=True, kw_only=True)
class Difference(Interval):
    """A paired difference, with the two-sided p-value of no difference.

    ``standard_error`` is the standard deviation over resamples of the patients, without errors of other sources.
    """

    standard_error: float
    p_value: float


@dataclass(frozen=True, kw_only=True)
class ImageContributions:
    """What each image contributes to the sum and to the count of a mean.

    An image that counts in only some of several splits or seeds contributes a fraction to the count.

    Attributes:
        sums: contribution of each image to the sum.
        counts: to the count.
    """

    sums: Float64[np.ndarray, " images"]
    counts: Float64[np.ndarray, " images"]

    @classmethod
    def of(cls, scores: Float[np.ndarray, " images"]) -> "ImageContributions":
        """The contributions of scores, NaN where an image does not count."""
        counted = ~np.isnan(scores)
        return cls(sums=np.where(counted, scores, 0.0).astype(np.float64), counts=counted.astype(np.float64))

    @classmethod
    def mean(cls, parts: Sequence["ImageContributions"]) -> "ImageContributions":
        """The mean of several contributions of the same images."""
        sums = np.mean([part.sums for part in parts], axis=0)
        return cls(sums=sums, counts=np.mean([part.counts for part in parts], axis=0))

    def of_images(self, chosen: Bool[np.ndarray, " images"]) -> "ImageContributions":
        """The contributions of some of the images."""
        return ImageContributions(sums=self.sums[chosen], counts=self.counts[chosen])

    @property
    def value(self) -> float:
        """The mean itself; NaN if no image counts."""
        return float(_ratio(self.sums.sum(), self.counts.sum()))

    def __len__(self) -> int:
        return len(self.sums)


def bootstrap_mean(
    scores: Float[np.ndarray, " images"] | ImageContributions,
    *,
    true_patients: Sequence[str],
    resamples: int,
    seed: int,
    level: float = 0.95,
    further_errors: Float64[np.ndarray, " resamples"] | None = None,
) -> Interval:
    """The mean over the images that count, with its percentile interval.

    Args:
        scores: of each image, NaN where it does not count; or the images' contributions.
        true_patients: of each image.
        resamples: of the patients, with replacement.
        seed: of the resampling.
        level: of the interval.
        further_errors: drawn from a source other than the patients, one for each resample, and added to it.

    Returns:
        NaN throughout if no image counts. Resamples in which none counts are left out.

    Raises:
        InvalidValueError: for fewer than one resample.
        ValueError: for lists of unequal length, no image or a level out of range.
    """
    owners, patients = _owners(true_patients, len(scores), resamples, level)
    sums, counts = _sums_and_counts(scores, owners, patients)
    means = np.concatenate([_ratio(w @ sums, w @ counts) for w in _weights(patients, resamples, seed)])
    low, high = _bounds(_with_errors(means, further_errors), level)
    return Interval(estimate=float(_ratio(sums.sum(), counts.sum())), low=low, high=high)


def paired_difference(
    first: Float[np.ndarray, " images"] | ImageContributions,
    second: Float[np.ndarray, " same_images"] | ImageContributions,
    *,
    true_patients: Sequence[str],
    resamples: int,
    seed: int,
    level: float = 0.95,
    further_errors: Float64[np.ndarray, " resamples"] | None = None,
) -> Difference:
    """Mean of ``first`` minus mean of ``second`` over the same images, resampled with the same patients for both.

    Each mean is over the images that count in it: an image without boxes may count for one detector only.
    Arguments and errors as those of :func:`bootstrap_mean`.
    """
    if len(first) != len(second):
        raise ValueError(f"a paired difference needs the same images, got {len(first)} and {len(second)}")
    owners, patients = _owners(true_patients, len(first), resamples, level)
    one, two = (_sums_and_counts(scores, owners, patients) for scores in (first, second))
    estimate = float(_ratio(one[0].sum(), one[1].sum()) - _ratio(two[0].sum(), two[1].sum()))
    drawn = [
        _ratio(w @ one[0], w @ one[1]) - _ratio(w @ two[0], w @ two[1]) for w in _weights(patients, resamples, seed)
    ]
    over_patients = np.concatenate(drawn)
    differences = _with_errors(over_patients, further_errors)
    low, high = _bounds(differences, level)
    known = ~np.isnan(differences)
    return Difference(
        estimate=estimate,
        low=low,
        high=high,
        standard_error=float(over_patients[known].std()) if known.any() else float("nan"),
        p_value=_p_value(differences[known]),
    )


def _with_errors(
    values: Float64[np.ndarray, " resamples"], errors: Float64[np.ndarray, " _errors"] | None
) -> Float64[np.ndarray, " resamples"]:
    if errors is None:
        return values
    if len(errors) != len(values):
        raise ValueError(f"expected a further error for each of {len(values)} resamples, got {len(errors)}")
    return np.asarray(values + errors)


def _owners(
    true_patients: Sequence[str], images: int, resamples: int, level: float
) -> tuple[Int[np.ndarray, " images"], int]:
    """The number of each image's patient, and the number of patients."""
    if len(true_patients) != images or not images:
        raise ValueError(f"expected the patient of each of {images} images (1 or more), got {len(true_patients)}")
    if resamples < 1:
        raise InvalidValueError(f"expected 1 resample of the patients or more, got {resamples}")
    if not 0 < level < 1:
        raise ValueError(f"expected a level between 0 and 1, got {level}")
    names, owners = np.unique(np.asarray(true_patients, dtype=str), return_inverse=True)
    return owners, len(names)


def _sums_and_counts(
    scores: Float[np.ndarray, " images"] | ImageContributions, owners: Int[np.ndarray, " images"], patients: int
) -> tuple[Float64[np.ndarray, " patients"], Float64[np.ndarray, " patients"]]:
    own = scores if isinstance(scores, ImageContributions) else ImageContributions.of(scores)
    sums = np.bincount(owners, weights=own.sums, minlength=patients)
    return sums, np.bincount(owners, weights=own.counts, minlength=patients)


def _weights(patients: int, resamples: int, seed: int) -> Iterator[Float64[np.ndarray, "_ patients"]]:
    """How often each patient is drawn in each resample, several resamples at a time."""
    generator = np.random.default_rng(seed)
    for start in range(0, resamples, _TOGETHER):
        drawn = [generator.integers(patients, size=patients) for _ in range(min(_TOGETHER, resamples - start))]
        yield np.stack([np.bincount(row, minlength=patients) for row in drawn]).astype(np.float64)


def _ratio(sums: Float64[np.ndarray, "*n"] | float, counts: Float64[np.ndarray, "*n"] | float) -> np.ndarray:
    counts = np.asarray(counts, dtype=np.float64)
    ratio: np.ndarray = np.divide(sums, counts, out=np.full(counts.shape, np.nan), where=counts > 0)
    return ratio


def _bounds(values: Float64[np.ndarray, " resamples"], level: float) -> tuple[float, float]:
    known = values[~np.isnan(values)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _p_value(differences: Float64[np.ndarray, " resamples"]) -> float:
    """Twice the share of resamples on the other side of 0, the observed sample included."""
    if not len(differences):
        return float("nan")
    below, above = np.count_nonzero(differences <= 0), np.count_nonzero(differences >= 0)
    return float(min(1.0, 2 * (1 + min(below, above)) / (1 + len(differences))))
