"""The synthetic data: the challenge's layout, valid files, tight boxes, the same drawing for the same numbers."""

import errno
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest

from rsna_det.data.synthetic import writing as synthetic
from rsna_det.data.synthetic.writing import SyntheticDataError, draw_radiograph, write_synthetic
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


def test_files_are_valid_jpeg_baseline_dicoms(synthetic_root: Path) -> None:
    path = sorted((synthetic_root / "stage_2_train_images").iterdir())[0]
    # pydicom warns of values against their representation, and warnings are errors here: "34" for an age would be.
    dataset = pydicom.dcmread(path)
    assert dataset.file_meta.TransferSyntaxUID == pydicom.uid.JPEGBaseline8Bit
    assert dataset.PatientID == path.stem
    assert (dataset.Modality, dataset.BodyPartExamined) == ("CR", "CHEST")
    assert dataset.ViewPosition in {"PA", "AP"}
    assert dataset.PatientAge.endswith("Y")
    for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        assert dataset[keyword].value.is_valid
    assert dataset.pixel_array.shape == (64, 64)
    assert dataset.pixel_array.dtype == np.uint8
    assert dataset.pixel_array.std() > 20


def test_jpeg_keeps_the_drawing() -> None:
    drawn = draw_radiograph(seed=0, index=0, side=128)
    decoded = synthetic.to_dicom(drawn).pixel_array
    assert np.abs(decoded.astype(int) - drawn.pixels).mean() < 4


def test_an_image_depends_on_seed_and_number_only(tmp_path: Path) -> None:
    write_synthetic(root=tmp_path / "two", num_images=2, side=64, seed=5)
    write_synthetic(root=tmp_path / "three", num_images=3, side=64, seed=5)
    few, more = ({p.name: p.read_bytes() for p in (tmp_path / n).glob("*/*.dcm")} for n in ("two", "three"))
    assert len(few) == 2
    assert all(more[name] == content for name, content in few.items())
    other = draw_radiograph(seed=6, index=0, side=64)
    assert f"{other.image_id}.dcm" not in more


@pytest.mark.parametrize("seed", range(20))
def test_any_six_images_have_all_categories(seed: int) -> None:
    assert {synthetic._category(seed=seed, index=index) for index in range(6)} == set(Category)


def test_shares_of_the_categories() -> None:
    # Of six images 1 + 3 * 0.226 = 1.68 are opacities (28%), 1 + 3 * 0.467 = 2.40 abnormal (40%).
    counts = np.bincount([synthetic._category(seed=0, index=index) for index in range(1200)]) / 1200
    np.testing.assert_allclose(counts, [0.40, 0.32, 0.28], atol=0.03)


def test_box_sizes_are_the_challenges() -> None:
    drawn = [draw_radiograph(seed=2, index=index, side=128) for index in range(150)]
    boxes = np.concatenate([radiograph.boxes for radiograph in drawn]) * 1024 / 128
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    assert 180 < np.median(width) < 260
    assert 260 < np.median(height) < 390
    assert min(width.min(), height.min()) > 40
    assert all(len(r.boxes) == 0 for r in drawn if r.category is not Category.OPACITY)
    assert all(1 <= len(r.boxes) <= 3 for r in drawn if r.category is Category.OPACITY)


def test_a_complete_folder_is_left_alone(tmp_path: Path) -> None:
    root = tmp_path / "data"
    write_synthetic(root=root, num_images=1, side=64, seed=0)
    mark = root / "stage_2_train_images" / "kept"
    mark.touch()
    write_synthetic(root=root, num_images=1, side=64, seed=0)
    assert mark.exists()
    with pytest.raises(SyntheticDataError, match=r"'num_images': 1.*'num_images': 2.*remove that folder"):
        write_synthetic(root=root, num_images=2, side=64, seed=0)


def test_another_folder_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").touch()
    with pytest.raises(SyntheticDataError, match=r"no synthetic data .*synthetic\.json"):
        write_synthetic(root=tmp_path, num_images=1, side=64, seed=0)
    assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]


def test_a_full_disk_leaves_no_half_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(synthetic, "_label_table", full)
    with pytest.raises(OSError, match=r"could not be written: No space left.*data") as caught:
        write_synthetic(root=tmp_path / "data", num_images=1, side=64, seed=0)
    assert caught.value.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []


def test_progress_and_parameters_are_told(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    write_synthetic(root=tmp_path / "data", num_images=3, side=64, seed=1, progress=lambda *counts: told.append(counts))
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert json.loads((tmp_path / "data" / "synthetic.json").read_text())["seed"] == 1


@pytest.mark.parametrize("wrong", [{"num_images": 0}, {"side": 31}, {"seed": -1}])
def test_wrong_numbers_are_refused(tmp_path: Path, wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        write_synthetic(**({"root": tmp_path / "data", "num_images": 1, "side": 64, "seed": 0} | wrong))


def test_people_look_alike_and_strangers_do_not() -> None:
    numbers = [synthetic._person(seed=0, index=index) for index in range(300)]
    assert all(number <= index for index, number in enumerate(numbers))
    assert 0.6 < len(set(numbers)) / 300 < 0.74
