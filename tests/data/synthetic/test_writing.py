"""The synthetic data: the challenge's layout, complete or absent, and never in the place of something else."""

import errno
import json
from pathlib import Path

import pandas as pd
import pytest

from rsna_det.data.synthetic import writing
from rsna_det.data.synthetic.writing import SyntheticDataError, write_synthetic
from rsna_det.errors import DataError, InvalidValueError, StorageError
from rsna_det.files.atomic import is_disk_full
from rsna_det.structures import CATEGORY_LABELS, Category


def test_folder_has_the_challenges_layout(synthetic_root: Path) -> None:
    labels = pd.read_csv(synthetic_root / "stage_2_train_labels.csv")
    classes = pd.read_csv(synthetic_root / "stage_2_detailed_class_info.csv")
    patients = pd.read_csv(synthetic_root / "patients.csv", dtype=str)
    stems = sorted(path.stem for path in (synthetic_root / "stage_2_train_images").iterdir())
    assert list(labels.columns) == ["patientId", "x", "y", "width", "height", "Target"]
    assert len(stems) == 24
    assert sorted(set(labels.patientId)) == sorted(set(classes.patientId)) == sorted(patients.patientId) == stems
    # Both tables have one row per box and one for an image without: the same ids in the same order.
    assert labels.patientId.tolist() == classes.patientId.tolist()
    assert set(classes["class"]) == set(CATEGORY_LABELS.values())
    opacity = classes["class"] == Category.OPACITY.label
    assert (labels.Target == opacity).all()
    assert (labels[["x", "y", "width", "height"]].notna().all(axis=1) == opacity).all()
    assert patients.true_patient.nunique() < len(stems)


def test_boxes_lie_in_the_image_and_do_not_repeat(synthetic_root: Path) -> None:
    boxes = pd.read_csv(synthetic_root / "stage_2_train_labels.csv").dropna()
    assert (boxes[["x", "y"]] >= 0).all(axis=None)
    assert (boxes[["width", "height"]] >= 1).all(axis=None)
    assert (boxes.x + boxes.width <= 64).all()
    assert (boxes.y + boxes.height <= 64).all()
    assert not boxes.duplicated().any()


def test_a_complete_folder_is_left_alone(tmp_path: Path) -> None:
    root = tmp_path / "data"
    write_synthetic(root=root, num_images=1, side=64, seed=0)
    mark = root / "stage_2_train_images" / "kept"
    mark.touch()
    write_synthetic(root=root, num_images=1, side=64, seed=0)
    assert mark.exists()
    with pytest.raises(
        SyntheticDataError, match=r"drawn with num_images=1,.*asks for num_images=2,.*remove that folder"
    ):
        write_synthetic(root=root, num_images=2, side=64, seed=0)


def test_another_folder_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").touch()
    with pytest.raises(SyntheticDataError, match=r"no synthetic data .*synthetic\.json"):
        write_synthetic(root=tmp_path, num_images=1, side=64, seed=0)
    assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]


def test_a_full_disk_leaves_no_half_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(writing, "_label_table", full)
    with pytest.raises(StorageError, match=r"could not be written: No space left.*data.*data\.root$") as caught:
        write_synthetic(root=tmp_path / "data", num_images=1, side=64, seed=0)
    assert is_disk_full(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_progress_is_reported_and_parameters_are_saved(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    write_synthetic(root=tmp_path / "data", num_images=3, side=64, seed=1, progress=lambda *counts: told.append(counts))
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert json.loads((tmp_path / "data" / "synthetic.json").read_text())["seed"] == 1


@pytest.mark.parametrize("wrong", [{"num_images": 0}, {"side": 31}, {"seed": -1}])
def test_wrong_numbers_are_refused(tmp_path: Path, wrong: dict[str, int]) -> None:
    with pytest.raises(InvalidValueError, match=next(iter(wrong))):
        write_synthetic(**({"root": tmp_path / "data", "num_images": 1, "side": 64, "seed": 0} | wrong))


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    write_synthetic(root=tmp_path / "data", num_images=1, side=64, seed=0)
    (tmp_path / "data" / "synthetic.json").write_text("{")
    with pytest.raises(DataError, match=r"synthetic\.json is damaged .*remove that folder"):
        write_synthetic(root=tmp_path / "data", num_images=1, side=64, seed=0)
