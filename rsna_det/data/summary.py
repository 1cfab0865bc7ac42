"""The data of a run in numbers and in words."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from rsna_det.data.labels.folds import OUTSIDE, fold_report
from rsna_det.data.labels.selection import count_labels


def counts(*, train: pd.DataFrame, val: pd.DataFrame, images: pd.DataFrame) -> dict[str, Any]:
    """Images, positives and boxes of each part, and the report on the folds.

    Args:
        train: the rows that train.
        val: the rows that validate.
        images: all rows, with their folds.
    """
    return {
        "train": count_labels(train),
        "val": count_labels(val),
        "outside": count_labels(images[images["fold"] == OUTSIDE]),
        "folds": fold_report(images).to_dict("records"),
    }


def describe(plan: Mapping[str, Any]) -> str:
    """The plan of :meth:`rsna_det.data.datamodule.RsnaDataModule.plan` in words, one fact a line."""
    lines = [f"data: {plan['root']} at {plan['image_size']} px, fold {plan['fold']} of {plan['num_folds']}"]
    parts = [(part, plan[part]) for part in ("train", "val", "outside") if plan[part]["images"]]
    lines += [
        f"{part}: {found['images']} images, {found['positives']} with opacities, {found['boxes']} boxes"
        for part, found in parts
    ]
    folds = [row for row in plan["folds"] if row["fold"] != "total"]
    lines.append("images per fold: " + ", ".join(f"{r['fold']}: {r['images']} ({r['positives']})" for r in folds))
    own = next(row for row in plan["folds"] if row["fold"] == str(plan["fold"]))
    if plan["true_patients"]:
        lines.append(
            f"true patients: {own['shared_images']} validation images show a patient who is in another fold too"
        )
    else:
        lines.append("true patients: unknown, so one patient may be in several folds; give data.patients_csv")
    if plan["cached"]:
        lines.append(f"pixels: from the cache {plan['source']}")
    else:
        lines.append(
            f"pixels: decoded from {plan['source']} in every epoch; `python -m rsna_det.prepare` with the same data "
            "options decodes them once"
        )
    return "\n".join(lines)
