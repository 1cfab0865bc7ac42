"""Runs joined from their tables: each image from the run that validates on it, and nothing else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from rsna_det.errors import DataError, MissingFileError
from rsna_det.evaluation.out_of_fold import OutOfFold, open_runs, true_boxes
from rsna_det.evaluation.tables import (
    TRUTH_SCHEMA,
    RunTables,
    candidates_table,
    images_table,
    truth_table,
)
from rsna_det.structures import Candidates

OWN = 0.5
"""Best score by the run that validates on an image."""


def labels(folds: Sequence[int]) -> pd.DataFrame:
    """Images i00, i01, ...: image k has k % 3 boxes; patients of two images."""
    box = np.float32([[1, 2, 30, 40], [5.5, 6, 50, 60]])
    return pd.DataFrame(
        {
            "image_id": [f"i{k:02d}" for k in range(len(folds))],
            "true_patient": [f"p{k // 2}" for k in range(len(folds))],
            "fold": list(folds),
            "category": pd.array([2 if k % 3 else k % 2 for k in range(len(folds))], dtype="Int64"),
            "width": 64,
            "height": 48,
            "boxes": [box[: k % 3] + np.float32(k) for k in range(len(folds))],
        }
    )


FOLDS = [0, 1, 0, 2, 1, 0, -1, 1, 2, 2, 0, 1]


def predicted(names: Sequence[str], *, epoch: int, score: float) -> Candidates:
    """Image ik has k % 4 candidates; x1 is k and y1 the epoch, so that each row tells where it comes from."""
    batch, width = len(names), 3
    numbers = torch.tensor([int(name[1:]) for name in names])
    corners = torch.stack([numbers, torch.full_like(numbers, epoch), numbers + 1, torch.full_like(numbers, epoch + 1)])
    mask = torch.arange(width).expand(batch, width) < (numbers % 4)[:, None]
    scores = score / (1 + torch.arange(width, dtype=torch.float32)).expand(batch, width)
    return Candidates(
        boxes=corners.T[:, None].float() * mask[..., None], scores=scores * mask, mask=mask, counts_before_cap=numbers
    )


@dataclass(kw_only=True)
class Run:
    """A run's folder as training leaves it; ``seen`` are images trained on that found their way into its tables."""

    folder: Path
    fold: int
    images: pd.DataFrame = field(default_factory=lambda: labels(FOLDS))
    epochs: Sequence[int] = (0, 1)

    @property
    def tables(self) -> RunTables:
        return RunTables(self.folder)

    def write(self, *, order: int = 1) -> RunTables:
        self.tables.write_truth(truth_table(self.images, val_fold=self.fold))
        names = self.images["image_id"][self.images["fold"] == self.fold].tolist()
        for epoch in self.epochs:
            self.write_epoch(epoch, names[::order])
        return self.tables

    def write_epoch(
        self, epoch: int, names: Sequence[str], *, heads: bool = True, leaked: Sequence[str] = (), score: float = OWN
    ) -> None:
        """An epoch's two tables; ``leaked`` are further images of the candidates table, at best of ``score``."""
        batch = predicted(names, epoch=epoch, score=OWN)
        parts = [candidates_table(image_ids=names, batch=batch)]
        if leaked:
            parts.append(candidates_table(image_ids=leaked, batch=predicted(leaked, epoch=epoch, score=score)))
        probabilities = torch.tensor([[0.25, 0.25, 0.5]]).expand(len(names), 3) if heads else None
        images = images_table(image_ids=names, batch=batch, probabilities=probabilities)
        self.tables.write_epoch(epoch, candidates=pa.concat_tables(parts).unify_dictionaries(), images=images)


def three(root: Path, **changes: Mapping[str, object]) -> list[Run]:
    """Runs of the folds 0, 1 and 2, in folders named a, b and c; ``changes`` by that name."""
    return [Run(folder=root / name, fold=k, **changes.get(name, {})) for k, name in enumerate("abc")]  # type: ignore[arg-type]


def check(found: OutOfFold, *, folds: Sequence[int], images: pd.DataFrame | None = None) -> None:
    """Images, truths, candidates and whole-image predictions are in one order and of the right images."""
    wanted = (labels(FOLDS) if images is None else images).set_index("image_id")
    wanted = wanted[wanted["fold"].isin(folds)]
    names = found.images["image_id"].tolist()
    assert sorted(names) == sorted(wanted.index)
    assert list(found.images.columns) == [*TRUTH_SCHEMA.names, "run"]
    assert set(found.images["role"]) == {"val"}
    assert [folds[run] for run in found.images["run"]] == found.images["fold"].tolist()
    for name in ("true_patient", "fold", "width", "height"):
        assert found.images[name].tolist() == wanted.loc[names, name].tolist()
    for truths in (found.truths, true_boxes(found.images)):
        assert [boxes.tolist() for boxes in truths] == [boxes.tolist() for boxes in wanted.loc[names, "boxes"]]
        assert all(boxes.shape[1:] == (4,) for boxes in truths)
    for epoch in found.epochs:
        rows = found.candidates(epoch)
        assert len(rows) == len(names)
        for name, (boxes, scores) in zip(names, rows, strict=True):
            number = int(name[1:])
            assert boxes[:, :2].tolist() == [[number, epoch]] * (number % 4)
            np.testing.assert_allclose(scores.numpy(), [OWN / (1 + k) for k in range(number % 4)])
        table = found.predicted(epoch)
        assert table["image_id"].tolist() == names
        assert table["candidates_before_cap"].tolist() == [int(name[1:]) for name in names]


def test_three_folds_joined(tmp_path: Path) -> None:
    tables = [run.write(order=-1) for run in three(tmp_path)]  # rows in another order than the truth's
    found = open_runs(tables)
    assert found.tables == tuple(tables)
    assert found.epochs == (0, 1)
    assert found.missing_folds == ()
    check(found, folds=[0, 1, 2])
    check(open_runs(tables[::-1]), folds=[2, 1, 0])


def test_some_folds_only(tmp_path: Path) -> None:
    tables = [run.write() for run in three(tmp_path)]
    found = open_runs([tables[2], tables[0]])
    assert found.missing_folds == (1,)
    check(found, folds=[2, 0])
    assert open_runs(tables[1:2]).missing_folds == (0, 2)
    check(open_runs(tables[1:2]), folds=[1])


def test_epochs_in_common(tmp_path: Path) -> None:
    runs = three(tmp_path, a={"epochs": (0, 1, 2, 10)}, b={"epochs": (10, 2, 1, 3)}, c={"epochs": (100, 10, 1, 2, 4)})
    tables = [run.write() for run in runs]
    runs[0].tables.candidates_path(3).write_bytes(b"")  # a candidates table alone, and rubbish, are no epoch
    runs[2].tables.images_path(3).write_bytes(b"")
    (runs[0].folder / "epoch_03.candidates.parquet.partial").write_bytes(b"")
    (runs[0].folder / "notes.parquet").write_bytes(b"")
    found = open_runs(tables)
    assert found.epochs == (1, 2, 10)
    check(found, folds=[0, 1, 2])


def test_an_epoch_with_one_of_its_two_tables_is_not_one(tmp_path: Path) -> None:
    runs = three(tmp_path)
    tables = [run.write() for run in runs]
    runs[1].tables.images_path(1).unlink()  # the candidates are written first, then the run was killed
    assert open_runs(tables).epochs == (0,)


def test_no_epoch_in_common(tmp_path: Path) -> None:
    tables = [run.write() for run in three(tmp_path, a={"epochs": (0,)}, b={"epochs": (1,)})]
    with pytest.raises(DataError, match="epoch"):
        open_runs(tables)


def test_an_image_in_two_folds_is_refused_with_both_folders(tmp_path: Path) -> None:
    first, second = Run(folder=tmp_path / "one", fold=1).write(), Run(folder=tmp_path / "two", fold=1).write()
    with pytest.raises(DataError, match=r"(?s)one.*two|two.*one"):
        open_runs([first, second])
    with pytest.raises(DataError, match="one"):
        open_runs([first, first])
    moved = labels(FOLDS).assign(fold=[0, 1, 0, 1, 1, 0, -1, 1, 2, 2, 0, 1])  # i03 from fold 2 to fold 1
    other = Run(folder=tmp_path / "moved", fold=1, images=moved).write()
    third = Run(folder=tmp_path / "third", fold=2).write()
    with pytest.raises(DataError, match=r"(?s)moved.*third|third.*moved"):
        open_runs([other, third])


@pytest.mark.parametrize("name", ["boxes", "fewer boxes", "category", "true_patient"])
def test_other_labels_for_an_image_are_refused(name: str, tmp_path: Path) -> None:
    other = labels(FOLDS)
    if name in ("boxes", "fewer boxes"):
        values = other["boxes"].tolist()
        values[2] = values[2] + np.float32(1) if name == "boxes" else values[2][:1]
        other["boxes"] = values
    else:
        column = other[name].tolist()
        column[2] = {"category": 1, "true_patient": "somebody"}[name]
        other[name] = column
    tables = [run.write() for run in three(tmp_path, b={"images": other})]
    with pytest.raises(DataError, match="i02"):
        open_runs(tables)


def test_other_labels_for_an_image_that_the_first_run_lacks_are_refused(tmp_path: Path) -> None:
    fewer, other = labels(FOLDS).drop(index=4), labels(FOLDS)
    other["boxes"] = [boxes + np.float32(k == 4) for k, boxes in enumerate(other["boxes"])]
    tables = [run.write() for run in three(tmp_path, a={"images": fewer}, c={"images": other})]
    with pytest.raises(DataError, match="i04"):
        open_runs(tables)


def test_the_same_labels_in_another_order_and_without_categories(tmp_path: Path) -> None:
    unknown = labels(FOLDS)
    unknown["category"] = [-1] * 4 + unknown["category"].tolist()[4:]
    shuffled = unknown.sample(frac=1, random_state=3)
    images = {"a": {"images": unknown}, "b": {"images": shuffled}, "c": {"images": unknown}}
    tables = [run.write() for run in three(tmp_path, **images)]
    check(open_runs(tables), folds=[0, 1, 2])


@pytest.mark.parametrize("leaked", [["i01"], ["i01", "i07", "i11"], ["i04"]])
@pytest.mark.parametrize(("fold", "score"), [(0, 0.25), (0, 1.0), (2, 0.25), (2, 1.0)])
def test_images_that_a_run_does_not_validate_on_do_not_leak(
    fold: int, score: float, leaked: list[str], tmp_path: Path
) -> None:
    # A candidates table with rows of fold 1, which another run validates on: refused, or those rows are left out.
    runs = three(tmp_path)
    tables = [run.write() for run in runs]
    names = [name for name, of in zip(labels(FOLDS)["image_id"], FOLDS, strict=True) if of == fold]
    runs[fold].write_epoch(0, names, leaked=leaked, score=score)
    found = open_runs(tables)
    try:
        rows = found.candidates(0)
    except ValueError:
        return
    for name, (boxes, scores) in zip(found.images["image_id"], rows, strict=True):
        assert len(boxes) == int(name[1:]) % 4, f"{name} has candidates of two runs: scores {scores.tolist()}"
        np.testing.assert_allclose(scores.numpy(), [OWN / (1 + k) for k in range(len(scores))])


def test_a_missing_folder_or_table(tmp_path: Path) -> None:
    runs = three(tmp_path)
    tables = [run.write() for run in runs]
    with pytest.raises(MissingFileError, match="nowhere"):
        open_runs([*tables, RunTables(tmp_path / "nowhere")])
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingFileError, match="empty"):
        open_runs([*tables, RunTables(tmp_path / "empty")])
    runs[1].tables.truth_path.unlink()
    with pytest.raises(MissingFileError, match="b"):
        open_runs(tables)
    with pytest.raises(ValueError, match="one run or more"):
        open_runs([])


def test_a_run_without_any_epoch(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="barren"):
        open_runs(
            [Run(folder=tmp_path / "barren", fold=0, epochs=()).write(), Run(folder=tmp_path / "b", fold=1).write()]
        )


@pytest.mark.parametrize("keep", [0, 3, 0.5, -1])
def test_truncated_tables_are_named(keep: float, tmp_path: Path) -> None:
    runs = three(tmp_path)
    tables = [run.write() for run in runs]

    def cut(path: Path) -> bytes:
        whole = path.read_bytes()
        path.write_bytes(whole[: int(len(whole) * keep) if isinstance(keep, float) else int(keep)])
        return whole

    path = runs[1].tables.candidates_path(1)
    whole = cut(path)
    with pytest.raises(DataError, match=path.name):
        open_runs(tables).candidates(1)
    open_runs(tables).candidates(0)
    path.write_bytes(whole)
    cut(runs[1].tables.images_path(1))
    with pytest.raises(DataError, match=runs[1].tables.images_path(1).name):
        open_runs(tables).predicted(1)
    cut(runs[2].tables.truth_path)
    with pytest.raises(DataError, match=r"truth\.parquet"):
        open_runs(tables)


@pytest.mark.parametrize("names", [["i01", "i04"], ["i01", "i04", "i07", "i11", "i00"], ["i01", "i04", "i07", "i07"]])
def test_a_table_of_other_images_than_the_runs_is_refused(names: list[str], tmp_path: Path) -> None:
    runs = three(tmp_path)
    tables = [run.write() for run in runs]
    runs[1].write_epoch(1, names)
    with pytest.raises(DataError, match=r"\bb\b|epoch_01"):
        open_runs(tables).predicted(1)
    check(OutOfFold(**{**vars(open_runs(tables)), "epochs": (0,)}), folds=[0, 1, 2])


def test_a_model_without_the_global_head(tmp_path: Path) -> None:
    runs = three(tmp_path)
    tables = [run.write() for run in runs]
    runs[0].write_epoch(0, ["i00", "i02", "i05", "i10"], heads=False)
    found = open_runs(tables).predicted(0).set_index("image_id")
    assert found.loc[["i00", "i02", "i05", "i10"], "p_opacity"].isna().all()
    assert (found.loc[["i01", "i03"], "p_opacity"] == 0.5).all()
