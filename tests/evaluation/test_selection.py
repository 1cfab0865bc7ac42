"""Choosing on one half of the patients for the other, against a plain loop."""

import numpy as np
import pandas as pd
import pytest
import torch

from rsna_det.evaluation.selection import best_cell, honest_selection, patient_halves, restricted
from rsna_det.evaluation.thresholds import Grid
from tests.oracles import evaluation as oracle

EPOCHS, CUTS = (2, 5, 7), (0.1, 0.2, 0.3, 0.4)


def grid_of(scores: np.ndarray, groups: torch.Tensor) -> Grid:
    """A grid from per-image scores [images, epochs, cuts]; NaN where an image does not count."""
    known = torch.from_numpy(~np.isnan(scores)).double()
    values = torch.from_numpy(np.nan_to_num(scores))
    members = groups.double()
    return Grid(
        epochs=EPOCHS,
        nms_ious=(0.05,),
        cuts=CUTS,
        sums=torch.einsum("gi,iec->gec", members, values)[:, :, None],
        counts=torch.einsum("gi,iec->gec", members, known).long()[:, :, None],
    )


def test_a_patient_is_on_one_side_and_every_image_on_one() -> None:
    patients = [f"p{i % 7}" for i in range(40)]
    halves = patient_halves(patients, splits=20, seed=3)
    assert halves.shape == (40, 40)
    for first, second in halves.view(20, 2, 40):
        assert (first ^ second).all()
        sides = pd.Series(first.numpy()).groupby(patients).nunique()
        assert (sides == 1).all()
        assert {p for p, one in zip(patients, first.tolist(), strict=True) if one}.__len__() == 3
    assert len({tuple(row) for row in halves.tolist()}) > 10
    assert torch.equal(halves, patient_halves(patients, splits=20, seed=3))
    assert not torch.equal(halves, patient_halves(patients, splits=20, seed=4))


@pytest.mark.parametrize("seed", range(5))
def test_the_choice_and_its_report_are_those_of_a_plain_loop(seed: int) -> None:
    generator = np.random.default_rng(seed)
    scores = generator.integers(0, 9, (30, len(EPOCHS), len(CUTS))) / 8
    scores[generator.random(scores.shape) < 0.3] = np.nan
    halves = patient_halves([f"p{i // 2}" for i in range(30)], splits=4, seed=seed)
    found = honest_selection(grid_of(scores, halves))
    assert found["split"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    cells = {
        (epoch, cut): [None if np.isnan(v) else float(v) for v in scores[:, e, c]]
        for e, epoch in enumerate(EPOCHS)
        for c, cut in enumerate(CUTS)
    }
    for number, row in enumerate(found.itertuples()):
        own, other = (np.flatnonzero(halves[number ^ flip].numpy()).tolist() for flip in (0, 1))
        (epoch, cut), score = oracle.choose_and_report(scores=cells, chosen_on=own, reported_on=other)
        assert (row.epoch, row.cut) == (epoch, cut)
        assert row.score == pytest.approx(score, abs=1e-12)


def test_of_equal_cells_the_first_is_chosen() -> None:
    scores = np.full((4, len(EPOCHS), len(CUTS)), 0.5)
    cell = best_cell(grid_of(scores, torch.ones(1, 4, dtype=torch.bool)), group=0)
    assert (cell.epoch, cell.cut, cell.score) == (2, 0.1, 0.5)


def test_cells_without_a_score_are_never_chosen() -> None:
    scores = np.zeros((4, len(EPOCHS), len(CUTS)))
    scores[:, 0] = np.nan
    cell = best_cell(grid_of(scores, torch.ones(1, 4, dtype=torch.bool)), group=0)
    assert (cell.epoch, cell.score) == (5, 0)
    with pytest.raises(ValueError, match="no image counts"):
        best_cell(grid_of(np.full_like(scores, np.nan), torch.ones(1, 4, dtype=torch.bool)), group=0)


def test_a_grid_is_narrowed_to_what_is_allowed() -> None:
    scores = np.arange(4 * 12).reshape(4, 3, 4) / 48
    grid = grid_of(scores, torch.ones(1, 4, dtype=torch.bool))
    narrow = restricted(grid, epochs=[5], cuts=[0.2, 0.3])
    assert (narrow.epochs, narrow.nms_ious, narrow.cuts) == ((5,), (0.05,), (0.2, 0.3))
    assert narrow.scores[0, 0, 0].tolist() == grid.scores[0, 1, 0, 1:3].tolist()
    with pytest.raises(ValueError, match=r"cuts \[0.25\] were asked for; the grid has \[0.1, 0.2, 0.3, 0.4\]"):
        restricted(grid, cuts=[0.25])


def test_choosing_freely_on_noise_is_optimistic_and_honest_selection_is_not() -> None:
    generator = np.random.default_rng(0)
    honest, optimistic = [], []
    for seed in range(40):
        scores = generator.random((40, len(EPOCHS), len(CUTS)))
        found = honest_selection(grid_of(scores, patient_halves([str(i) for i in range(40)], splits=5, seed=seed)))
        honest.append(found["score"].mean())
        optimistic.append(found["score_chosen_on"].mean())
    # Every cell is worth 0.5; the best of twelve over 20 images looks like 0.5 + 1.6 * 0.29 / sqrt(20) = 0.60.
    assert np.mean(honest) == pytest.approx(0.5, abs=0.02)
    assert np.mean(optimistic) == pytest.approx(0.60, abs=0.02)


@pytest.mark.parametrize(("patients", "splits"), [(["a", "a"], 3), (["a", "b"], 0)])
def test_what_cannot_be_halved_is_refused(patients: list[str], splits: int) -> None:
    with pytest.raises(ValueError, match="two patients and one split"):
        patient_halves(patients, splits=splits, seed=0)
