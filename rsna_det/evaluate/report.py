"""The operating report: everything that :mod:`rsna_det.evaluation.measures` measures, computed and written."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rsna_det.drawing.figures import calibration_figure, froc_figure
from rsna_det.evaluation.operating_report import OperatingReport, units_in_words
from rsna_det.files.atomic import write_text
from rsna_det.files.tables import markdown_table, write_csv


def write_report(report: OperatingReport, folder: Path, *, title: str, sections: Mapping[str, str]) -> None:
    """Write ``report.md`` for people, ``report.json`` for programs, the tables as CSV and two figures.

    Args:
        report: what was measured.
        folder: that exists.
        title: of the report.
        sections: further parts of ``report.md`` by their heading, before the report's own.

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


def _own_sections(report: OperatingReport) -> Sequence[str]:
    numbers = pd.DataFrame([(name.replace("_", " "), value) for name, value in report.numbers.items()])
    return [
        "## At the operating point\n\n"
        + markdown_table(numbers.set_axis(["measure", "value"], axis=1))
        + f"\n\nThe interval of the mAP is a 95% bootstrap over {units_in_words(report.results['true_patient'])}; it "
        "leaves out what another training run would give, and what choosing the operating point on the same images "
        "adds. A true box is found by a detection with IoU above 0.40. COCO's precision, FROC, the areas under the "
        "curve and the calibration look at all boxes after NMS, before any cut. A sensitivity given as - was not "
        "reached: all boxes together cost fewer false positives.",
        "## By category\n\n" + markdown_table(report.by_category),
        "## By number of true boxes\n\n" + markdown_table(report.by_number_of_boxes),
        "## Calibration of the box scores\n\n" + markdown_table(report.calibration),
        "![FROC](froc.png) ![calibration](calibration.png)",
    ]


def _without_nan(plain: Mapping[str, Any]) -> dict[str, Any]:
    """JSON knows no NaN."""
    return {name: None if isinstance(v, float) and np.isnan(v) else v for name, v in plain.items()}
