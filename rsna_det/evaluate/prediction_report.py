"""The evaluation of a prediction in words: which images, which members, which size rules; and on the console."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd

from rsna_det.config.console import table_of
from rsna_det.drawing.tables import number, with_interval
from rsna_det.evaluate.report import operating_point_table, readable_markdown
from rsna_det.evaluation.operating_point import OperatingPoint
from rsna_det.evaluation.operating_report import OperatingReport
from rsna_det.files.tables import markdown_table

log = logging.getLogger(__name__)

_NAMED = 5
_UNREADABLE = "could not be read at prediction and count as images without detections"


def coverage(files: pd.DataFrame, scored: pd.Series, *, listed: bool) -> str:
    """How many of the predicted images are scored, and which are not.

    Args:
        files: that were predicted, by image id; ``width`` is NaN for those that could not be read.
        scored: image ids.
        listed: whether a list of ids was given.
    """
    left_out = files.index.difference(pd.Index(scored))
    text = f"{len(scored):,} of {len(files):,} predicted images "
    text += "are on the list of ids and are scored." if listed else "have labels and are scored."
    if len(left_out):
        why = "are not on the list" if listed else "have no labels"
        text += f" {len(left_out):,} {why} and are left out: {first_ids(left_out)}."
    unreadable = int(files.loc[scored, "width"].isna().sum())
    return text + (f" {unreadable:,} of the scored images {_UNREADABLE}." if unreadable else "")


def warn_of_unreadable(files: pd.DataFrame) -> None:
    """Warn of images that could not be predicted.

    Args:
        files: as of :func:`coverage`.
    """
    unreadable = files.index[files["width"].isna()]
    if len(unreadable):
        log.warning("%d images %s: %s", len(unreadable), _UNREADABLE, first_ids(unreadable))


def first_ids(ids: pd.Index) -> str:
    """The first few of some ids."""
    return ", ".join(map(str, ids[:_NAMED])) + (", ..." if len(ids) > _NAMED else "")


def sections(members: pd.DataFrame, point: OperatingPoint, rules: pd.DataFrame, *, units: str) -> dict[str, str]:
    """Sections of the report in Markdown, by their headings.

    Args:
        members: rows of the prediction's table of members.
        point: the prediction's operating point.
        rules: the mAP of each size rule.
        units: what the bootstrap is over, in words.
    """
    return {
        "Members": _members(members),
        "Operating point": markdown_table(operating_point_table(point)),
        "Size rules": _size_rules(rules, units=units),
    }


def _members(members: pd.DataFrame) -> str:
    """The members, with a warning if some were trained on images of the prediction."""
    table = readable_markdown(members, images_trained_on="images of this prediction trained on")
    trained_on = members["images_trained_on"]
    if trained_on.isna().any():
        table += "\n\nFor some members it is unknown which images they were trained on."
    if (trained_on > 0).any():
        warning = (
            f"{(trained_on > 0).sum()} of {len(members)} members were trained on images of this prediction: the scores "
            "do not hold for new images"
        )
        log.warning(warning)
        table += f"\n\n**{warning}.**"
    return table


def _size_rules(rules: pd.DataFrame, *, units: str) -> str:
    """The size rules; the mean has no difference from itself."""
    shown = rules.rename(
        columns={"more_than_mean": "difference", "more_low": "difference_low", "more_high": "difference_high"}
    )
    shown.loc[shown["size_rule"] == "none", ["difference", "difference_low", "difference_high"]] = np.nan
    table = readable_markdown(shown, size_rule="size rule", map="mAP", difference="difference from mean")
    return f"{table}\n\nIntervals are 95% bootstraps over {units}. Differences are paired over the same images."


def show(report: OperatingReport, rules: pd.DataFrame, folder: Path) -> None:
    """Print the main numbers.

    Args:
        report: at the prediction's own operating point.
        rules: the mAP of each size rule.
        folder: of the report.
    """
    numbers, point = report.numbers, report.point
    scores = rules.set_index("method")[["map", "map_low", "map_high"]].astype(float)
    rows = {f"mAP, {method}": with_interval(*row) for method, *row in scores.itertuples(name=None)}
    rows |= {
        "operating point": f"score threshold {point.cut:g}, NMS IoU {point.nms_iou:g}, size rule {point.size_rule}",
        "sensitivity": number(report.sensitivity),
        "false positives per image": number(report.false_positives_per_image),
        "COCO AP50, AP": f"{number(numbers['coco_ap50'])}, {number(numbers['coco_ap'])}",
        "images": f"{numbers['images']:,}",
        "report": str(folder / "report.md"),
    }
    table_of("prediction scored with labels (95% intervals)", rows)
