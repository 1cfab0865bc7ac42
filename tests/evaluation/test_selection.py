"""Splits by patient, and the choice of a cell against a loop over all cells."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from rsna_det.errors import DataError, InvalidValueError
from rsna_det.evaluation.grid import Grid
from rsna_det.evaluation.selection import best_point, honest_selection, patient_halves, restricted
from tests.oracles import selection as oracle


def grid(sums: np.ndarray, counts: np.ndarray) -> Grid:
    """A grid with axes in rising order."""
    _, epochs, nms_ious, cuts = sums.shape
    return Grid(
        epochs=tuple(range(3, 3 + epochs)),
        nms_ious=tuple(k / 8 for k in range(nms_ious)),
        cuts=tuple(k / 16 for k in range(cuts)),
        sums=torch.from_numpy(sums.astype(np.float64)),
        counts=torch.from_numpy(counts.astype(np.int64)),
    )


def drawn(rng: np.random.Generator, groups: int) -> Grid:
    """Few different sums and counts: ties are frequent, and so are cells in which no image counts."""
    shape = (groups, 3, 2, 4)
    counts = rng.integers(0, 5, size=shape)
    counts[:, 0, 0, 0] = 1
    return grid(counts * rng.integers(0, 4, size=shape) / 4, counts)


def scores_of(found: Grid, group: int) -> dict[oracle.Setting, float]:
    """Mean of each setting, in the order of the axes."""
    scores = {}
    for e, epoch in enumerate(found.epochs):
        for n, nms_iou in enumerate(found.nms_ious):
            for c, cut in enumerate(found.cuts):
                count = int(found.counts[group, e, n, c])
                total = float(found.sums[group, e, n, c])
                scores[epoch, nms_iou, cut] = total / count if count else math.nan
    return scores


@pytest.mark.parametrize("patients", [2, 3, 7, 40])
def test_halves_keep_patients_together_and_complement_each_other(patients: int) -> None:
    rng = np.random.default_rng(patients)
    names = [f"p{k}" for k in [*range(patients), *rng.integers(0, patients, size=60)]]
    halves = patient_halves(names, splits=12, seed=3)
    assert halves.shape == (24, len(names))
    assert halves.dtype == torch.bool
    for split in range(12):
        first, second = halves[2 * split].tolist(), halves[2 * split + 1].tolist()
        assert [not member for member in first] == second
        sides = [{name for name, member in zip(names, half, strict=True) if member} for half in (first, second)]
        assert not sides[0] & sides[1]
        assert abs(len(sides[0]) - len(sides[1])) <= 1
    if patients > 3:
        assert len({tuple(half) for half in halves.tolist()}) > 12  # the splits differ


def test_halves_depend_on_the_seed_only() -> None:
    names = [f"p{k // 2}" for k in range(60)]
    first = patient_halves(names, splits=4, seed=1)
    assert torch.equal(first, patient_halves(names, splits=4, seed=1))
    assert not torch.equal(first, patient_halves(names, splits=4, seed=2))
    assert torch.equal(first[:4], patient_halves(names, splits=2, seed=1))  # more splits add to the same ones


def test_each_patient_is_on_either_side_about_as_often() -> None:
    halves = patient_halves([f"p{k}" for k in range(20)], splits=400, seed=5)
    share = halves[::2].double().mean(dim=0)
    assert ((share > 0.38) & (share < 0.62)).all()  # four standard errors are 0.1
    together = (halves[::2, :1] == halves[::2, 1:]).double().mean(dim=0)  # expected 9 / 19
    assert ((together > 0.37) & (together < 0.58)).all()


@pytest.mark.parametrize(
    ("names", "splits"), [([], 1), (["p"], 1), (["p", "p", "p"], 1), (["p", "q"], 0), (["p", "q"], -1)]
)
def test_nothing_to_split_is_refused(names: list[str], splits: int) -> None:
    few = len(set(names)) < 2
    message = (
        f"two true patients or more, got {len(set(names))}$"
        if few
        else f"1 split of the patients or more, got {splits}$"
    )
    with pytest.raises(DataError if few else InvalidValueError, match=message):
        patient_halves(names, splits=splits, seed=0)


def test_best_point_of_random_grids() -> None:
    rng = np.random.default_rng(60)
    for _ in range(200):
        found = drawn(rng, 3)
        for group in range(3):
            scores = scores_of(found, group)
            cell = best_point(found, group=group)
            setting = (cell.epoch, cell.nms_iou, cell.cut)
            assert setting == oracle.best(scores)
            assert cell.score == pytest.approx(scores[setting], abs=1e-12)


def test_of_equal_cells_the_first_epoch_then_nms_iou_then_cut() -> None:
    sums, counts = np.zeros((1, 2, 2, 2)), np.full((1, 2, 2, 2), 4)
    order = [(0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 1, 1), (1, 0, 0), (1, 0, 1), (1, 1, 0), (1, 1, 1)]
    for rank in range(len(order) - 1, -1, -1):
        # 1/2 as 2 of 4 and as 3 of 6: equal means, whatever the numbers behind them.
        sums[0][order[rank]], counts[0][order[rank]] = (2, 4) if rank % 2 else (3, 6)
        cell, (e, n, c) = best_point(grid(sums, counts), group=0), order[rank]
        assert (cell.epoch, cell.nms_iou, cell.cut, cell.score) == (3 + e, n / 8, c / 16, 0.5)


def test_a_cell_that_does_not_count_is_never_the_best() -> None:
    sums, counts = np.zeros((2, 1, 1, 3)), np.zeros((2, 1, 1, 3))
    counts[0, 0, 0, 2] = 5  # scores 0, the others are NaN
    assert best_point(grid(sums, counts), group=0).cut == 2 / 16
    with pytest.raises(DataError, match="no image counts"):
        best_point(grid(sums, counts), group=1)


def test_honest_selection_by_a_loop() -> None:
    rng = np.random.default_rng(61)
    seen_nan = False
    for _ in range(50):
        found = drawn(rng, 6)
        table = honest_selection(found)
        wanted = oracle.both_directions([scores_of(found, half) for half in range(6)])
        assert list(table.columns) == ["split", "epoch", "nms_iou", "cut", "score_chosen_on", "score", "images"]
        assert table["split"].tolist() == [0, 0, 1, 1, 2, 2]
        by_split = [sorted(wanted[2 * k : 2 * k + 2], key=repr) for k in range(3)]
        rows = [(r.split, (r.epoch, r.nms_iou, r.cut), r.score_chosen_on, r.score) for r in table.itertuples()]
        for k in range(3):
            for row, want in zip(sorted(rows[2 * k : 2 * k + 2], key=repr), by_split[k], strict=True):
                assert row[:2] == want[:2]
                assert row[2:] == pytest.approx(want[2:], abs=1e-12, nan_ok=True)
        seen_nan |= bool(table["score"].isna().any())
    assert seen_nan


def test_honest_scores_are_not_optimistic() -> None:
    # Scores without any real difference between cells: the chosen-on score is above the truth, the honest one is not.
    rng = np.random.default_rng(62)
    images = rng.uniform(0, 1, size=(400, 2 * 3 * 5))  # 400 images, 30 cells
    halves = patient_halves([f"p{k // 2}" for k in range(400)], splits=40, seed=0)
    sums = (halves.double().numpy() @ images).reshape(80, 2, 3, 5)
    counts = np.broadcast_to(halves.sum(dim=1).numpy()[:, None, None, None], sums.shape)
    table = honest_selection(grid(sums, counts))
    assert len(table) == 80
    assert table["score_chosen_on"].mean() > 0.53
    assert abs(table["score"].mean() - 0.5) < 0.02


def test_restricted_parts_keep_their_numbers() -> None:
    whole = drawn(np.random.default_rng(63), 2)
    epochs, nms_ious, cuts = whole.epochs, whole.nms_ious, whole.cuts
    parts = [
        {},
        {"epochs": epochs[1:]},
        {"nms_ious": [nms_ious[1]]},
        {"cuts": (cuts[1], cuts[3])},
        {"epochs": [epochs[2], epochs[0]], "nms_ious": nms_ious, "cuts": [cuts[2]]},
    ]
    for part in parts:
        found = restricted(whole, **part)  # type: ignore[arg-type]
        wanted = {name: tuple(part.get(name, getattr(whole, name))) for name in ("epochs", "nms_ious", "cuts")}
        assert {name: sorted(values) for name, values in wanted.items()} == {
            name: sorted(getattr(found, name)) for name in wanted
        }
        for group in range(2):
            scores = scores_of(whole, group)
            for setting, score in scores_of(found, group).items():
                assert score == pytest.approx(scores[setting], nan_ok=True)
        cells = len(found.epochs) * len(found.nms_ious) * len(found.cuts)
        assert found.sums.shape == found.counts.shape == (2, len(found.epochs), len(found.nms_ious), len(found.cuts))
        assert found.sums[0].numel() == cells


@pytest.mark.parametrize(
    "wrong", [{"epochs": [99]}, {"nms_ious": [0.5]}, {"cuts": [0.0, 0.03]}, {"epochs": [3, 4, 6]}, {"cuts": [-0.0625]}]
)
def test_a_value_off_its_axis_is_refused(wrong: dict[str, list[float]]) -> None:
    with pytest.raises(ValueError, match=str(next(iter(wrong.values()))[-1])):
        restricted(drawn(np.random.default_rng(64), 1), **wrong)  # type: ignore[arg-type]


def test_cells_and_grids_are_values() -> None:
    cell = best_point(drawn(np.random.default_rng(65), 1), group=0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        cell.epoch = 1  # type: ignore[misc]
