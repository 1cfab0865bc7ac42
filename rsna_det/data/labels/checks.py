"""What can be wrong with the challenge's tables: each check takes whole tables and returns the problems it found."""

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from rsna_det.data.labels.csv_tables import SAFE_ID, LabelProblem, report_rows
from rsna_det.structures import CATEGORY_LABELS, Category

COORDINATES = ["x", "y", "width", "height"]
BOX_COLUMNS = ["patientId", *COORDINATES, "Target"]
LABEL_CATEGORIES = {label: int(category) for category, label in CATEGORY_LABELS.items()}


def parse_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the box table with numbers in place of text.

    Added columns: ``boxed`` (all four coordinates are finite numbers), ``empty`` (all four cells are empty) and
    ``problem`` (what is wrong with the cells of a row, or an empty text).
    """
    rows = table[["patientId", "row"]].copy()
    problem = pd.Series("", index=table.index, dtype=object)
    absent = pd.DataFrame({name: table[name].str.lower().isin(["", "nan"]) for name in COORDINATES})
    absent["Target"] = False
    for name in absent.columns:
        rows[name] = pd.to_numeric(table[name], errors="coerce").astype(np.float64)
        wrong = ~np.isfinite(rows[name]) & ~absent[name]
        problem[wrong] += (
            f"{name} is " + table.loc[wrong, name].map(repr).astype(object) + ", expected a finite number; "
        )
    rows["empty"] = absent[COORDINATES].all(axis="columns")
    partly = absent[COORDINATES].any(axis="columns") & ~rows["empty"]
    problem[partly] += "only some of x, y, width, height are given; "
    rows["boxed"] = np.isfinite(rows[COORDINATES].to_numpy()).all(axis=1)
    rows["problem"] = problem.str.removesuffix("; ")
    return rows


def check_targets(path: Path, rows: pd.DataFrame) -> list[LabelProblem]:
    """Unreadable cells, a Target that is not 0 or 1, disagrees with its row's box or with the image's other rows."""
    target = rows["Target"]
    problems = report_rows(path, rows[rows["problem"] != ""], "{problem}")
    odd = target.notna() & np.isfinite(target) & ~target.isin([0, 1])
    problems += report_rows(path, rows[odd], "Target is {Target:g}, expected 0 or 1")
    problems += report_rows(path, rows[(target == 1) & rows["empty"]], "Target is 1 but there is no box")
    problems += report_rows(path, rows[(target == 0) & ~rows["empty"]], "Target is 0 but there is a box")
    first = rows.drop_duplicates("patientId").set_index("patientId")["Target"]
    mixed = target.isin([0, 1]) & (target != rows["patientId"].map(first)) & rows["patientId"].map(first).isin([0, 1])
    return problems + report_rows(path, rows[mixed], "Target differs from that of the image's first row")


def check_boxes(path: Path, rows: pd.DataFrame, images: pd.DataFrame) -> list[LabelProblem]:
    """Boxes without area or outside their image, and rows that occur twice."""
    boxes = rows[rows["boxed"]]
    flat = (boxes["width"] <= 0) | (boxes["height"] <= 0)
    shape = "box x={x:g} y={y:g} width={width:g} height={height:g} "
    problems = report_rows(path, boxes[flat], shape + "has no area")
    sizes = images.set_index("image_id")[["width", "height"]].add_prefix("image_")
    boxes = boxes.join(sizes, on="patientId")
    beyond = (boxes["x"] + boxes["width"] > boxes["image_width"]) | (
        boxes["y"] + boxes["height"] > boxes["image_height"]
    )
    outside = ~flat & (beyond | (boxes["x"] < 0) | (boxes["y"] < 0))
    place = "reaches outside its image of {image_width:g} x {image_height:g} pixels"
    problems += report_rows(path, boxes[outside], shape + place)
    twice = boxes.duplicated(["patientId", *COORDINATES])
    problems += report_rows(path, boxes[twice], shape + "occurs twice")
    empty = rows[rows["empty"]]
    return problems + report_rows(
        path, empty[empty.duplicated("patientId")], "image {patientId} has two rows without a box"
    )


def check_categories(path: Path, classes: pd.DataFrame) -> list[LabelProblem]:
    """Unknown categories, and images with two."""
    known = ", ".join(repr(label) for label in LABEL_CATEGORIES)
    unknown = classes[~classes["class"].isin(list(LABEL_CATEGORIES))]
    problems = report_rows(path, unknown, "category {class!r}, expected one of {known}", known=known)
    first = classes.drop_duplicates("patientId").set_index("patientId")["class"]
    both = classes.assign(first=classes["patientId"].map(first))
    both = both[both["class"] != both["first"]]
    return problems + report_rows(path, both, "image {patientId} has the categories {first!r} and {class!r}")


def check_together(
    boxes_path: Path, rows: pd.DataFrame, classes_path: Path, images: pd.DataFrame
) -> list[LabelProblem]:
    """Images that only one table has, and Targets that disagree with the category."""
    first = rows.drop_duplicates("patientId")
    lonely = first[~first["patientId"].isin(images["image_id"])]
    problems = report_rows(boxes_path, lonely, "image {patientId} is not in {other}", other=classes_path.name)
    lonely = images[~images["image_id"].isin(first["patientId"])]
    problems += report_rows(classes_path, lonely, "image {image_id} is not in {other}", other=boxes_path.name)
    labels = first.merge(images[["image_id", "label"]], left_on="patientId", right_on="image_id")
    labels = labels[labels["Target"].isin([0, 1]) & labels["label"].isin(list(LABEL_CATEGORIES))]
    positive = labels["label"] == Category.OPACITY.label
    clash = labels[positive != (labels["Target"] == 1)]
    problem = "Target is {Target:g} but the category in {other} is {label!r}"
    return problems + report_rows(boxes_path, clash, problem, other=classes_path.name)


def check_images(
    path: Path,
    rows: pd.DataFrame,
    *,
    on_disk: Collection[str] | None,
    sizes: Mapping[str, tuple[int, int]] | None,
) -> list[LabelProblem]:
    """Labelled images without a file (or without a known size), and files without labels."""
    first = rows.drop_duplicates("patientId")
    first = first[first["patientId"].str.fullmatch(SAFE_ID)]
    present = set(sizes or {}) if on_disk is None else set(on_disk)
    missing = first[~first["patientId"].isin(present)]
    problems = report_rows(path, missing, "there is no file for image {patientId}")
    if sizes is not None:
        unsized = first[first["patientId"].isin(present - set(sizes))]
        problems += report_rows(path, unsized, "the size of image {patientId} is unknown")
    if on_disk is not None:
        problem = "image {} has a file among the training images but no labels; add them or move the file away"
        unlabelled = sorted(present - set(rows["patientId"]))
        problems += [LabelProblem(file=path, row=None, problem=problem.format(image_id)) for image_id in unlabelled]
    return problems
