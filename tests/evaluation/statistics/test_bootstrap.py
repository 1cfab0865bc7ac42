"""The bootstrap over patients: by enumeration, by a loop, and by how often its intervals hold the truth."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from rsna_det.errors import InvalidValueError
from rsna_det.evaluation.statistics.bootstrap import Interval, bootstrap_mean, paired_difference
from tests.oracles import bootstrap as oracle

NAN = math.nan


def simulated(rng: np.random.Generator, *, patients: int, spread: float) -> tuple[np.ndarray, list[str]]:
    """Patients of one or four images, those of four scoring higher; a third of the images do not count."""
    sizes = rng.choice([1, 4], size=patients)
    owner = np.repeat(np.arange(patients), sizes)
    means = np.where(sizes == 4, 0.5, 0.3) + rng.normal(0, spread, size=patients)
    scores = means[owner] + rng.normal(0, 0.1, size=len(owner))
    scores[rng.uniform(size=len(owner)) < 1 / 3] = NAN
    return scores, [f"patient {k}" for k in owner]


MEAN_OF_SIMULATED = (0.3 + 4 * 0.5) / 5


def bounds(interval: Interval) -> tuple[float, float, float]:
    return interval.estimate, interval.low, interval.high


def test_the_intervals_hold_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(70)
    held = {0.95: 0, 0.8: 0}
    for seed in range(300):
        scores, patients = simulated(rng, patients=100, spread=0.2)
        for level in held:
            found = bootstrap_mean(scores, true_patients=patients, resamples=400, seed=seed, level=level)
            held[level] += found.low <= MEAN_OF_SIMULATED <= found.high
    assert 0.91 <= held[0.95] / 300 <= 0.98
    assert 0.74 <= held[0.8] / 300 <= 0.86


def test_correlated_images_make_the_interval_wider() -> None:
    rng = np.random.default_rng(71)
    owner = np.repeat(np.arange(80), 5)
    alike = rng.normal(0, 1, size=80)[owner] + rng.normal(0, 0.1, size=400)
    unlike = rng.permutation(alike)
    patients, images = [f"p{k}" for k in owner], [f"i{k}" for k in range(400)]

    def width(scores: np.ndarray, names: list[str]) -> float:
        found = bootstrap_mean(scores, true_patients=names, resamples=2000, seed=0)
        assert found.low < found.estimate < found.high
        return found.high - found.low

    # Five images that say the same are worth one: the error is sqrt(5) times as large.
    assert width(alike, patients) / width(alike, images) == pytest.approx(math.sqrt(5), rel=0.2)
    assert width(unlike, patients) / width(unlike, images) == pytest.approx(1, rel=0.2)


def test_a_higher_level_is_a_wider_interval() -> None:
    scores, patients = simulated(np.random.default_rng(72), patients=60, spread=0.2)
    levels = [0.01, 0.5, 0.8, 0.95, 0.99]
    found = [bootstrap_mean(scores, true_patients=patients, resamples=1000, seed=4, level=level) for level in levels]
    widths = [interval.high - interval.low for interval in found]
    assert widths == sorted(widths)
    assert len({interval.estimate for interval in found}) == 1


def test_the_definition_by_an_independent_loop() -> None:
    for seed in range(3):
        scores, patients = simulated(np.random.default_rng(80 + seed), patients=25, spread=0.3)
        found = bootstrap_mean(scores, true_patients=patients, resamples=8000, seed=seed, level=0.9)
        means = [
            m for (m,) in oracle.resampled_means(lists=[scores.tolist()], patients=patients, resamples=3000, seed=seed)
        ]
        assert found.estimate == pytest.approx(oracle.mean(scores.tolist()), abs=1e-12)
        width = found.high - found.low
        assert found.low == pytest.approx(oracle.percentile(means, 0.05), abs=0.07 * width)
        assert found.high == pytest.approx(oracle.percentile(means, 0.95), abs=0.07 * width)


@pytest.mark.parametrize(
    ("scores", "level", "low", "high"),
    [
        # Two patients: means 0, 1/2, 1 with probabilities 1/4, 1/2, 1/4.
        ([0.0, 1.0], 0.95, 0.0, 1.0),
        ([0.0, 1.0], 0.4, 0.5, 0.5),
        # A third that never counts is drawn all the same: of 26 resamples that count 7 are 0, 3 are 1/3, 6 are 1/2.
        ([0.0, 1.0, NAN], 0.4, 1 / 3, 2 / 3),
        ([0.0, 1.0, NAN], 0.5, 0.0, 1.0),
        ([0.0, 1.0, NAN], 0.1, 0.5, 0.5),
        ([0.25, NAN, NAN, NAN], 0.95, 0.25, 0.25),
        ([0.25], 0.95, 0.25, 0.25),
    ],
)
def test_small_sets_by_enumeration(scores: list[float], level: float, low: float, high: float) -> None:
    names = [f"p{k}" for k in range(len(scores))]
    found = bootstrap_mean(np.array(scores), true_patients=names, resamples=20000, seed=1, level=level)
    assert bounds(found) == pytest.approx((np.nanmean(scores), low, high))


def test_a_patient_counts_by_its_images() -> None:
    # One patient with three images of 1, one with one of 0: means 0, 3/4, 1 with probabilities 1/4, 1/2, 1/4.
    found = bootstrap_mean(
        np.array([1.0, 0.0, 1.0, 1.0]), true_patients=["p", "q", "p", "p"], resamples=20000, seed=1, level=0.3
    )
    assert bounds(found) == pytest.approx((0.75, 0.75, 0.75))
    found = bootstrap_mean(np.array([1.0, NAN]), true_patients=["p", "p"], resamples=10, seed=1)
    assert bounds(found) == (1.0, 1.0, 1.0)


@pytest.mark.filterwarnings("error")
def test_where_no_image_counts_everything_is_nan() -> None:
    nothing, names = np.array([NAN, NAN]), ["p", "q"]
    assert all(math.isnan(value) for value in bounds(bootstrap_mean(nothing, true_patients=names, resamples=9, seed=0)))
    found = paired_difference(nothing, np.array([0.5, 1.0]), true_patients=names, resamples=9, seed=0)
    assert all(math.isnan(value) for value in bounds(found))


def test_the_seed_decides() -> None:
    scores, patients = simulated(np.random.default_rng(73), patients=50, spread=0.2)
    first, again, other = (
        bounds(bootstrap_mean(scores, true_patients=patients, resamples=300, seed=seed)) for seed in (1, 1, 2)
    )
    assert first == again
    assert first[0] == other[0]
    assert first[1:] != other[1:]


def test_a_run_does_not_differ_from_itself() -> None:
    scores, patients = simulated(np.random.default_rng(74), patients=50, spread=0.2)
    found = paired_difference(scores, scores.copy(), true_patients=patients, resamples=500, seed=0)
    assert (*bounds(found), found.p_value) == (0.0, 0.0, 0.0, 1.0)


def test_the_difference_changes_its_sign_with_the_order() -> None:
    rng = np.random.default_rng(75)
    first, patients = simulated(rng, patients=50, spread=0.2)
    second = first + rng.normal(0.02, 0.1, size=len(first))
    second[rng.uniform(size=len(first)) < 0.2] = 0.0  # counts for the second only, where the first was NaN
    one = paired_difference(first, second, true_patients=patients, resamples=999, seed=0)
    two = paired_difference(second, first, true_patients=patients, resamples=999, seed=0)
    assert one.estimate == pytest.approx(np.nanmean(first) - np.nanmean(second), abs=1e-12)
    assert (one.estimate, one.low, one.high) == pytest.approx((-two.estimate, -two.high, -two.low), abs=1e-12)
    assert one.p_value == pytest.approx(two.p_value)


def test_the_difference_by_an_independent_loop() -> None:
    rng = np.random.default_rng(76)
    first, patients = simulated(rng, patients=30, spread=0.3)
    second = np.where(rng.uniform(size=len(first)) < 0.3, NAN, np.nan_to_num(first) + rng.normal(0, 0.1, len(first)))
    found = paired_difference(first, second, true_patients=patients, resamples=8000, seed=0)
    pairs = oracle.resampled_means(lists=[first.tolist(), second.tolist()], patients=patients, resamples=3000, seed=0)
    differences, width = [one - two for one, two in pairs], found.high - found.low
    assert found.low == pytest.approx(oracle.percentile(differences, 0.025), abs=0.08 * width)
    assert found.high == pytest.approx(oracle.percentile(differences, 0.975), abs=0.08 * width)


def test_pairing_detects_a_true_shift() -> None:
    rng = np.random.default_rng(77)
    first, patients = simulated(rng, patients=150, spread=0.3)
    second = first + 0.02 + rng.normal(0, 0.05, size=len(first))
    found = paired_difference(second, first, true_patients=patients, resamples=2000, seed=0)
    assert found.low > 0
    assert 0 < found.p_value < 0.01
    assert found.low < found.estimate < found.high
    alone = [bootstrap_mean(scores, true_patients=patients, resamples=500, seed=0) for scores in (first, second)]
    assert alone[0].high > alone[1].low  # their own intervals overlap


def test_false_positives_are_as_frequent_as_chance() -> None:
    rng = np.random.default_rng(78)
    values, outside = [], 0
    for seed in range(150):
        scores, patients = simulated(rng, patients=80, spread=0.2)
        effect = dict(zip(dict.fromkeys(patients), rng.normal(0, 0.1, size=80), strict=False))
        other = scores + [effect[name] for name in patients]
        found = paired_difference(other, scores, true_patients=patients, resamples=400, seed=seed)
        assert 0 < found.p_value <= 1
        excluded = not found.low <= 0 <= found.high
        assert (found.p_value < 0.04) <= excluded <= (found.p_value < 0.06)  # the interval and p agree
        values.append(found.p_value)
        outside += excluded
    assert 0.01 <= outside / 150 <= 0.10
    assert 0.4 <= np.mean(np.array(values) < 0.5) <= 0.6


def paired(scores: np.ndarray, **rest: object) -> Interval:
    return paired_difference(scores, scores, **rest)  # type: ignore[arg-type]


@pytest.mark.parametrize("function", [bootstrap_mean, paired])
@pytest.mark.parametrize(
    "wrong",
    [
        {"true_patients": ["p"]},
        {"true_patients": ["p", "q", "r"]},
        {"resamples": 0},
        {"resamples": -5},
        {"level": 0.0},
        {"level": 1.0},
        {"level": -0.5},
        {"level": 95.0},
        {"level": NAN},
    ],
)
def test_wrong_arguments_are_refused(function: Callable[..., Interval], wrong: dict[str, object]) -> None:
    messages = {
        "true_patients": (ValueError, "patient of each of 2 images"),
        "resamples": (InvalidValueError, "1 resample of the patients or more"),
        "level": (ValueError, "a level between 0 and 1"),
    }
    kind, message = messages[next(iter(wrong))]
    with pytest.raises(kind, match=message):
        function(np.array([0.5, 1.0]), **({"true_patients": ["p", "q"], "resamples": 10, "seed": 0} | wrong))
    with pytest.raises(ValueError, match=r"each of 0 images \(1 or more\), got 0"):
        function(np.array([]), true_patients=[], resamples=10, seed=0)


def test_two_lists_of_unequal_length_are_refused() -> None:
    with pytest.raises((ValueError, TypeError)):
        paired_difference(np.array([0.5, 1.0]), np.array([0.5]), true_patients=["p", "q"], resamples=10, seed=0)
