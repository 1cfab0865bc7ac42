"""Joining the tables of runs: what belongs together is put together, the rest is refused by name."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from rsna_det.evaluation.out_of_fold import open_runs
from rsna_det.evaluation.predictions import (
    candidates_path,
    candidates_table,
    images_path,
    images_table,
    truth_table,
    write_table,
)
from rsna_det.structures import Candidates

IDS = ["e", "a", "d", "b", "c", "f"]
FOLDS = [0, 1, 2, 0, 1, -1]


def labels() -> pd.DataFrame:
    boxes = [np.array([[i, i, i + 5.0, i + 9.0]] * (i % 3), np.float32).reshape(-1, 4) for i in range(6)]
    return pd.DataFrame(
        {"image_id": IDS, "true_patient": list("pqrstu"), "fold": FOLDS, "category": 2, "boxes": boxes}
    ).assign(width=64, height=32)


def write_run(
    folder: Path, fold: int, *, epochs: tuple[int, ...] = (0, 1), truth: pd.DataFrame | None = None,
    only: list[str] | None = None,
) -> Path:  # fmt: skip
    """A run whose candidates can be told apart: number of the image and of the epoch are in the box."""
    predictions = folder / "predictions"
    frame = labels() if truth is None else truth
    write_table(truth_table(frame, val_fold=fold), predictions / "truth.parquet")
    ids = [i for i, f in zip(IDS, FOLDS, strict=True) if f == fold][::-1] if only is None else only
    for epoch in epochs:
        numbers = torch.tensor([float(IDS.index(i)) for i in ids])
        boxes = torch.stack([numbers, torch.full_like(numbers, epoch), numbers + 1, numbers + 9], dim=1)
        found = Candidates(
            boxes=torch.stack([boxes, boxes], dim=1),
            scores=torch.tensor([[0.5, 0.25]] * len(ids)),
            mask=torch.tensor([[True, i != "b"] for i in ids]),
            counts_before_cap=torch.tensor([IDS.index(i) for i in ids]),
        )
        write_table(candidates_table(image_ids=ids, batch=found), candidates_path(predictions, epoch))
        write_table(images_table(image_ids=ids, batch=found, probabilities=None), images_path(predictions, epoch))
    return folder


def test_folds_are_put_together_in_one_order(tmp_path: Path) -> None:
    folders = [write_run(tmp_path / "two", 1, epochs=(0, 1, 2)), write_run(tmp_path / "one", 0, epochs=(1, 2, 3))]
    joined = open_runs(folders)
    assert joined.images["image_id"].tolist() == ["a", "c", "e", "b"]
    assert joined.images["run"].tolist() == [0, 0, 1, 1]
    assert joined.epochs == (1, 2)
    assert joined.missing_folds == (2,)
    assert [len(boxes) for boxes in joined.truths] == [1, 1, 0, 0]
    rows = list(joined.candidates(2))
    assert [boxes[:, :2].tolist() for boxes, _ in rows] == [
        [[1.0, 2.0]] * 2, [[4.0, 2.0]] * 2, [[0.0, 2.0]] * 2, [[3.0, 2.0]]
    ]  # fmt: skip
    assert [scores.tolist() for _, scores in rows] == [[0.5, 0.25], [0.5, 0.25], [0.5, 0.25], [0.5]]
    assert joined.predicted(2)["image_id"].tolist() == ["a", "c", "e", "b"]
    assert joined.predicted(2)["candidates_before_cap"].tolist() == [1, 4, 0, 3]


def test_an_image_in_two_folds_is_refused_with_both(tmp_path: Path) -> None:
    other = labels().assign(fold=[0, 0, 2, 1, 1, -1])
    folders = [write_run(tmp_path / "one", 0), write_run(tmp_path / "two", 0, truth=other)]
    with pytest.raises(ValueError, match=r"1 images are validated more than once \(the first: e\), by .*one, .*two"):
        open_runs(folders)


@pytest.mark.parametrize("column", ["true_patient", "fold", "category", "boxes"])
def test_other_labels_are_refused(tmp_path: Path, column: str) -> None:
    other = labels()
    changed = {"true_patient": "x", "fold": 1, "category": 0, "boxes": np.ones((1, 4), np.float32)}
    other[column] = [changed[column] if i == 2 else value for i, value in enumerate(other[column])]
    folders = [write_run(tmp_path / "one", 0), write_run(tmp_path / "two", 1, truth=other, only=["a"])]
    with pytest.raises(ValueError, match=r"different labels, .* for 1 images \(the first: d\)"):
        open_runs(folders)


def test_runs_without_a_common_epoch_are_refused(tmp_path: Path) -> None:
    folders = [write_run(tmp_path / "one", 0, epochs=(0,)), write_run(tmp_path / "two", 1, epochs=(1,))]
    with pytest.raises(ValueError, match=r"no epoch that every run has tables of \(.*one: \[0\]; .*two: \[1\]\)"):
        open_runs(folders)


def test_an_epoch_whose_second_table_is_missing_is_none(tmp_path: Path) -> None:
    run = write_run(tmp_path, 0)
    images_path(run / "predictions", 1).unlink()
    assert open_runs([run]).epochs == (0,)


def test_a_folder_without_tables_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"truth\.parquet"):
        open_runs([tmp_path])


def test_a_fold_without_images_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no run validates on any image"):
        open_runs([write_run(tmp_path, 7, only=["a"])])


def test_a_truncated_table_is_named(tmp_path: Path) -> None:
    run = write_run(tmp_path, 0)
    path = candidates_path(run / "predictions", 1)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ValueError, match=r"epoch_01\.candidates\.parquet is not a readable parquet file"):
        open_runs([run]).candidates(1)


@pytest.mark.parametrize("only", [["e"], ["e", "b", "a"], ["e", "e"]])
def test_tables_of_other_images_are_refused(tmp_path: Path, only: list[str]) -> None:
    joined = open_runs([write_run(tmp_path, 0, only=only)])
    for read in (joined.candidates, joined.predicted):
        with pytest.raises(ValueError, match=r"images, of which \d are among the 2 that the run validates on"):
            read(0)


def test_candidates_out_of_order_are_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path, 0)
    path = candidates_path(run / "predictions", 0)
    ids = ["e", "b"]
    found = Candidates(
        boxes=torch.tensor([[[0.0, 0, 5, 5], [0, 0, 5, 5]]] * 2),
        scores=torch.tensor([[0.25, 0.5], [0.5, 0.25]]),
        mask=torch.ones(2, 2, dtype=torch.bool),
        counts_before_cap=torch.tensor([2, 2]),
    )
    write_table(candidates_table(image_ids=ids, batch=found), path)
    with pytest.raises(ValueError, match=r"candidates of e are not in falling order"):
        open_runs([run]).candidates(0)
