"""Table 1, with images and boxes counted separately, and figure 1: radiographs of each category with their boxes.

``python -m experiments.samples data.root=<challenge folder>``; a folder without images gives table 1 alone.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from experiments.reporting.command import FigureReport, main
from experiments.reporting.labelled import labelled_images, save_picture
from experiments.reporting.study_report import Part
from rsna_det.config.options import FigureOptions
from rsna_det.data.augmentation.examples import labelled_picture, network_image
from rsna_det.data.layout import IMAGES_DIR
from rsna_det.drawing.boxes import sheet
from rsna_det.errors import InvalidValueError
from rsna_det.structures import UNKNOWN_PATIENT, Category

PAPER = {Category.OPACITY: 9555, Category.ABNORMAL: 11821, Category.NORMAL: 8851}
"""Table 1's column of patients."""

PAPER_IMAGES = 26684
"""The paper's unique patients (section 2)."""

_FIGURE_ORDER = (Category.NORMAL, Category.ABNORMAL, Category.OPACITY)
_SIDE = 416


def sample_parts(options: FigureOptions, folder: Path) -> list[Part]:
    """Table 1, and figure 1 if there are images.

    Raises:
        RsnaDetError: if labels or an image are missing or damaged, or ``radiographs`` is below 1.
    """
    root, images = labelled_images(options.data)
    has_images = (root / IMAGES_DIR).is_dir()
    table = class_table(images, known_patients=options.data["patients_csv"] is not None)
    parts = [_table_part(table, root=root)]
    if has_images:
        shown = random_images(images, count=options.radiographs, seed=options.seed)
        parts.append(_figure_part(shown, root=root, side=_SIDE, columns=options.radiographs, folder=folder))
    else:
        parts[0] = Part(
            name=parts[0].name,
            title=parts[0].title,
            text=f"{parts[0].text}\n\n{root} has no {IMAGES_DIR}/, so figure 1 is left out.",
            table=table,
        )
    return parts


def class_table(images: pd.DataFrame, *, known_patients: bool) -> pd.DataFrame:
    """Images, boxes and rows of the table of boxes in each category.

    Args:
        images: of :func:`rsna_det.data.labels.reading.read_labels`.
        known_patients: whether a map from image to true patient was given.

    Returns:
        One row per category in the paper's order, and their total: ``class``, ``target``, ``images``, ``share of the
        images``, ``boxes``, ``rows of the table of boxes`` (one for an image without boxes), ``true patients`` (of
        images whose patient is known; NaN without a map) and ``paper, patients``.
    """
    rows = []
    for category in (*PAPER, None):
        own = images if category is None else images[images["category"] == category]
        boxes = own["boxes"].map(len)
        known = own[~own["true_patient"].str.startswith(UNKNOWN_PATIENT)]
        rows.append(
            {
                "class": "all" if category is None else category.label,
                "target": "" if category is None else str(int(category == Category.OPACITY)),
                "images": len(own),
                "share of the images": len(own) / len(images),
                "boxes": int(boxes.sum()),
                "rows of the table of boxes": int(np.maximum(boxes, 1).sum()),
                "true patients": known["true_patient"].nunique() if known_patients else np.nan,
                "paper, patients": PAPER_IMAGES if category is None else PAPER[category],
            }
        )
    return pd.DataFrame(rows)


def random_images(images: pd.DataFrame, *, count: int, seed: int) -> pd.DataFrame:
    """Images of each category drawn at random, in figure 1's order.

    Args:
        images: of :func:`rsna_det.data.labels.reading.read_labels`.
        count: of each category; a category that has fewer gives all.
        seed: of the drawing.

    Raises:
        InvalidValueError: for a count below 1.
    """
    if count < 1:
        raise InvalidValueError(f"radiographs is {count}; expected 1 or more (of each category)")
    parts = [images[images["category"] == category] for category in _FIGURE_ORDER]
    return pd.concat([part.sample(min(count, len(part)), random_state=seed) for part in parts])


def _table_part(table: pd.DataFrame, *, root: Path) -> Part:
    rows, paper = table["rows of the table of boxes"].iloc[:-1], table["paper, patients"].iloc[:-1]
    same = "equal the paper's numbers" if (rows == paper).all() else "differ from the paper's: these are other data"
    text = (
        f"Data: {root}. Table 1 of the paper counts rows of the challenge's table of boxes and calls them patients. An "
        "image has one row for each of its boxes, or one row if it has none: the paper's 9,555 patients with opacity "
        "are 9,555 boxes on 6,012 images. The 26,684 unique patients of section 2 are images, too, of about 11,400 "
        f"people. The rows counted here {same}. True patients are counted over images whose patient is known; a "
        "patient can have images of several classes."
    )
    return Part(name="samples_table_1", title="Classes (table 1)", text=text, table=table)


def _figure_part(shown: pd.DataFrame, *, root: Path, side: int, columns: int, folder: Path) -> Part:
    pictures, captions = [], []
    for category in _FIGURE_ORDER:
        own = shown[shown["category"] == category]
        for _, row in own.iterrows():
            pictures.append(labelled_picture(*network_image(row, root=root, side=side), side=side))
            captions.append(_caption(row))
        # A row of the sheet is one category's, however few it has.
        missing = columns - len(own)
        pictures += [np.zeros((side, side, 3), np.uint8)] * missing
        captions += [""] * missing
    path = save_picture(sheet(pictures, captions=captions, columns=columns, side=side), folder / "samples.png")
    table = pd.DataFrame(
        {
            "image": shown["image_id"],
            "class": [Category(value).label for value in shown["category"]],
            "boxes": shown["boxes"].map(len),
        }
    )
    text = (
        "Radiographs drawn at random from each class, with their labelled boxes. `seed=<n>` draws others, "
        "`radiographs=<n>` more."
    )
    return Part(name="samples", title="Radiographs of each class (figure 1)", text=text, table=table, figure=path)


def _caption(row: pd.Series) -> str:
    boxes: Sequence[object] = row["boxes"]
    count = f", {len(boxes)} {'box' if len(boxes) == 1 else 'boxes'}" if len(boxes) else ""
    return f"{Category(row['category']).label}{count}"


FIGURE = FigureReport(
    name="samples",
    title="Classes and samples (table 1, figure 1)",
    takes=("data", "radiographs", "seed"),
    parts=sample_parts,
)

if __name__ == "__main__":
    main(FIGURE)
