"""What a detector is worth at its operating point and beyond it: FROC, ROC-AUC, calibration, results by kind of image.

A detection is a true positive here at the lowest of the challenge's thresholds (IoU above 0.40); the challenge's own
score uses all eight.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from sklearn.metrics import roc_auc_score
from torch import Tensor

from rsna_det.evaluation.metric import hits_of_lists
from rsna_det.evaluation.statistics.bootstrap import Interval, bootstrap_mean
from rsna_det.structures import Category, Detections

FALSE_POSITIVE_RATES = (1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8)
"""False positives per image at which sensitivities are usually given."""

MANY_BOXES = 4
"""Images with so many true boxes or more are one kind in :func:`by_number_of_boxes`."""


def matched_detections(detections: Sequence[Detections], truths: Sequence[Float[Tensor, "_ 4"]]) -> pd.DataFrame:
    """Every detection: number of its ``image``, its ``score`` and whether it is a ``true_positive``."""
    hits, _ = hits_of_lists(detections=detections, truths=truths)
    counts = [len(d.scores) for d in detections]
    mask = torch.arange(hits.shape[1]) < torch.tensor(counts, dtype=torch.long)[:, None]
    scores = torch.cat([d.scores for d in detections]) if detections else torch.zeros(0)
    return pd.DataFrame(
        {
            "image": np.repeat(np.arange(len(detections)), counts),
            "score": scores.double().numpy(),
            "true_positive": hits[..., 0][mask].numpy(),
        }
    )


def froc_curve(matched: pd.DataFrame, *, num_truths: int, num_images: int) -> pd.DataFrame:
    """Free-response ROC: what share of true boxes is found at the cost of how many false positives per image.

    Args:
        matched: of :func:`matched_detections`, all scores.
        num_truths: true boxes of all images.
        num_images: images, those without true boxes included.

    Returns:
        One row for each different score, from the highest: ``score`` (detections scored so or higher count),
        ``false_positives_per_image`` and ``sensitivity`` (NaN if there are no true boxes).
    """
    by_score = matched.groupby("score")["true_positive"].agg(["sum", "count"]).sort_index(ascending=False).cumsum()
    true_positives = by_score["sum"].to_numpy(np.float64)
    return pd.DataFrame(
        {
            "score": by_score.index.to_numpy(),
            "false_positives_per_image": (by_score["count"].to_numpy() - true_positives) / num_images,
            "sensitivity": true_positives / num_truths if num_truths else np.full(len(by_score), np.nan),
        }
    )


def sensitivity_at(curve: pd.DataFrame, rate: float) -> float:
    """The highest sensitivity at no more than ``rate`` false positives per image; 0 if every cut costs more.

    NaN without true boxes, and where all boxes together cost less than ``rate``: the detector never comes there, and
    what it would find is not known.
    """
    costs = curve["false_positives_per_image"]
    if costs.empty or costs.iloc[-1] < rate:
        return float("nan")
    within = curve.loc[curve["false_positives_per_image"] <= rate, "sensitivity"]
    return float(within.iloc[-1]) if len(within) else 0.0


def image_auc(scores: Float[np.ndarray, " images"], has_opacity: Sequence[bool]) -> float:
    """Area under the ROC curve of telling images with an opacity; NaN where only one kind is there."""
    if len(set(has_opacity)) < 2:
        return float("nan")
    return float(roc_auc_score(has_opacity, scores))


def best_scores(detections: Sequence[Detections]) -> Float[np.ndarray, " images"]:
    """The score of each image's best detection, 0 where there is none."""
    return np.array([float(d.scores[0]) if len(d.scores) else 0.0 for d in detections])


def calibration(matched: pd.DataFrame, *, bins: int) -> pd.DataFrame:
    """The precision of detections by their score.

    Args:
        matched: of :func:`matched_detections`, all scores.
        bins: equal parts of the scores from 0 to 1.

    Returns:
        One row a bin: ``low`` (above), ``high`` (up to), ``detections``, ``mean_score`` and ``precision`` (NaN in an
        empty bin).

    Raises:
        ValueError: for less than one bin.
    """
    if bins < 1:
        raise ValueError(f"expected one bin or more, got {bins}")
    edges = np.linspace(0, 1, bins + 1)
    owner = np.clip(np.searchsorted(edges, matched["score"], side="left") - 1, 0, bins - 1)
    columns = matched[["score", "true_positive"]].astype(np.float64)
    means = columns.groupby(owner).mean().reindex(range(bins))
    return pd.DataFrame(
        {
            "low": edges[:-1],
            "high": edges[1:],
            "detections": np.bincount(owner, minlength=bins),
            "mean_score": means["score"].to_numpy(),
            "precision": means["true_positive"].to_numpy(),
        }
    )


def expected_calibration_error(table: pd.DataFrame) -> float:
    """Mean distance between score and precision, weighted by the detections of a bin; NaN without detections."""
    filled = table[table["detections"] > 0]
    if filled.empty:
        return float("nan")
    return float(np.average((filled["mean_score"] - filled["precision"]).abs(), weights=filled["detections"]))


def image_results(
    *,
    images: pd.DataFrame,
    detections: Sequence[Detections],
    truths: Sequence[Float[Tensor, "_ 4"]],
    scores: Float[np.ndarray, " images"],
) -> pd.DataFrame:
    """What came of each image at the operating point.

    Args:
        images: ``image_id``, ``true_patient``, ``category`` of each.
        detections: at the operating point.
        truths: true boxes.
        scores: the challenge's score of each image; NaN where it does not count.

    Returns:
        These columns of ``images`` with ``true_boxes``, ``true_positives``, ``false_positives`` and ``score``.
    """
    matched = matched_detections(detections, truths)
    true_positives = np.bincount(matched["image"], weights=matched["true_positive"], minlength=len(images)).astype(int)
    return images[["image_id", "true_patient", "category"]].assign(
        true_boxes=[len(boxes) for boxes in truths],
        true_positives=true_positives,
        false_positives=np.bincount(matched["image"], minlength=len(images)) - true_positives,
        score=scores,
    )


def by_category(results: pd.DataFrame, *, resamples: int, seed: int) -> pd.DataFrame:
    """The results of each category that occurs, and of images whose category is not known.

    Args:
        results: of :func:`image_results`, of one image or more.
        resamples: of the patients, for the score's interval.
        seed: of the resampling.

    Returns:
        One row a ``kind``: ``images``, ``images_that_count``, the challenge's ``score`` over them with its 95% interval
        ``score_low`` to ``score_high``, ``true_boxes``, ``true_positives``, ``false_positives_per_image`` and
        ``images_with_detections``.
    """
    names = {category.value: category.label for category in Category}
    kinds = results["category"].map(names).fillna("category unknown")
    order = [*names.values(), "category unknown"]
    return _by_kind(results, kinds, order, resamples=resamples, seed=seed)


def by_number_of_boxes(results: pd.DataFrame, *, resamples: int, seed: int) -> pd.DataFrame:
    """The results of images with no, one, two, three, and four or more true boxes; otherwise as :func:`by_category`."""
    counts = results["true_boxes"].clip(upper=MANY_BOXES)
    order = [*map(str, range(MANY_BOXES)), f"{MANY_BOXES} or more"]
    return _by_kind(results, counts.map(lambda count: order[count]), order, resamples=resamples, seed=seed)


def _by_kind(
    results: pd.DataFrame, kinds: pd.Series, order: Sequence[str], *, resamples: int, seed: int
) -> pd.DataFrame:
    """One row for each kind that occurs."""
    rows = []
    for kind in order:
        part = results[kinds == kind]
        if part.empty:
            continue
        mean: Interval = bootstrap_mean(
            part["score"].to_numpy(np.float64),
            true_patients=part["true_patient"].tolist(),
            resamples=resamples,
            seed=seed,
        )
        detected = part["true_positives"] + part["false_positives"]
        rows.append(
            {
                "kind": kind,
                "images": len(part),
                "images_that_count": int(part["score"].notna().sum()),
                "score": mean.estimate,
                "score_low": mean.low,
                "score_high": mean.high,
                "true_boxes": int(part["true_boxes"].sum()),
                "true_positives": int(part["true_positives"].sum()),
                "false_positives_per_image": float(part["false_positives"].mean()),
                "images_with_detections": int((detected > 0).sum()),
            }
        )
    return pd.DataFrame(rows)
