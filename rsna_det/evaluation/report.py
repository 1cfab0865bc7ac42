"""The operating report: everything that :mod:`rsna_det.evaluation.operating_report` measures, computed and written."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from rsna_det.atomic import whole_file, write_text
from rsna_det.evaluation import operating_report as measure
from rsna_det.evaluation.coco import coco_precision
from rsna_det.evaluation.figures import calibration_figure, froc_figure
from rsna_det.evaluation.metric import scores_of_lists
from rsna_det.evaluation.out_of_fold import true_boxes
from rsna_det.evaluation.postprocess import OperatingPoint, image_detections
from rsna_det.evaluation.predictions import CandidateRows
from rsna_det.evaluation.uncertainty import Interval, bootstrap_mean
from rsna_det.structures import UNKNOWN_PATIENT, Category

_BINS = 10


@dataclass(frozen=True, kw_only=True)
class OperatingReport:
    """What a detector is worth on a set of images.

    Attributes:
        point: the operating point.
        score: the challenge's, with its 95% interval over true patients.
        coco_ap50: COCO's average precision at IoU 0.50.
        coco_ap: the same, mean over IoU 0.50 to 0.95.
        auc_best_box: of telling images with an opacity by their best box.
        auc_global: of the same by the global class; NaN for a detector without it.
        results: what came of each image.
        froc: the curve, all scores.
        calibration: of the box scores.
        by_category: results of each category.
        by_number_of_boxes: results by the number of true boxes.
    """

    point: OperatingPoint
    score: Interval
    coco_ap50: float
    coco_ap: float
    auc_best_box: float
    auc_global: float
    results: pd.DataFrame
    froc: pd.DataFrame
    calibration: pd.DataFrame
    by_category: pd.DataFrame
    by_number_of_boxes: pd.DataFrame

    @property
    def numbers(self) -> dict[str, float]:
        """The report's single numbers by name; NaN where one is not defined."""
        rates = {f"{rate:g}": measure.sensitivity_at(self.froc, rate) for rate in measure.FALSE_POSITIVE_RATES}
        return {
            "images": len(self.results),
            "images_that_count": int(self.results["score"].notna().sum()),
            "true_patients": self.results["true_patient"].nunique() if self.knows_patients else float("nan"),
            "map": self.score.estimate,
            "map_low": self.score.low,
            "map_high": self.score.high,
            "sensitivity": self.sensitivity,
            "false_positives_per_image": self.false_positives_per_image,
            **{f"sensitivity_at_{rate}_false_positives": value for rate, value in rates.items()},
            "froc_mean_sensitivity": float(np.mean(list(rates.values()))),
            "coco_ap50": self.coco_ap50,
            "coco_ap": self.coco_ap,
            "auc_best_box": self.auc_best_box,
            "auc_global": self.auc_global,
            "expected_calibration_error": measure.expected_calibration_error(self.calibration),
        }

    @property
    def knows_patients(self) -> bool:
        """Whether the true patient of any image is known."""
        return bool((~_made_up(self.results["true_patient"])).any())

    @property
    def sensitivity(self) -> float:
        """Share of the true boxes that the operating point finds; NaN without true boxes."""
        total = int(self.results["true_boxes"].sum())
        return float(self.results["found"].sum()) / total if total else float("nan")

    @property
    def false_positives_per_image(self) -> float:
        """At the operating point."""
        return float(self.results["false_positives"].mean())


def make_report(
    *,
    images: pd.DataFrame,
    rows: CandidateRows,
    point: OperatingPoint,
    p_opacity: Float[np.ndarray, " images"],
    resamples: int,
    seed: int,
) -> OperatingReport:
    """Measure everything.

    Args:
        images: ``image_id``, ``true_patient``, ``category`` and ``boxes`` (source pixels) of each image.
        rows: their candidates.
        point: the operating point.
        p_opacity: of the global class; NaN where there is none.
        resamples: of the patients, for the intervals.
        seed: of the resampling.
    """
    truths = true_boxes(images)
    final = image_detections(rows, point)
    # FROC, COCO and calibration rank all boxes themselves.
    uncut = image_detections(rows, replace(point, cut=point.score_floor, relative_cut=0.0))
    scores = scores_of_lists(detections=final, truths=truths, cuts=[0.0])[:, 0].numpy()
    results = measure.image_results(images=images, detections=final, truths=truths, scores=scores)
    boxes = measure.right_and_scores(uncut, truths)
    ap50, ap = coco_precision(detections=uncut, truths=truths)
    opacity = (images["category"] == Category.OPACITY).to_numpy()
    said = ~np.isnan(p_opacity)
    bootstrap: dict[str, Any] = {"resamples": resamples, "seed": seed}
    return OperatingReport(
        point=point,
        score=bootstrap_mean(scores, true_patients=images["true_patient"].tolist(), **bootstrap),
        coco_ap50=ap50,
        coco_ap=ap,
        auc_best_box=measure.image_auc(measure.best_scores(uncut), opacity.tolist()),
        auc_global=measure.image_auc(p_opacity[said], opacity[said].tolist()),
        results=results,
        froc=measure.froc_curve(boxes, num_truths=sum(map(len, truths)), num_images=len(images)),
        calibration=measure.calibration(boxes, bins=_BINS),
        by_category=measure.by_category(results, **bootstrap),
        by_number_of_boxes=measure.by_number_of_boxes(results, **bootstrap),
    )


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


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Write a table's columns, whole or not at all.

    Raises:
        OSError: if it cannot be written; the message names the file.
    """
    with whole_file(path) as partial:
        table.to_csv(partial, index=False)


def units_in_words(true_patients: pd.Series) -> str:
    """What intervals and random halves are over: true patients, as far as the map from image to patient goes."""
    unknown = _made_up(true_patients)
    if unknown.all():
        return (
            "images (no patient map was given: each counts as a patient of its own, and the intervals are too narrow)"
        )
    if unknown.any():
        return (
            f"true patients ({unknown.sum()} of {len(unknown)} images are not in the patient map and count as one each)"
        )
    return "true patients"


def _made_up(true_patients: pd.Series) -> pd.Series:
    return true_patients.astype(str).str.startswith(UNKNOWN_PATIENT)


def markdown_table(frame: pd.DataFrame) -> str:
    """A frame as a table in Markdown, numbers to four places."""
    rows = [[str(name).replace("_", " ") for name in frame.columns], ["---"] * len(frame.columns)]
    rows += [[_escaped(_cell(value)) for value in row] for row in frame.itertuples(index=False)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _escaped(text: str) -> str:
    """What would end a cell or begin a tag."""
    return text.replace("|", r"\|").replace("<", "&lt;")


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


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "-" if np.isnan(value) else f"{value:g}" if value.is_integer() else f"{value:.4f}"
    return str(value)


def _without_nan(plain: Mapping[str, Any]) -> dict[str, Any]:
    """JSON knows no NaN."""
    return {name: None if isinstance(v, float) and np.isnan(v) else v for name, v in plain.items()}
