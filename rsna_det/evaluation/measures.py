"""Measures over all scores: FROC, ROC-AUC and calibration.

A true positive is a detection with an IoU above 0.40, the lowest of the challenge's thresholds; the challenge's own
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
from rsna_det.structures import Detections

FALSE_POSITIVE_RATES = (1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8)
"""False positives per image at which sensitivity is usually given."""


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
    """Free-response ROC: sensitivity over false positives per image.

    Args:
        matched: of :func:`matched_detections`, all scores.
        num_truths: true boxes of all images.
        num_images: with and without true boxes.

    Returns:
        One row per distinct score, descending: ``score`` (detections from it up count),
        ``false_positives_per_image`` and ``sensitivity`` (NaN without true boxes).
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
    """The highest sensitivity at up to ``rate`` false positives per image; 0 if every score has more.

    NaN without true boxes, and if even all detections together have fewer: the curve never reaches the rate.
    """
    rates = curve["false_positives_per_image"]
    if rates.empty or rates.iloc[-1] < rate:
        return float("nan")
    within = curve.loc[rates <= rate, "sensitivity"]
    return float(within.iloc[-1]) if len(within) else 0.0


def image_auc(scores: Float[np.ndarray, " images"], has_opacity: Sequence[bool]) -> float:
    """Area under the ROC curve for images with an opacity; NaN if all images have one, or none has."""
    if len(set(has_opacity)) < 2:
        return float("nan")
    return float(roc_auc_score(has_opacity, scores))


def best_scores(detections: Sequence[Detections]) -> Float[np.ndarray, " images"]:
    """The highest score of each image's detections; 0 without any."""
    return np.array([float(d.scores[0]) if len(d.scores) else 0.0 for d in detections])


def calibration(matched: pd.DataFrame, *, bins: int) -> pd.DataFrame:
    """The precision of detections by their score.

    Args:
        matched: of :func:`matched_detections`, all scores.
        bins: of equal width from 0 to 1.

    Returns:
        One row per bin: ``low`` (above), ``high`` (up to), ``detections``, ``mean_score`` and ``precision`` (NaN in an
        empty bin).

    Raises:
        ValueError: for fewer than one bin.
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
    """Mean distance between score and precision over bins, weighted by their detections; NaN without any."""
    filled = table[table["detections"] > 0]
    if filled.empty:
        return float("nan")
    return float(np.average((filled["mean_score"] - filled["precision"]).abs(), weights=filled["detections"]))
