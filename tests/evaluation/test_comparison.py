"""Variants against a baseline: honest shares by a loop, Holm by hand, and what the sentences may say."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from rsna_det.evaluation.comparison import compare, conclusion, holm, honest_shares, times_as_many_images
from rsna_det.evaluation.predictions import CandidateRows
from rsna_det.evaluation.selection import best_cell, patient_halves
from rsna_det.evaluation.thresholds import image_scores_at_cuts, score_grid
from rsna_det.evaluation.uncertainty import ImageShares

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
def test_honest_shares_are_those_of_a_loop(seed: int) -> None:
    epochs, truths = drawn(seed)
    halves = patient_halves([f"p{i // 2}" for i in range(16)], splits=5, seed=seed)
    numbers = {"relative_cut": 0.5, "rescale_factor": 1.0}
    grid = score_grid(epochs=epochs.items(), truths=truths, groups=halves, cuts=CUTS, nms_ious=NMS_IOUS, **numbers)
    found = honest_shares(grid=grid, halves=halves, candidates=epochs.__getitem__, truths=truths, **numbers)
    sums, counts = np.zeros(16), np.zeros(16)
    for group in range(10):
        cell = best_cell(grid, group=group)
        scores = image_scores_at_cuts(
            rows=epochs[cell.epoch], truths=truths, cuts=[cell.cut], nms_iou=cell.nms_iou, **numbers
        )[:, 0].tolist()
        for image in range(16):
            # Chosen on one half of the patients, counted on the other.
            if not halves[group, image] and not math.isnan(scores[image]):
                sums[image] += scores[image] / 5
                counts[image] += 1 / 5
    assert found.sums == pytest.approx(sums)
    assert found.counts == pytest.approx(counts)


def test_holm_by_hand() -> None:
    # In order of size 0.01 x 4, 0.02 x 3, 0.03 x 2 and 0.04 x 1, none below the one before it.
    assert holm(np.array([0.04, 0.01, math.nan, 0.03, 0.02])) == pytest.approx(
        [0.06, 0.04, math.nan, 0.06, 0.06], nan_ok=True
    )
    assert holm(np.array([0.9, 0.8])) == pytest.approx([1.0, 1.0])
    assert np.isnan(holm(np.array([math.nan]))).all()


def noise(generator: np.random.Generator, shift: float = 0.0) -> np.ndarray:
    return generator.normal(0.2 + shift, 0.02, 200)


def test_a_variant_that_is_better_is_told_and_one_that_is_not_is_not() -> None:
    generator = np.random.default_rng(0)
    base = noise(generator)
    variants = {
        "same": ImageShares.of(base + generator.normal(0, 0.01, 200)),
        "base": ImageShares.of(base),
        "better": ImageShares.of(base + 0.01 + generator.normal(0, 0.01, 200)),
    }
    patients = [f"p{i // 2}" for i in range(200)]
    table = compare(variants, baseline="base", true_patients=patients, resamples=400, seed=0)
    rows = table.set_index("variant")
    assert list(rows.index) == ["same", "base", "better"]
    assert rows.loc["better", "difference"] == pytest.approx(0.01, abs=0.003)
    assert rows.loc["better", "difference_low"] > 0
    assert rows.loc["base", ["difference", "difference_low", "difference_high", "standard_error"]].tolist() == [0] * 4
    assert np.isnan(rows.loc["base", ["p_value", "p_holm"]].tolist()).all()
    sentences = conclusion(table, baseline="base", images=200, seeds=1)
    assert "Told from zero against base (Holm, 0.05): better (+0.0" in sentences
    assert "same" not in sentences.split(".")[0]
    assert "Training noise is left out: 1 seed a variant" in sentences


def test_nothing_is_told_where_there_is_nothing() -> None:
    generator = np.random.default_rng(1)
    variants = {name: ImageShares.of(noise(generator)) for name in "abc"}
    table = compare(variants, baseline="a", true_patients=[str(i) for i in range(200)], resamples=300, seed=0)
    sentences = conclusion(table, baseline="a", images=200, seeds=3)
    assert "No difference to a can be told from zero" in sentences
    assert "Each variant is the mean of 3 seeds." in sentences


def test_images_needed_grow_with_the_square_of_the_error() -> None:
    # (1.96 + 0.84) standard errors of 0.005 each are 0.014: told four times in five with the images that there are.
    assert times_as_many_images(0.005, difference=0.014) == pytest.approx(1.0, rel=0.01)
    assert times_as_many_images(0.01, difference=0.014) == pytest.approx(4.0, rel=0.01)


def test_the_power_that_is_promised_is_there() -> None:
    generator = np.random.default_rng(2)
    deviation, images, told = 0.1, 100, 0
    times = times_as_many_images(deviation / math.sqrt(images), difference=0.02)
    more = round(images * times)
    for _ in range(300):
        differences = generator.normal(0.02, deviation, more)
        told += abs(differences.mean()) > 1.96 * differences.std() / math.sqrt(more)
    # Of 300 at 0.8: 240, with a standard error of 7.
    assert 218 <= told <= 262


def test_seeds_are_averaged_image_by_image() -> None:
    seeds = [ImageShares.of(np.array([0.5, np.nan, 1.0])), ImageShares.of(np.array([0.0, 0.25, np.nan]))]
    mean = ImageShares.mean(seeds)
    assert mean.sums.tolist() == [0.25, 0.125, 0.5]
    assert mean.counts.tolist() == [1, 0.5, 0.5]


def test_an_unknown_baseline_is_refused() -> None:
    shares = {"a": ImageShares.of(np.array([0.5]))}
    with pytest.raises(ValueError, match="the baseline b is not among the variants a"):
        compare(shares, baseline="b", true_patients=["p"], resamples=5, seed=0)


def test_the_table_is_one_of_numbers() -> None:
    shares = {name: ImageShares.of(np.array([0.5, 0.25])) for name in "ab"}
    table = compare(shares, baseline="a", true_patients=["p", "q"], resamples=5, seed=0)
    assert isinstance(table, pd.DataFrame)
    assert table.dtypes.drop("variant").eq(np.float64).all()
