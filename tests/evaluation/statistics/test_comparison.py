"""Variants against a baseline: honest contributions by a loop, Holm by hand, and what the sentences say."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from rsna_det.evaluation.candidate_rows import CandidateRows
from rsna_det.evaluation.grid import image_scores_at_cuts, score_grid
from rsna_det.evaluation.selection import best_point, honest_mean, honest_selection, patient_halves
from rsna_det.evaluation.statistics.bootstrap import ImageContributions
from rsna_det.evaluation.statistics.comparison import compare, holm, honest_contributions
from rsna_det.evaluation.statistics.conclusion import conclusion
from rsna_det.evaluation.statistics.training_noise import TrainingNoise

CUTS, NMS_IOUS = [0.2, 0.4, 0.6], [0.05, 0.5]


def drawn(seed: int, images: int = 16) -> tuple[dict[int, CandidateRows], list[torch.Tensor]]:
    """Two epochs of candidates, some of them right."""
    generator = torch.Generator().manual_seed(seed)
    truths = [torch.tensor([[10.0, 10, 40, 40]] * (i % 2)).reshape(-1, 4) for i in range(images)]
    epochs = {}
    for epoch in (1, 4):
        boxes = torch.tensor([10.0, 10, 40, 40]) + 6 * torch.randn(images * 3, 4, generator=generator)
        scores = torch.rand(images, 3, generator=generator).sort(dim=1, descending=True)[0].flatten()
        epochs[epoch] = CandidateRows(boxes=boxes, scores=scores, offsets=torch.arange(images + 1) * 3)
    return epochs, truths


@pytest.mark.parametrize("seed", range(4))
def test_honest_contributions_are_those_of_a_loop(seed: int) -> None:
    epochs, truths = drawn(seed)
    halves = patient_halves([f"p{i // 2}" for i in range(16)], splits=5, seed=seed)
    numbers = {"relative_cut": 0.5, "rescale_factor": 1.0}
    grid = score_grid(epochs=epochs.items(), truths=truths, groups=halves, cuts=CUTS, nms_ious=NMS_IOUS, **numbers)
    found = honest_contributions(grid=grid, halves=halves, candidates=epochs.__getitem__, truths=truths, **numbers)
    sums, counts = np.zeros(16), np.zeros(16)
    for group in range(10):
        point = best_point(grid, group=group)
        scores = image_scores_at_cuts(
            rows=epochs[point.epoch], truths=truths, cuts=[point.cut], nms_iou=point.nms_iou, **numbers
        )[:, 0].tolist()
        for image in range(16):
            # Chosen on one half of the patients, counted on the other.
            if not halves[group, image] and not math.isnan(scores[image]):
                sums[image] += scores[image] / 5
                counts[image] += 1 / 5
    assert found.sums == pytest.approx(sums)
    assert found.counts == pytest.approx(counts)
    # The figure that an evaluation of runs calls honest.
    assert honest_mean(honest_selection(grid)) == pytest.approx(found.value, abs=1e-12)


def test_holm_by_hand() -> None:
    # In order of size 0.01 x 4, 0.02 x 3, 0.03 x 2 and 0.04 x 1, none below the one before it.
    assert holm(np.array([0.04, 0.01, math.nan, 0.03, 0.02])) == pytest.approx(
        [0.06, 0.04, math.nan, 0.06, 0.06], nan_ok=True
    )
    assert holm(np.array([0.9, 0.8])) == pytest.approx([1.0, 1.0])
    assert np.isnan(holm(np.array([math.nan]))).all()


def noise(generator: np.random.Generator, shift: float = 0.0) -> np.ndarray:
    return generator.normal(0.2 + shift, 0.02, 200)


def test_a_better_variant_is_significant_and_an_equal_one_is_not() -> None:
    generator = np.random.default_rng(0)
    base = noise(generator)
    variants = {
        "same": [ImageContributions.of(base + generator.normal(0, 0.01, 200))],
        "base": [ImageContributions.of(base)],
        "better": [ImageContributions.of(base + 0.01 + generator.normal(0, 0.01, 200))],
    }
    patients = [f"p{i // 2}" for i in range(200)]
    comparison = compare(variants, baseline="base", true_patients=patients, resamples=400, seed=0)
    rows = comparison.table.set_index("variant")
    assert list(rows.index) == ["same", "base", "better"]
    assert rows.loc["better", "difference"] == pytest.approx(0.01, abs=0.003)
    assert rows.loc["better", "difference_low"] > 0
    assert rows.loc["base", ["difference", "difference_low", "difference_high", "standard_error"]].tolist() == [0] * 4
    assert np.isnan(rows.loc["base", ["p_value", "p_holm"]].tolist()).all()
    sentences = conclusion(comparison, folds=1)
    assert "Significantly different from base (Holm-adjusted p < 0.05): better (+0.0" in sentences
    assert "same" not in sentences.split(".")[0]
    assert "Training noise is not included: estimating it takes 3 seeds per variant, and there is 1." in sentences


def test_nothing_is_significant_where_there_is_nothing() -> None:
    generator = np.random.default_rng(1)
    variants = {name: [ImageContributions.of(noise(generator)) for _ in range(3)] for name in "abc"}
    comparison = compare(variants, baseline="a", true_patients=[str(i) for i in range(200)], resamples=300, seed=0)
    sentences = conclusion(comparison, folds=4)
    assert "No significant difference from a (Holm-adjusted p < 0.05)." in sentences
    assert "Intervals and p-values include training noise: between seeds (3 or more per variant)" in sentences
    assert comparison.noise is not None
    assert comparison.noise.freedom == 6


def test_training_noise_widens_what_patients_alone_leave_narrow() -> None:
    """Seeds that differ by a constant: every image of one is 0.02 better, so that patients show nothing of it."""
    base = noise(np.random.default_rng(3))
    seeds = {
        "a": [ImageContributions.of(base + shift) for shift in (0.0, 0.02, 0.04)],
        "b": [ImageContributions.of(base + shift) for shift in (0.01, 0.03, 0.05)],
    }
    patients = [str(i) for i in range(200)]
    with_noise = compare(seeds, baseline="a", true_patients=patients, resamples=2000, seed=0)
    two_seeds = {name: own[:2] for name, own in seeds.items()}
    without = compare(two_seeds, baseline="a", true_patients=patients, resamples=2000, seed=0)
    assert without.noise is None
    one = without.table.set_index("variant").loc["b"]
    assert one["difference_high"] - one["difference_low"] == pytest.approx(0, abs=1e-9)
    assert math.isnan(one["training_error"])
    row = with_noise.table.set_index("variant").loc["b"]
    # Three seeds 0.02 apart have a deviation of 0.02; of a difference of two means of three that is
    # 0.02 x sqrt(2 / 3), and Student's 97.5% bound at 4 degrees of freedom lies 2.776 of these away.
    assert row["training_error"] == pytest.approx(0.02 * math.sqrt(2 / 3))
    assert row["difference"] == pytest.approx(0.01)
    half = 2.776 * 0.02 * math.sqrt(2 / 3)
    assert row["difference_high"] - row["difference_low"] == pytest.approx(2 * half, rel=0.1)
    assert row["p_value"] > 0.3
    assert with_noise.table.set_index("variant").loc["a", "difference_low"] == 0


@pytest.mark.parametrize("common", [0.0, 0.02])
def test_false_positives_keep_their_level_with_three_seeds(common: float) -> None:
    """Two equal methods whose runs differ on single images, and on all images alike or not."""
    generator = np.random.default_rng(4)
    patients = [str(i // 2) for i in range(80)]
    significant = {True: 0, False: 0}
    for trial in range(200):
        images = generator.normal(0.3, 0.05, 80)
        own = {
            name: [
                ImageContributions.of(images + generator.normal(0, common) + generator.normal(0, 0.05, 80))
                for _ in range(3)
            ]
            for name in "ab"
        }
        for seen in significant:
            variants = own if seen else {name: [ImageContributions.mean(seeds)] for name, seeds in own.items()}
            table = compare(variants, baseline="a", true_patients=patients, resamples=200, seed=trial).table
            significant[seen] += int(table["p_value"].iloc[1] < 0.05)
    # Of 200 at 1 in 20: 10, with a standard error of 3; neither many more nor hardly any.
    assert 2 <= significant[True] <= 19
    # Without the noise that all images share most are false.
    assert significant[False] > 80 if common else significant[False] <= 22


def test_noise_is_divided_into_its_parts() -> None:
    generator = np.random.default_rng(5)
    patients = [str(i) for i in range(300)]
    found = []
    for _ in range(60):
        seeds = [
            ImageContributions.of(0.3 + generator.normal(0, 0.01) + generator.normal(0, 0.1, 300)) for _ in range(6)
        ]
        noise = TrainingNoise.estimated({"a": seeds}, true_patients=patients)
        assert noise is not None
        assert noise.freedom == 5
        found.append((noise.common**2, noise.by_image**2))
    common, by_image = np.mean(found, axis=0)
    # 0.1 in each of 300 images is 0.00577 in their mean.
    assert by_image == pytest.approx(0.1**2 / 300, rel=0.05)
    assert common == pytest.approx(0.01**2, rel=0.35)


def test_noise_needs_three_seeds_of_every_variant() -> None:
    def constant(*scores: float) -> list[ImageContributions]:
        return [ImageContributions.of(np.full(4, score)) for score in scores]

    patients = list("pqrs")
    two = {"a": constant(0.1, 0.2, 0.3), "b": constant(0.1, 0.2)}
    assert TrainingNoise.estimated(two, true_patients=patients) is None
    assert TrainingNoise.estimated({}, true_patients=patients) is None
    # Variances 0.01 and 0.04 with two degrees of freedom each: 0.025 pooled, all of it common to the images.
    three = {"a": constant(0.1, 0.2, 0.3), "b": constant(0.1, 0.3, 0.5)}
    found = TrainingNoise.estimated(three, true_patients=patients)
    assert found is not None
    assert found.common == found.deviation == pytest.approx(math.sqrt(0.025))
    assert found.by_image == pytest.approx(0)
    assert found.freedom == 4
    assert found.common_error(5) == pytest.approx(math.sqrt(0.025 / 5))
    # Seeds that differ on single images only: 0.2 up here and down there, the mean stays.
    swapped = [ImageContributions.of(np.array(scores)) for scores in ([0.5, 0.1], [0.1, 0.5], [0.3, 0.3])]
    alike = TrainingNoise.estimated({"a": swapped}, true_patients=["p", "q"])
    assert alike is not None
    assert alike.common == 0
    # By hand: each image's variance is 0.04; of a mean of two images 2 x 0.04 / 4, times 2 / 1 for the mean taken off.
    assert alike.by_image == pytest.approx(math.sqrt(0.04))


def test_seeds_are_averaged_image_by_image() -> None:
    seeds = [ImageContributions.of(np.array([0.5, np.nan, 1.0])), ImageContributions.of(np.array([0.0, 0.25, np.nan]))]
    mean = ImageContributions.mean(seeds)
    assert mean.sums.tolist() == [0.25, 0.125, 0.5]
    assert mean.counts.tolist() == [1, 0.5, 0.5]


def test_an_unknown_baseline_is_refused() -> None:
    variants = {"a": [ImageContributions.of(np.array([0.5]))]}
    with pytest.raises(ValueError, match="the baseline b is not among the variants a"):
        compare(variants, baseline="b", true_patients=["p"], resamples=5, seed=0)


def test_the_table_is_one_of_numbers() -> None:
    variants = {name: [ImageContributions.of(np.array([0.5, 0.25]))] for name in "ab"}
    table = compare(variants, baseline="a", true_patients=["p", "q"], resamples=5, seed=0).table
    assert isinstance(table, pd.DataFrame)
    assert table.dtypes.drop("variant").eq(np.float64).all()
