"""The challenge's tables -> one row per image: category, boxes, true patient; validated as a whole.

Sources: ``stage_2_train_labels.csv`` has a row per box (``patientId,x,y,width,height,Target``, in source pixels; an
image without boxes has one row with empty coordinates), ``stage_2_detailed_class_info.csv`` names each image's
category and repeats an id once per box.
"""

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from rsna_det.data.labels.checks import (
    BOX_COLUMNS,
    LABEL_CATEGORIES,
    check_boxes,
    check_categories,
    check_images,
    check_targets,
    check_together,
    parse_rows,
)
from rsna_det.data.labels.csv_tables import Finding, LabelError, check_ids, collect, read_table
from rsna_det.data.labels.patients import read_patients
from rsna_det.structures import UNKNOWN_PATIENT, Category

__all__ = [
    "CLASS_CSV",
    "IMAGES_DIR",
    "LABELS_CSV",
    "Finding",
    "LabelError",
    "read_labels",
    "read_test_ids",
    "read_truth",
]

LABELS_CSV = "stage_2_train_labels.csv"
CLASS_CSV = "stage_2_detailed_class_info.csv"
IMAGES_DIR = "stage_2_train_images"
UNKNOWN_CATEGORY = -1
"""Of an image without boxes, where no table of categories says more."""
# Height and width of every radiograph of the challenge, for work on the tables without the images.
_CHALLENGE_SIZE = (1024, 1024)


def read_labels(
    *,
    root: Path,
    patients_csv: Path | None = None,
    sizes: Mapping[str, tuple[int, int]] | None = None,
    image_ids_on_disk: Collection[str] | None = None,
    labels_csv: str | None = None,
    class_csv: str | None = None,
) -> pd.DataFrame:
    """The images of a training set with their labels, sorted by id.

    Args:
        root: folder with the tables.
        patients_csv: map from image to true patient (see :mod:`rsna_det.data.labels.patients`).
        sizes: height and width of each image in source pixels; None: 1024 x 1024, as in the challenge.
        image_ids_on_disk: ids of the files in the folder of *training* images; None: images are not looked at. An
            image without labels is a finding, because label tables that were cut short look just like that.
        labels_csv: name of the table of boxes below ``root``; None: the one of the challenge's second stage.
        class_csv: name of the table of categories, likewise.

    Returns:
        Columns ``image_id``, ``category`` (a :class:`~rsna_det.structures.Category` value), ``boxes`` (float32
        [boxes, 4], x1, y1, x2, y2 in source pixels), ``true_patient`` (``image:<id>`` where unknown), ``width`` and
        ``height`` (source pixels).

    Raises:
        FileNotFoundError: a table is not there.
        LabelError: everything that is wrong with the tables, at once.
    """
    boxes_path = root / (LABELS_CSV if labels_csv is None else labels_csv)
    classes_path = root / (CLASS_CSV if class_csv is None else class_csv)
    findings: list[Finding] = []
    table = collect(lambda: read_table(boxes_path, BOX_COLUMNS), findings)
    classes = collect(lambda: read_table(classes_path, ["patientId", "class"]), findings)
    patients = collect(lambda: _read_patients(patients_csv), findings)
    if table is None or classes is None:
        raise LabelError(findings)
    rows = parse_rows(table)
    images = _first_rows(classes, sizes)
    findings += check_ids(boxes_path, table) + check_ids(classes_path, classes)
    findings += check_targets(boxes_path, rows) + check_boxes(boxes_path, rows, images)
    findings += check_categories(classes_path, classes)
    findings += check_together(boxes_path, rows, classes_path, images)
    if image_ids_on_disk is not None or sizes is not None:
        findings += check_images(boxes_path, rows, on_disk=image_ids_on_disk, sizes=sizes)
    if patients and not set(patients) & set(images["image_id"]):
        problem = f"none of its {len(patients)} images is in {classes_path.name}; is it the map of other data?"
        findings.append(Finding(file=Path(patients_csv or "."), row=None, problem=problem))
    if findings or patients is None:
        raise LabelError(findings)
    return _assemble(images, rows, patients)


def read_truth(
    path: Path, *, patients_csv: Path | None = None, sizes: Mapping[str, tuple[int, int] | None] | None = None
) -> pd.DataFrame:
    """Labels to hold predictions against: of a challenge folder, or of a table of boxes alone.

    Without a table of categories an image with boxes is :attr:`~rsna_det.structures.Category.OPACITY`, and one
    without is of :data:`UNKNOWN_CATEGORY`.

    Args:
        path: a folder with the challenge's tables, or a CSV like its table of boxes.
        patients_csv: map from image to true patient (see :mod:`rsna_det.data.labels.patients`).
        sizes: height and width in source pixels of the images that are wanted, None for one whose size is not known:
            its boxes may lie anywhere. Other images are left out, unchecked. None: all images, 1024 x 1024 each, as in
            the challenge.

    Returns:
        The columns of :func:`read_labels`, one row an image, sorted by id; width and height 0 where not known.

    Raises:
        FileNotFoundError: a table is not there.
        LabelError: everything that is wrong with the tables, or that none of the wanted images is in them.
    """
    boxes_path = path / LABELS_CSV if path.is_dir() else path
    classes_path = path / CLASS_CSV if (path / CLASS_CSV).is_file() else None
    findings: list[Finding] = []
    table = collect(lambda: read_table(boxes_path, BOX_COLUMNS), findings)
    classes = collect(lambda: read_table(classes_path, ["patientId", "class"]), findings) if classes_path else None
    patients = collect(lambda: _read_patients(patients_csv), findings)
    if table is None or patients is None or findings:
        raise LabelError(findings)
    table, classes = _wanted(table, sizes), None if classes is None else _wanted(classes, sizes)
    if table.empty:
        problem = f"none of the {len(sizes or {})} images is in it; are these the labels of other data?"
        raise LabelError([Finding(file=boxes_path, row=None, problem=problem)])
    rows = parse_rows(table)
    images = _first_rows(_classes_by_boxes(rows) if classes is None else classes, sizes)
    findings += check_ids(boxes_path, table) + check_targets(boxes_path, rows) + check_boxes(boxes_path, rows, images)
    if classes_path and classes is not None:
        findings += check_ids(classes_path, classes) + check_categories(classes_path, classes)
        findings += check_together(boxes_path, rows, classes_path, images)
    if findings:
        raise LabelError(findings)
    return _assemble(images, rows, patients)


def read_test_ids(path: Path) -> frozenset[str]:
    """Ids to keep out of all folds: a CSV with a ``patientId`` column, or a bare list with one id a line.

    Raises:
        FileNotFoundError: there is no such file.
        LabelError: no ids, or lines that are none.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a CSV with a patientId column or one id a line, found no such file")
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        lines = [(number, line.strip()) for number, line in enumerate(file, start=1) if line.strip()]
    if lines and "patientId" in lines[0][1]:
        table = read_table(path, ["patientId"])
    else:
        table = pd.DataFrame(lines, columns=["row", "patientId"])
    if table.empty:
        raise LabelError([Finding(file=path, row=None, problem="no ids in it")])
    findings = check_ids(path, table)
    if findings:
        raise LabelError(findings)
    return frozenset(table["patientId"])


def _read_patients(path: Path | None) -> dict[str, str]:
    return {} if path is None else read_patients(path)


def _wanted(table: pd.DataFrame, sizes: Mapping[str, tuple[int, int] | None] | None) -> pd.DataFrame:
    return table if sizes is None else table[table["patientId"].isin(list(sizes))]


def _classes_by_boxes(rows: pd.DataFrame) -> pd.DataFrame:
    """A class table that says what the boxes say: of an image without boxes nothing."""
    boxed = rows["patientId"].isin(rows.loc[rows["boxed"], "patientId"])
    return rows[["patientId", "row"]].assign(**{"class": np.where(boxed, Category.OPACITY.label, "")})


def _first_rows(classes: pd.DataFrame, sizes: Mapping[str, tuple[int, int] | None] | None) -> pd.DataFrame:
    """One row per image of the class table: id, label, first row, and size in source pixels (NaN: unknown)."""
    images = classes.drop_duplicates("patientId").sort_values("patientId", ignore_index=True)
    images = images.rename(columns={"patientId": "image_id", "class": "label"})[["image_id", "label", "row"]]
    if sizes is None:
        return images.assign(height=float(_CHALLENGE_SIZE[0]), width=float(_CHALLENGE_SIZE[1]))
    unknown = (np.nan, np.nan)
    found = np.array([sizes.get(image_id) or unknown for image_id in images["image_id"]], dtype=np.float64)
    return images.assign(height=found[:, 0], width=found[:, 1])


def _assemble(images: pd.DataFrame, rows: pd.DataFrame, patients: Mapping[str, str]) -> pd.DataFrame:
    """The frame of images, from tables without a finding."""
    boxes = rows[rows["boxed"]]
    corners = boxes[["x", "y", "width", "height"]].to_numpy(np.float64)
    corners[:, 2:] += corners[:, :2]
    # Rows of one image need not be neighbours; a stable sort keeps its boxes in the order of the file.
    owner = np.searchsorted(images["image_id"].to_numpy(str), boxes["patientId"].to_numpy(str))
    order = np.argsort(owner, kind="stable")
    counts = np.bincount(owner, minlength=len(images))
    parts = np.split(corners[order].astype(np.float32), np.cumsum(counts)[:-1])
    column = pd.Series(parts, dtype=object)
    return pd.DataFrame(
        {
            "image_id": images["image_id"].astype(str),
            "category": images["label"].map(LABEL_CATEGORIES).fillna(UNKNOWN_CATEGORY).astype(np.int64),
            "boxes": column,
            "true_patient": [patients.get(name, UNKNOWN_PATIENT + name) for name in images["image_id"]],
            "width": images["width"].fillna(0).astype(np.int64),
            "height": images["height"].fillna(0).astype(np.int64),
        }
    )
