"""Folds: balanced, seeded, without a patient on both sides; published files; and the report."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsna_det.data.labels.csv_tables import LabelError
from rsna_det.data.labels.folds import assign_folds, fold_report, read_folds, with_folds
from rsna_det.data.labels.reading import read_labels
from rsna_det.structures import Category
from tests.properties import examples

A, N, O = (int(category) for category in (Category.ABNORMAL, Category.NORMAL, Category.OPACITY))  # noqa: E741


def frame(rows: list[tuple[int, str]]) -> pd.DataFrame:
    """Images i000, i001, ... of (category, true patient); an opacity image has 1 + its number mod 2 boxes."""
    boxes = [
        np.zeros((index % 2 + 1 if category == O else 0, 4), np.float32) for index, (category, _) in enumerate(rows)
    ]
    names = [f"i{index:03d}" for index in range(len(rows))]
    return pd.DataFrame(
        {
            "image_id": names,
            "category": [category for category, _ in rows],
            "boxes": pd.Series(boxes, dtype=object),
            "true_patient": [patient or f"image:{name}" for name, (_, patient) in zip(names, rows, strict=True)],
        }
    )


def many(seed: int, *, images: int = 300, patients: int = 90) -> pd.DataFrame:
    """Images whose patient is unknown one time in five, and otherwise has several."""
    rng = np.random.default_rng(seed)
    known = [f"p{rng.integers(patients)}" if rng.random() < 0.8 else "" for _ in range(images)]
    return frame([(int(rng.choice([A, N, O], p=[0.45, 0.33, 0.22])), patient) for patient in known])


@examples(15)
@given(seed=st.integers(0, 2**32 - 1), num_folds=st.integers(2, 6))
def test_no_true_patient_is_on_both_sides(seed: int, num_folds: int) -> None:
    images = many(seed % 1000)
    fold = assign_folds(images, num_folds=num_folds, seed=seed)
    for k in range(num_folds):
        validation, training = images["true_patient"][fold == k], images["true_patient"][fold != k]
        assert len(validation) > 0
        assert not set(validation) & set(training)
    assert set(fold.tolist()) == set(range(num_folds))


def test_folds_are_balanced_with_and_without_groups() -> None:
    images = many(0, images=1200, patients=350)
    for grouped, slack in ((True, 4), (False, 1)):
        fold = assign_folds(images, num_folds=4, seed=1, group_by_patient=grouped)
        counts = pd.crosstab(fold, images["category"])
        assert (counts.max() - counts.min()).max() <= slack


def test_the_seed_decides() -> None:
    images = many(0)
    first = assign_folds(images, num_folds=4, seed=7)
    assert np.array_equal(first, assign_folds(images, num_folds=4, seed=7))
    assert not np.array_equal(first, assign_folds(images, num_folds=4, seed=8))


def test_without_a_map_each_image_is_its_own_group() -> None:
    images = frame([(category, "") for category in (A, N, O) for _ in range(4)])
    counts = pd.crosstab(assign_folds(images, num_folds=4, seed=0), images["category"])
    assert (counts == 1).all().all()


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"num_folds": 1, "seed": 0}, r"data\.num_folds is 1; expected 2 or more"),
        ({"num_folds": 4, "seed": -1}, "seed of the folds is -1"),
        ({"num_folds": 4, "seed": 2**32}, "seed of the folds is 4294967296"),
        ({"num_folds": 4, "seed": 0}, "'Lung Opacity' has 2 true patients in 11 images, too few for 4 folds"),
        ({"num_folds": 4, "seed": 0, "group_by_patient": False}, "'Lung Opacity' has 3 images in 11 images"),
    ],
)
def test_folds_that_cannot_be_made(numbers: dict, message: str) -> None:
    images = frame([(A, "")] * 4 + [(N, "")] * 4 + [(O, "p"), (O, "p"), (O, "")])
    with pytest.raises(ValueError, match=message):
        assign_folds(images, **numbers)


def save(path: Path, rows: list[str], header: str = "patientId,fold") -> Path:
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_a_published_file(tmp_path: Path) -> None:
    images = frame([(A, ""), (N, ""), (O, "")])
    rows = ["elsewhere,Normal,3", "i002,Lung Opacity,1", "i000,No Lung Opacity / Not Normal,0", "i001,Normal,-1"]
    path = save(tmp_path / "folds.csv", rows, "patientId,class,fold")
    assert read_folds(path, images).tolist() == [0, -1, 1]


def test_all_faults_of_a_published_file_at_once(tmp_path: Path) -> None:
    images = frame([(A, ""), (N, ""), (O, ""), (O, "")])
    rows = ["i000,Normal,0", "i001,Normal,0.5", "i001,Normal,1", "../x,Normal,2", "i002,Lung Opacity,-2"]
    path = save(tmp_path / "folds.csv", rows, "patientId,class,fold")
    with pytest.raises(LabelError) as caught:
        read_folds(path, images)
    assert [(found.row, found.problem) for found in caught.value.problems] == [
        (5, "id '../x'; expected letters, digits, '.', '_' and '-' only"),
        (3, "image i001 has the fold '0.5', expected -1, 0, 1 ..."),
        (6, "image i002 has the fold '-2', expected -1, 0, 1 ..."),
        (4, "image i001 occurs twice"),
        (None, "image i003 has no fold; add it, or keep it out of all folds with data.test_ids"),
        (2, "image i000 is 'Normal' here and 'No Lung Opacity / Not Normal' in the labels"),
    ]


def test_test_ids_stay_outside_whatever_the_file_says(tmp_path: Path) -> None:
    images = frame([(A, ""), (N, ""), (O, ""), (O, "")])
    path = save(tmp_path / "folds.csv", ["i000,0", "i001,1", "i002,1"])
    # i003 is not in the file, i001 is
    placed = with_folds(images, num_folds=2, seed=0, folds_csv=path, test_ids={"i003", "i001", "elsewhere"})
    assert placed["fold"].tolist() == [0, -1, 1, -1]
    assert "fold" not in images
    with pytest.raises(LabelError, match=r"image i003 has no fold.*data\.test_ids"):
        with_folds(images, num_folds=2, seed=0, folds_csv=path)


def test_test_ids_stay_outside_the_assignment() -> None:
    images = many(3)
    outside = set(images["image_id"][::10])
    placed = with_folds(images, num_folds=4, seed=0, test_ids=outside)
    assert set(placed["image_id"][placed["fold"] == -1]) == outside
    inside = placed[placed["fold"] >= 0]
    assert len(inside[["true_patient", "fold"]].drop_duplicates()) == inside["true_patient"].nunique()
    # The other images get the folds that they would get alone.
    assert inside["fold"].tolist() == assign_folds(inside, num_folds=4, seed=0).tolist()


def test_folds_that_disagree_with_the_configuration(tmp_path: Path) -> None:
    images = frame([(A, ""), (N, ""), (O, "")])
    path = save(tmp_path / "folds.csv", ["i000,0", "i001,1", "i002,2"])
    with pytest.raises(ValueError, match=r"folds up to 2, data\.num_folds is 2"):
        with_folds(images, num_folds=2, seed=0, folds_csv=path)
    with pytest.raises(ValueError, match=r"no image for fold \[3\]"):
        with_folds(images, num_folds=4, seed=0, folds_csv=path)
    with pytest.raises(ValueError, match=r"none of the 1 test ids .* data\.test_ids"):
        with_folds(images, num_folds=3, seed=0, folds_csv=path, test_ids={"elsewhere"})


def test_the_report_counts_images_boxes_and_shared_patients() -> None:
    # Patient p is in folds 0 and 1, q twice in fold 0 only, r in fold 1 and outside.
    images = frame([(O, "p"), (N, "q"), (O, "q"), (A, "p"), (O, "p"), (O, "r"), (O, "r"), (N, "")])
    images["fold"] = [0, 0, 0, 1, 1, 1, -1, 1]
    report = fold_report(images).set_index("fold")
    assert report.index.tolist() == ["0", "1", "outside", "total"]
    assert report["images"].tolist() == [3, 4, 1, 8]
    # Boxes by number: i000 1, i002 1, i004 1, i005 2, i006 1
    assert report["positives"].tolist() == [2, 2, 1, 5]
    assert report["boxes"].tolist() == [2, 3, 1, 6]
    assert report["Normal"].tolist() == [1, 1, 0, 2]
    assert report["Lung Opacity"].tolist() == [2, 2, 1, 5]
    assert report["No Lung Opacity / Not Normal"].tolist() == [0, 1, 0, 1]
    # Fold 0: i000 (p). Fold 1: i003 and i004 (p), not i005, whose other image is outside. Outside: i006 (r in fold 1).
    assert report["shared_images"].tolist() == [1, 2, 1, 4]
    assert report["shared_positives"].tolist() == [1, 1, 1, 3]
    assert report["shared_images_percent"].tolist() == pytest.approx([100 / 3, 50, 100, 50])
    assert report["shared_positives_percent"].tolist() == pytest.approx([50, 50, 100, 60])


@examples(15)
@given(seed=st.integers(0, 1000))
def test_shared_images_by_the_definition(seed: int) -> None:
    images = many(seed, images=60, patients=20)
    images["fold"] = np.random.default_rng(seed).integers(-1, 3, len(images))
    people, folds = images["true_patient"].tolist(), images["fold"].tolist()
    report = fold_report(images).set_index("fold")["shared_images"]
    for k in sorted(set(folds)):
        others = {p for p, f in zip(people, folds, strict=True) if f not in (k, -1)}
        expected = sum(p in others for p, f in zip(people, folds, strict=True) if f == k)
        assert report["outside" if k == -1 else str(k)] == expected


def test_grouped_folds_share_no_one_and_ungrouped_ones_do() -> None:
    images = many(5)
    grouped = fold_report(with_folds(images, num_folds=4, seed=0))
    assert grouped["shared_images"].tolist() == [0] * 5
    ungrouped = fold_report(with_folds(images, num_folds=4, seed=0, group_by_patient=False))
    assert (ungrouped["shared_images_percent"] > 40).all()


def test_real_folds_share_no_one(real_data: Path) -> None:
    images = read_labels(root=real_data, patients_csv=real_data / "patients.csv")
    report = fold_report(with_folds(images, num_folds=4, seed=42))
    assert report["shared_images"].tolist() == [0] * 5
    assert report["images"].iloc[-1] == len(images)
    assert report["positives"].iloc[:4].max() - report["positives"].iloc[:4].min() <= 4
