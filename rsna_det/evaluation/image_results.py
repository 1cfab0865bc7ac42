"""Results image by image, and by kind of image: category or number of true boxes.

True positives are detections with an IoU above 0.40, the lowest of the challenge's thresholds.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float
from torch import Tensor

from rsna_det.evaluation.measures import matched_detections
from rsna_det.evaluation.statistics.bootstrap import Interval, bootstrap_mean
from rsna_det.structures import Category, Detections

MANY_BOXES = 4
"""Images with this many true boxes or more are one kind in :func:`by_number_of_boxes`."""


def image_results(
    *,
    images: pd.DataFrame,
    detections: Sequence[Detections],
    truths: Sequence[Float[Tensor, "_ 4"]],
    scores: Float[np.ndarray, " images"],
) -> pd.DataFrame:
    """The result of each image at the operating point.

    Args:
        images: ``image_id``, ``true_patient``, ``category`` of each.
        detections: at the operating point.
        truths: true boxes.
        scores: the challenge's score of each image; NaN if it does not count.

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
    """The results of each category that occurs, and of images of unknown category.

    Args:
        results: of :func:`image_results`, of one image or more.
        resamples: of the patients, for the interval of the score.
        seed: of the resampling.

    Returns:
        One row per ``kind``: ``images``, ``images_that_count``, the challenge's ``score`` over these with its 95%
        interval ``score_low`` to ``score_high``, ``true_boxes``, ``true_positives``, ``false_positives_per_image`` and
        ``images_with_detections``.
    """
    names = {category.value: category.label for category in Category}
    kinds = results["category"].map(names).fillna("category unknown")
    order = [*names.values(), "category unknown"]
    return _by_kind(results, kinds, order, resamples=resamples, seed=seed)


def by_number_of_boxes(results: pd.DataFrame, *, resamples: int, seed: int) -> pd.DataFrame:
    """The results of images with 0, 1, 2, 3, and 4 or more true boxes; otherwise as :func:`by_category`."""
    counts = results["true_boxes"].clip(upper=MANY_BOXES)
    order = [*map(str, range(MANY_BOXES)), f"{MANY_BOXES} or more"]
    return _by_kind(results, counts.map(lambda count: order[count]), order, resamples=resamples, seed=seed)


def _by_kind(
    results: pd.DataFrame, kinds: pd.Series, order: Sequence[str], *, resamples: int, seed: int
) -> pd.DataFrame:
    """One row per kind that occurs."""
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
