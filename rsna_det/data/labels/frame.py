"""The frame of images: one row an image, assembled from tables of boxes and categories."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from rsna_det.data.labels.checks import LABEL_CATEGORIES
from rsna_det.structures import UNKNOWN_PATIENT, Category

UNKNOWN_CATEGORY = -1
"""Of an image without boxes whose category is not known."""

# Height and width of every radiograph of the challenge, for work on the tables without the images.
_CHALLENGE_SIZE = (1024, 1024)


def first_rows(classes: pd.DataFrame, sizes: Mapping[str, tuple[int, int] | None] | None) -> pd.DataFrame:
    """One row per image of the class table: id, label, first row, and size in source pixels (NaN: unknown).

    Args:
        classes: rows of the class table.
        sizes: height and width of each image; None: the challenge's 1024 x 1024.
    """
    images = classes.drop_duplicates("patientId").sort_values("patientId", ignore_index=True)
    images = images.rename(columns={"patientId": "image_id", "class": "label"})[["image_id", "label", "row"]]
    if sizes is None:
        return images.assign(height=float(_CHALLENGE_SIZE[0]), width=float(_CHALLENGE_SIZE[1]))
    unknown = (np.nan, np.nan)
    found = np.array([sizes.get(image_id) or unknown for image_id in images["image_id"]], dtype=np.float64)
    return images.assign(height=found[:, 0], width=found[:, 1])


def classes_by_boxes(rows: pd.DataFrame) -> pd.DataFrame:
    """A class table made from boxes alone: "Lung Opacity" for an image with boxes, nothing for one without."""
    boxed = rows["patientId"].isin(rows.loc[rows["boxed"], "patientId"])
    return rows[["patientId", "row"]].assign(**{"class": np.where(boxed, Category.OPACITY.label, "")})


def assemble(images: pd.DataFrame, rows: pd.DataFrame, patients: Mapping[str, str]) -> pd.DataFrame:
    """The frame of images, from tables without a problem.

    Args:
        images: of :func:`first_rows`.
        rows: of :func:`rsna_det.data.labels.checks.parse_rows`.
        patients: true patient of each image that has a known one.

    Returns:
        The columns of :func:`rsna_det.data.labels.reading.read_labels`.
    """
    boxes = rows[rows["boxed"]]
    corners = boxes[["x", "y", "width", "height"]].to_numpy(np.float64)
    corners[:, 2:] += corners[:, :2]
    # Rows of one image need not be neighbours; a stable sort keeps its boxes in the order of the file.
    owner = np.searchsorted(images["image_id"].to_numpy(str), boxes["patientId"].to_numpy(str))
    order = np.argsort(owner, kind="stable")
    counts = np.bincount(owner, minlength=len(images))
    parts = np.split(corners[order].astype(np.float32), np.cumsum(counts)[:-1])
    return pd.DataFrame(
        {
            "image_id": images["image_id"].astype(str),
            "category": images["label"].map(LABEL_CATEGORIES).fillna(UNKNOWN_CATEGORY).astype(np.int64),
            "boxes": pd.Series(parts, dtype=object),
            "true_patient": [patients.get(name, UNKNOWN_PATIENT + name) for name in images["image_id"]],
            "width": images["width"].fillna(0).astype(np.int64),
            "height": images["height"].fillna(0).astype(np.int64),
        }
    )
