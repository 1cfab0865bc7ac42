"""The operating report: all measures of a detector at its operating point and beyond."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from rsna_det.evaluation import measures as measure
from rsna_det.evaluation.candidate_rows import CandidateRows
from rsna_det.evaluation.coco import coco_precision
from rsna_det.evaluation.image_results import by_category, by_number_of_boxes, image_results
from rsna_det.evaluation.metric import scores_of_lists
from rsna_det.evaluation.operating_point import OperatingPoint, image_detections
from rsna_det.evaluation.out_of_fold import true_boxes
from rsna_det.evaluation.statistics.bootstrap import Interval, bootstrap_mean
from rsna_det.structures import UNKNOWN_PATIENT, Category

_BINS = 10


@dataclass(frozen=True, kw_only=True)
class OperatingReport:
    """A detector's performance on a set of images.

    Attributes:
        point: the operating point.
        score: the challenge's, with its 95% interval over true patients.
        coco_ap50: COCO's average precision at IoU 0.50.
        coco_ap: the same, mean over IoU 0.50 to 0.95.
        auc_best_box: ROC-AUC for images with an opacity, by the highest box score.
        auc_global: the same, by the global class; NaN without the global head.
        results: of each image.
        froc: the curve over all scores.
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
        """Whether the true patient of at least one image is known."""
        return bool((~_made_up(self.results["true_patient"])).any())

    @property
    def sensitivity(self) -> float:
        """Share of the true boxes that are detected at the operating point; NaN without true boxes."""
        total = int(self.results["true_boxes"].sum())
        return float(self.results["true_positives"].sum()) / total if total else float("nan")

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
    """Compute all measures.

    Args:
        images: ``image_id``, ``true_patient``, ``category`` and ``boxes`` (source pixels) of each image.
        rows: their candidates.
        point: the operating point.
        p_opacity: of the global class; NaN where unknown.
        resamples: of the patients, for the intervals.
        seed: of the resampling.
    """
    truths = true_boxes(images)
    final = image_detections(rows, point)
    # FROC, COCO and calibration rank all detections.
    uncut = image_detections(rows, replace(point, cut=point.score_floor, relative_cut=0.0))
    scores = scores_of_lists(detections=final, truths=truths, cuts=[0.0])[:, 0].numpy()
    results = image_results(images=images, detections=final, truths=truths, scores=scores)
    matched = measure.matched_detections(uncut, truths)
    ap50, ap = coco_precision(detections=uncut, truths=truths)
    opacity = (images["category"] == Category.OPACITY).to_numpy()
    known = ~np.isnan(p_opacity)
    bootstrap: dict[str, Any] = {"resamples": resamples, "seed": seed}
    return OperatingReport(
        point=point,
        score=bootstrap_mean(scores, true_patients=images["true_patient"].tolist(), **bootstrap),
        coco_ap50=ap50,
        coco_ap=ap,
        auc_best_box=measure.image_auc(measure.best_scores(uncut), opacity.tolist()),
        auc_global=measure.image_auc(p_opacity[known], opacity[known].tolist()),
        results=results,
        froc=measure.froc_curve(matched, num_truths=sum(map(len, truths)), num_images=len(images)),
        calibration=measure.calibration(matched, bins=_BINS),
        by_category=by_category(results, **bootstrap),
        by_number_of_boxes=by_number_of_boxes(results, **bootstrap),
    )


def units_in_words(true_patients: pd.Series) -> str:
    """The units of intervals and random halves: true patients, as far as the patient map goes."""
    unknown = _made_up(true_patients)
    if unknown.all():
        return "images (without a patient map each counts as a patient of its own, so the intervals are too narrow)"
    if unknown.any():
        return (
            f"true patients ({unknown.sum()} of {len(unknown)} images are not in the patient map; each counts as one)"
        )
    return "true patients"


def _made_up(true_patients: pd.Series) -> pd.Series:
    return true_patients.astype(str).str.startswith(UNKNOWN_PATIENT)
