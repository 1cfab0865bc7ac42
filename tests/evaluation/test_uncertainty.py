"""The bootstrap over true patients: coverage by simulation, pairing, and what it must leave alone."""

import numpy as np
import pytest

from rsna_det.evaluation.uncertainty import bootstrap_mean, paired_difference


def clustered(generator: np.random.Generator, patients: int) -> tuple[np.ndarray, list[str]]:
    """Scores around 0.4 of one to five images a patient, alike within a patient, a third of them not counting."""
    owners = np.repeat(np.arange(patients), generator.integers(1, 6, patients))
    level = generator.normal(0.4, 0.15, patients)
    scores = level[owners] + generator.normal(0, 0.05, len(owners))
    scores[generator.random(len(scores)) < 1 / 3] = np.nan
    return scores, [f"p{owner}" for owner in owners]


def test_95_of_100_intervals_hold_the_truth() -> None:
    generator = np.random.default_rng(0)
    held = []
    for _ in range(400):
        scores, patients = clustered(generator, 60)
        interval = bootstrap_mean(scores, true_patients=patients, resamples=300, seed=int(generator.integers(1 << 30)))
        held.append(interval.low <= 0.4 <= interval.high)
    # Of 400 with 0.95 each the standard error is 0.011.
    assert 0.91 <= np.mean(held) <= 0.98


def test_images_taken_as_patients_would_claim_too_much() -> None:
    scores, patients = clustered(np.random.default_rng(1), 200)
    by_patient = bootstrap_mean(scores, true_patients=patients, resamples=1000, seed=0)
    by_image = bootstrap_mean(scores, true_patients=[str(i) for i in range(len(scores))], resamples=1000, seed=0)
    assert by_patient.estimate == pytest.approx(by_image.estimate, abs=1e-12)
    assert by_patient.high - by_patient.low > 1.2 * (by_image.high - by_image.low)


def test_it_is_the_interval_of_a_plain_loop() -> None:
    scores, patients = clustered(np.random.default_rng(2), 30)
    names = sorted(set(patients))
    groups = {name: [s for s, p in zip(scores, patients, strict=True) if p == name] for name in names}
    generator = np.random.default_rng(7)
    means = []
    for _ in range(4000):
        drawn = [s for name in generator.choice(names, len(names)) for s in groups[name] if not np.isnan(s)]
        means.append(np.mean(drawn))
    low, high = np.quantile(means, [0.025, 0.975])
    found = bootstrap_mean(scores, true_patients=patients, resamples=4000, seed=0)
    assert found.estimate == pytest.approx(np.nanmean(scores), abs=1e-12)
    assert (found.low, found.high) == (pytest.approx(low, abs=0.006), pytest.approx(high, abs=0.006))


def test_a_run_does_not_differ_from_itself() -> None:
    scores, patients = clustered(np.random.default_rng(3), 50)
    found = paired_difference(scores, scores.copy(), true_patients=patients, resamples=500, seed=0)
    assert (found.estimate, found.low, found.high, found.p_value) == (0, 0, 0, 1)


def test_a_difference_has_one_size_from_both_sides() -> None:
    generator = np.random.default_rng(4)
    first, patients = clustered(generator, 50)
    second = np.where(generator.random(len(first)) < 0.2, np.nan, generator.random(len(first)))
    there = paired_difference(first, second, true_patients=patients, resamples=500, seed=1)
    back = paired_difference(second, first, true_patients=patients, resamples=500, seed=1)
    assert there.estimate == pytest.approx(np.nanmean(first) - np.nanmean(second), abs=1e-12)
    assert there.estimate == -back.estimate
    assert (there.low, there.high) == (pytest.approx(-back.high), pytest.approx(-back.low))
    assert there.p_value == back.p_value


def test_pairing_sees_a_shift_that_two_intervals_hide() -> None:
    generator = np.random.default_rng(5)
    first, patients = clustered(generator, 100)
    second = first + 0.02 + generator.normal(0, 0.01, len(first))
    apart = [bootstrap_mean(s, true_patients=patients, resamples=500, seed=0) for s in (first, second)]
    assert apart[0].high > apart[1].low
    together = paired_difference(second, first, true_patients=patients, resamples=500, seed=0)
    assert together.low > 0
    assert together.p_value < 0.01


def test_p_values_of_no_difference_are_spread_evenly() -> None:
    generator = np.random.default_rng(6)
    small = 0
    for seed in range(200):
        scores = generator.random((2, 80))
        patients = [str(i // 2) for i in range(80)]
        small += paired_difference(*scores, true_patients=patients, resamples=200, seed=seed).p_value < 0.1
    # Of 200 at 0.1 each: 20, with a standard error of 4.
    assert 10 <= small <= 33


def test_images_that_never_count_give_no_number() -> None:
    found = bootstrap_mean(np.array([np.nan, np.nan]), true_patients=["a", "b"], resamples=10, seed=0)
    assert np.isnan([found.estimate, found.low, found.high]).all()


def test_resamples_without_an_image_that_counts_are_left_out() -> None:
    found = bootstrap_mean(np.array([0.5, np.nan]), true_patients=["a", "b"], resamples=100, seed=0)
    assert (found.estimate, found.low, found.high) == (0.5, 0.5, 0.5)


def test_the_same_seed_gives_the_same_interval() -> None:
    scores, patients = clustered(np.random.default_rng(8), 40)
    first, again, other = (bootstrap_mean(scores, true_patients=patients, resamples=99, seed=s) for s in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize(
    ("scores", "patients", "resamples", "level"),
    [([0.5], ["a", "b"], 10, 0.95), ([], [], 10, 0.95), ([0.5], ["a"], 0, 0.95), ([0.5], ["a"], 10, 1.0)],
)
def test_what_has_no_interval_is_refused(
    scores: list[float], patients: list[str], resamples: int, level: float
) -> None:
    with pytest.raises(ValueError, match="expected"):
        bootstrap_mean(np.array(scores), true_patients=patients, resamples=resamples, seed=0, level=level)


def test_a_pair_is_of_the_same_images() -> None:
    with pytest.raises(ValueError, match="the same images, got 2 and 1"):
        paired_difference(np.zeros(2), np.zeros(1), true_patients=["a", "b"], resamples=5, seed=0)
