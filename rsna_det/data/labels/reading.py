"""The challenge's tables -> one row per image: category, boxes, true patient; validated as a whole.

Sources: ``stage_2_train_labels.csv`` has a row per box (``patientId,x,y,width,height,Target``, in source pixels; an
image without boxes has one row with empty coordinates), ``stage_2_detailed_class_info.csv`` names each image's
category and repeats an id once per box.
"""

from collections.abc import Collection, Mapping
from pathlib import Path

import pandas as pd

from rsna_det.data.labels.checks import (
    BOX_COLUMNS,
    check_boxes,
    check_categories,
    check_images,
    check_targets,
    check_together,
    parse_rows,
)
from rsna_det.data.labels.csv_tables import LabelError, LabelProblem, check_ids, collect, read_table
from rsna_det.data.labels.frame import assemble, classes_by_boxes, first_rows
from rsna_det.data.labels.patients import read_patients
from rsna_det.data.layout import CLASS_CSV, LABELS_CSV
from rsna_det.files.reading import readable

_CLASS_COLUMNS = ["patientId", "class"]


def read_labels(
    *,
    root: Path,
    patients_csv: Path | None = None,
    sizes: Mapping[str, tuple[int, int]] | None = None,
    image_ids_on_disk: Collection[str] | None = None,
) -> pd.DataFrame:
    """The images of a training set with their labels, sorted by id.

    Args:
        root: folder with the tables.
        patients_csv: map from image to true patient (see :mod:`rsna_det.data.labels.patients`).
        sizes: height and width of each image in source pixels; None: 1024 x 1024, as in the challenge.
        image_ids_on_disk: ids of the files in the folder of *training* images; None: files are not compared with the
            tables. A file without labels is a problem, since a truncated table looks just like that.

    Returns:
        Columns ``image_id``, ``category`` (a :class:`~rsna_det.structures.Category` value), ``boxes`` (float32
        [boxes, 4], x1, y1, x2, y2 in source pixels), ``true_patient`` (``image:<id>`` where unknown), ``width`` and
        ``height`` (source pixels).

    Raises:
        MissingFileError, StorageError: a table cannot be read.
        LabelError: everything that is wrong with the tables, at once.
    """
    boxes_path, classes_path = root / LABELS_CSV, root / CLASS_CSV
    problems: list[LabelProblem] = []
    table = collect(lambda: read_table(boxes_path, BOX_COLUMNS), problems)
    classes = collect(lambda: read_table(classes_path, _CLASS_COLUMNS), problems)
    patients = collect(lambda: _read_patients(patients_csv), problems)
    if table is None or classes is None:
        raise LabelError(problems)
    rows = parse_rows(table)
    images = first_rows(classes, sizes)
    problems += check_ids(boxes_path, table) + check_ids(classes_path, classes)
    problems += check_targets(boxes_path, rows) + check_boxes(boxes_path, rows, images)
    problems += check_categories(classes_path, classes)
    problems += check_together(boxes_path, rows, classes_path, images)
    if image_ids_on_disk is not None or sizes is not None:
        problems += check_images(boxes_path, rows, on_disk=image_ids_on_disk, sizes=sizes)
    if patients and not set(patients) & set(images["image_id"]):
        problem = f"none of its {len(patients)} images is in {classes_path.name}; is it the map of other data?"
        problems.append(LabelProblem(file=Path(patients_csv or "."), row=None, problem=problem))
    if problems or patients is None:
        raise LabelError(problems)
    return assemble(images, rows, patients)


def read_truth(
    path: Path, *, patients_csv: Path | None = None, sizes: Mapping[str, tuple[int, int] | None] | None = None
) -> pd.DataFrame:
    """Labels to check predictions against, from a challenge folder or from a table of boxes alone.

    Without a table of categories an image with boxes is :attr:`~rsna_det.structures.Category.OPACITY`, and one
    without is of :data:`~rsna_det.data.labels.frame.UNKNOWN_CATEGORY`.

    Args:
        path: a folder with the challenge's tables, or a CSV like its table of boxes.
        patients_csv: map from image to true patient (see :mod:`rsna_det.data.labels.patients`).
        sizes: height and width in source pixels of the wanted images; None for an image of unknown size, whose boxes
            may lie anywhere. Other images are left out, unchecked. None: all images, 1024 x 1024 each, as in the
            challenge.

    Returns:
        The columns of :func:`read_labels`, one row an image, sorted by id; width and height 0 where unknown.

    Raises:
        MissingFileError, StorageError: a table cannot be read.
        LabelError: everything that is wrong with the tables, or that none of the wanted images is in them.
    """
    boxes_path = path / LABELS_CSV if path.is_dir() else path
    classes_path = path / CLASS_CSV if (path / CLASS_CSV).is_file() else None
    problems: list[LabelProblem] = []
    table = collect(lambda: read_table(boxes_path, BOX_COLUMNS), problems)
    classes = collect(lambda: read_table(classes_path, _CLASS_COLUMNS), problems) if classes_path else None
    patients = collect(lambda: _read_patients(patients_csv), problems)
    if table is None or patients is None or problems:
        raise LabelError(problems)
    table, classes = _wanted(table, sizes), None if classes is None else _wanted(classes, sizes)
    if table.empty:
        problem = f"none of the {len(sizes or {})} images is in it; are these the labels of other data?"
        raise LabelError([LabelProblem(file=boxes_path, row=None, problem=problem)])
    rows = parse_rows(table)
    images = first_rows(classes_by_boxes(rows) if classes is None else classes, sizes)
    problems += check_ids(boxes_path, table) + check_targets(boxes_path, rows) + check_boxes(boxes_path, rows, images)
    if classes_path and classes is not None:
        problems += check_ids(classes_path, classes) + check_categories(classes_path, classes)
        problems += check_together(boxes_path, rows, classes_path, images)
    if problems:
        raise LabelError(problems)
    return assemble(images, rows, patients)


def read_test_ids(path: Path) -> frozenset[str]:
    """Ids to keep out of all folds: a CSV with a ``patientId`` column, or a bare list with one id a line.

    Raises:
        MissingFileError, StorageError: the file cannot be read.
        LabelError: no ids, or lines that are not ids.
    """
    expected = "expected a CSV with a patientId column, or one id a line"
    with readable(path, missing=expected), path.open(encoding="utf-8-sig", errors="replace") as file:
        lines = [(number, line.strip()) for number, line in enumerate(file, start=1) if line.strip()]
    if lines and "patientId" in lines[0][1]:
        table = read_table(path, ["patientId"])
    else:
        table = pd.DataFrame(lines, columns=["row", "patientId"])
    if table.empty:
        raise LabelError([LabelProblem(file=path, row=None, problem="no ids in it")])
    problems = check_ids(path, table)
    if problems:
        raise LabelError(problems)
    return frozenset(table["patientId"])


def _read_patients(path: Path | None) -> dict[str, str]:
    return {} if path is None else read_patients(path)


def _wanted(table: pd.DataFrame, sizes: Mapping[str, tuple[int, int] | None] | None) -> pd.DataFrame:
    return table if sizes is None else table[table["patientId"].isin(list(sizes))]
