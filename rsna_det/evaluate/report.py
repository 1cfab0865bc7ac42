"""The files of an operating report: ``report.md``, ``report.json``, tables as CSV, figures."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rsna_det.drawing.figures import calibration_figure, froc_figure
from rsna_det.drawing.tables import NONE, Style, number, readable_table, with_interval
from rsna_det.evaluation.measures import FALSE_POSITIVE_RATES
from rsna_det.evaluation.operating_point import OperatingPoint
from rsna_det.evaluation.operating_report import OperatingReport, units_in_words
from rsna_det.files.atomic import write_text
from rsna_det.files.tables import markdown_table, write_csv


def operating_point_table(point: OperatingPoint) -> pd.DataFrame:
    """The settings of an operating point in words: ``setting`` and ``value``."""
    rows = {
        "image size of the network (px)": f"{point.image_size:,}",
        "score floor of candidates": f"{point.score_floor:g}",
        "candidates per image, at most": f"{point.max_candidates:,}",
        "NMS IoU": f"{point.nms_iou:g}",
        "lowest score, as a share of the image's best": f"{point.relative_cut:g}",
        "score threshold": f"{point.cut:g}",
        "size rule": point.size_rule,
        "percentile rule: times the spread that is subtracted": f"{point.size_scale:g}",
        "rescale rule: factor of width and height": f"{point.rescale_factor:g}",
    }
    return pd.DataFrame([*rows.items()], columns=["setting", "value"])


def write_report(report: OperatingReport, folder: Path, *, title: str, sections: Mapping[str, str]) -> None:
    """Write ``report.md`` for people, ``report.json`` for programs, tables as CSV and two figures.

    Args:
        report: the measures.
        folder: that exists.
        title: of the report.
        sections: of ``report.md`` by their heading, before the report's own.

    Raises:
        OSError: if something cannot be written.
    """
    tables = {
        "by_category": report.by_category,
        "by_number_of_boxes": report.by_number_of_boxes,
        "calibration": report.calibration,
        "froc": report.froc,
        "image_results": report.results,
    }
    for name, table in tables.items():
        write_csv(table, folder / f"{name}.csv")
    froc_figure(
        report.froc, rate=report.false_positives_per_image, sensitivity=report.sensitivity, path=folder / "froc.png"
    )
    calibration_figure(report.calibration, folder / "calibration.png")
    plain = {"operating_point": asdict(report.point), **report.numbers}
    write_text(folder / "report.json", json.dumps(_without_nan(plain), indent=2) + "\n")
    parts = [f"# {title}", *(f"## {heading}\n\n{text}" for heading, text in sections.items()), *_own_sections(report)]
    write_text(folder / "report.md", "\n\n".join(parts) + "\n")


def readable_markdown(frame: pd.DataFrame, **headings: str) -> str:
    """A table in Markdown with rounded numbers, each beside its interval.

    Args:
        frame: of numbers and text.
        headings: in words, by column.
    """
    return markdown_table(readable_table(frame, Style(headings=headings)).frame())


def _own_sections(report: OperatingReport) -> Sequence[str]:
    return [
        f"## At the operating point\n\n{markdown_table(_measures(report))}",
        f"{_explained(report)}\n\n![FROC](froc.png)",
        f"## By category\n\n{_by_kind(report.by_category, 'category')}",
        f"## By number of true boxes\n\n{_by_kind(report.by_number_of_boxes, 'true boxes in the image')}",
        f"## Calibration of the box scores\n\n{readable_markdown(_bins(report.calibration))}",
        "Precision is the share of true positives; calibrated scores equal it.\n\n![calibration](calibration.png)",
    ]


def _explained(report: OperatingReport) -> str:
    units = units_in_words(report.results["true_patient"])
    return (
        f"The interval of the mAP is a 95% bootstrap over {units}. It includes neither training noise nor the choice "
        "of the operating point on the same images. A true box is found if a detection has an IoU above 0.40 with it. "
        "FROC, COCO's AP, the AUCs and the calibration use all detections after NMS, without the score threshold. "
        f"{NONE} in place of a sensitivity: the FROC curve ends before that rate."
    )


def _measures(report: OperatingReport) -> pd.DataFrame:
    """The report's numbers as text, by their names in words."""
    numbers, score = report.numbers, report.score
    rows = {
        "images": f"{numbers['images']:,}",
        "images that count for the mAP": f"{numbers['images_that_count']:,}",
        "true patients": number(numbers["true_patients"], decimals=0),
        "mAP (95% interval)": with_interval(score.estimate, score.low, score.high),
        "sensitivity": number(report.sensitivity),
        "false positives per image": number(report.false_positives_per_image),
        **{
            f"sensitivity at {rate:g} {'false positive' if rate == 1 else 'false positives'} per image": number(
                numbers[f"sensitivity_at_{rate:g}_false_positives"]
            )
            for rate in FALSE_POSITIVE_RATES
        },
        "mean of these sensitivities (FROC)": number(numbers["froc_mean_sensitivity"]),
        "COCO AP50": number(report.coco_ap50),
        "COCO AP (IoU 0.50 to 0.95)": number(report.coco_ap),
        "AUC, opacity by the best detection's score": number(report.auc_best_box),
        "AUC, opacity by the global class": number(report.auc_global),
        "expected calibration error": number(numbers["expected_calibration_error"]),
    }
    return pd.DataFrame([*rows.items()], columns=["measure", "value"])


def _by_kind(table: pd.DataFrame, kind: str) -> str:
    return readable_markdown(
        table.rename(columns={"score": "map", "score_low": "map_low", "score_high": "map_high"}),
        kind=kind,
        map="mAP",
        images_that_count="images that count for the mAP",
    )


def _bins(calibration: pd.DataFrame) -> pd.DataFrame:
    """The bins that hold detections, each with its scores as text."""
    filled = calibration[calibration["detections"] > 0]
    scores = [f"{low:.1f} to {high:.1f}" for low, high in zip(filled["low"], filled["high"], strict=True)]
    return pd.DataFrame({"score": scores, **filled[["detections", "mean_score", "precision"]]}).reset_index(drop=True)


def _without_nan(plain: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has no NaN."""
    return {name: None if isinstance(v, float) and np.isnan(v) else v for name, v in plain.items()}
