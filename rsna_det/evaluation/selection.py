"""The choice of epoch, NMS IoU and cut: honest, on one half of the patients for the other, or optimistic, on all.

A score measured on the images that its cut was chosen on is too high. Splits by true patient, not by image, keep a
person's images on one side.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool
from torch import Tensor

from rsna_det.errors import DataError, InvalidValueError
from rsna_det.evaluation.grid import Grid


@dataclass(frozen=True, kw_only=True)
class GridPoint:
    """One epoch, NMS IoU and cut of a grid, and its score over a group of images."""

    epoch: int
    nms_iou: float
    cut: float
    score: float


def patient_halves(true_patients: Sequence[str], *, splits: int, seed: int) -> Bool[Tensor, "halves images"]:
    """Which images belong to each half; the halves of split ``i`` are the rows ``2 i`` and ``2 i + 1``.

    Args:
        true_patients: of each image.
        splits: number of random splits of the patients.
        seed: of the splits.

    Raises:
        DataError: if there are fewer than two patients.
        InvalidValueError: for fewer than one split.
    """
    patients, owners = np.unique(np.asarray(true_patients, dtype=str), return_inverse=True)
    if len(patients) < 2:
        raise DataError(f"honest selection needs two true patients or more, got {len(patients)}")
    if splits < 1:
        raise InvalidValueError(f"expected 1 split of the patients or more, got {splits}")
    generator = np.random.default_rng(seed)
    first = np.zeros((splits, len(patients)), dtype=bool)
    for row in first:
        row[generator.permutation(len(patients))[: len(patients) // 2]] = True
    return torch.from_numpy(np.stack([first, ~first], axis=1).reshape(2 * splits, -1)[:, owners])


def restricted(
    grid: Grid,
    *,
    epochs: Sequence[int] | None = None,
    nms_ious: Sequence[float] | None = None,
    cuts: Sequence[float] | None = None,
) -> Grid:
    """The part of a grid at some values of its axes, in their order; None keeps a whole axis.

    Raises:
        ValueError: for a value that is not on its axis, or for no value.
    """
    axes: dict[str, Sequence[Any] | None] = {"epochs": epochs, "nms_ious": nms_ious, "cuts": cuts}
    for dimension, (name, wanted) in enumerate(axes.items(), start=1):
        if wanted is None:
            continue
        present = getattr(grid, name)
        missing = [value for value in wanted if value not in present]
        if missing or not wanted:
            raise ValueError(f"expected {name} of the grid, {list(present)}; got {missing or 'none'}")
        index = torch.tensor([present.index(value) for value in wanted])
        sums, counts = grid.sums.index_select(dimension, index), grid.counts.index_select(dimension, index)
        axis: dict[str, Any] = {name: tuple(wanted)}
        grid = replace(grid, sums=sums, counts=counts, **axis)
    return grid


def best_point(grid: Grid, *, group: int) -> GridPoint:
    """The grid point of highest score over a group; in a tie the first by epoch, then NMS IoU, then cut.

    Raises:
        DataError: if no image of the group counts at any grid point.
    """
    scores = grid.scores[group]
    if scores.isnan().all():
        raise DataError("no image counts: there is neither a true box nor a detection in any of them")
    return _point_at(grid, group, int(scores.nan_to_num(-1).flatten().argmax()))


def honest_selection(grid: Grid) -> pd.DataFrame:
    """Choose on one half and score on the other, in both directions of every split.

    Args:
        grid: over the groups of :func:`patient_halves`.

    Returns:
        One row per direction: ``split``, ``epoch``, ``nms_iou``, ``cut``, ``score_chosen_on`` (optimistic), ``score``
        (honest: over the other half; NaN if none of its images counts) and ``images`` (of the other half, that count).

    Raises:
        DataError: if no image of a half counts at any grid point.
    """
    rows = []
    for group in range(len(grid.sums)):
        chosen = best_point(grid, group=group)
        other = _point_at(grid, group ^ 1, _position(grid, chosen))
        rows.append(
            {
                "split": group // 2,
                "epoch": chosen.epoch,
                "nms_iou": chosen.nms_iou,
                "cut": chosen.cut,
                "score_chosen_on": chosen.score,
                "score": other.score,
                "images": int(grid.counts[group ^ 1].flatten()[_position(grid, chosen)]),
            }
        )
    return pd.DataFrame(rows)


def honest_mean(selection: pd.DataFrame) -> float:
    """The mean over the images that count, in both directions of all splits; NaN if none counts.

    Args:
        selection: of :func:`honest_selection`.
    """
    counts = selection["images"].to_numpy(np.float64)
    sums = (selection["score"].fillna(0.0) * counts).sum()
    return float(sums / counts.sum()) if counts.sum() else float("nan")


def _position(grid: Grid, point: GridPoint) -> int:
    index = (grid.epochs.index(point.epoch), grid.nms_ious.index(point.nms_iou), grid.cuts.index(point.cut))
    return int(np.ravel_multi_index(index, grid.sums.shape[1:]))


def _point_at(grid: Grid, group: int, position: int) -> GridPoint:
    epoch, nms_iou, cut = (int(i) for i in np.unravel_index(position, grid.sums.shape[1:]))
    return GridPoint(
        epoch=grid.epochs[epoch],
        nms_iou=grid.nms_ious[nms_iou],
        cut=grid.cuts[cut],
        score=float(grid.scores[group, epoch, nms_iou, cut]),
    )
