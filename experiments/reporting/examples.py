"""Radiographs that show what the variants of a study do: missed boxes, false positives, the best, the widest spread."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float

from experiments.reporting.runs import ScoredSeed
from rsna_det.evaluation.image_results import image_results
from rsna_det.evaluation.metric import scores_of_lists
from rsna_det.evaluation.operating_point import OperatingPoint, image_detections
from rsna_det.runs.agreement import common_settings
from rsna_det.structures import Detections


@dataclass(frozen=True, kw_only=True)
class VariantDetections:
    """What one variant detects on every image, at one epoch and score threshold.

    Attributes:
        variant: its label.
        epoch: the one that the honest selection chose most often.
        cut: score threshold; the median of those that it chose at this epoch.
        detections: of each image, source pixels.
        results: of :func:`~rsna_det.evaluation.image_results.image_results`.
    """

    variant: str
    epoch: int
    cut: float
    detections: Sequence[Detections]
    results: pd.DataFrame


@dataclass(frozen=True, kw_only=True)
class ExampleGroup:
    """Images of one kind, the most telling first.

    Attributes:
        title: of the kind.
        text: how they were chosen.
        images: their numbers in the study's images.
    """

    title: str
    text: str
    images: Sequence[int]


def detections_of_variants(scored: Mapping[str, Sequence[ScoredSeed]]) -> list[VariantDetections]:
    """The detections of every variant's first seed, at the epoch and threshold that it usually chose.

    Args:
        scored: by the variant's label, its seeds in order.

    Raises:
        RsnaDetError: if a run's configuration or tables are missing or damaged.
    """
    return [_detections_of(label, seeds[0]) for label, seeds in scored.items()]


def example_groups(variants: Sequence[VariantDetections], images: pd.DataFrame, *, count: int) -> list[ExampleGroup]:
    """The most telling images of each kind, over all variants; kinds without an image are left out.

    Args:
        variants: all of the same images.
        images: the columns of the truth table.
        count: of images of a kind, at most.
    """
    hits, false, scores = (
        np.stack([one.results[name].to_numpy(np.float64) for one in variants])
        for name in ("true_positives", "false_positives", "score")
    )
    truths = variants[0].results["true_boxes"].to_numpy()
    confidence = np.stack([_best_score(one.detections) for one in variants]).mean(axis=0)
    area = np.array([_area(boxes) for boxes in images["boxes"]])
    # An image without boxes and without detections does not count for the mAP; here it is as good as a perfect one.
    settled = np.nan_to_num(scores, nan=1.0)
    kinds = {
        "Missed": (
            "Radiographs whose labelled boxes the fewest variants find (IoU above 0.4). Ties: the largest boxes.",
            (truths > 0) & (hits.mean(axis=0) < truths),
            [-area, (hits / np.maximum(truths, 1)).mean(axis=0)],
        ),
        "False positives": (
            "Radiographs without labelled boxes on which most variants detect something. Ties: the highest scores.",
            (truths == 0) & (false.sum(axis=0) > 0),
            [-confidence, -(false > 0).mean(axis=0)],
        ),
        "Best": (
            "Radiographs with labelled boxes and the highest mean image score over the variants.",
            (truths > 0) & (settled.mean(axis=0) > 0),
            [-confidence, -settled.mean(axis=0)],
        ),
        "Where the variants differ most": (
            "The widest spread of the image score over the variants; 1 is taken where it does not count for the mAP.",
            settled.std(axis=0) > 0,
            [-confidence, -settled.std(axis=0)],
        ),
    }
    groups = [
        ExampleGroup(title=title, text=text, images=_first(wanted, keys, count))
        for title, (text, wanted, keys) in kinds.items()
    ]
    return [group for group in groups if group.images]


def _detections_of(label: str, seed: ScoredSeed) -> VariantDetections:
    decoding, image_size = common_settings(seed.folders)
    epoch = int(seed.chosen["epoch"].mode().iloc[0])
    cuts = seed.chosen.loc[seed.chosen["epoch"] == epoch, "cut"]
    cut = float(cuts.quantile(0.5, interpolation="lower"))
    truths = seed.joined.truths
    point = OperatingPoint.of_run(
        decoding=decoding, image_size=image_size, score_floor=min(decoding.score_floor, cut), cut=cut, epoch=epoch
    )
    detections = image_detections(seed.joined.candidates(epoch), point)
    scores = scores_of_lists(detections=detections, truths=truths, cuts=[0.0])[:, 0].numpy()
    results = image_results(images=seed.joined.images, detections=detections, truths=truths, scores=scores)
    return VariantDetections(variant=label, epoch=epoch, cut=cut, detections=detections, results=results)


def _first(wanted: np.ndarray, keys: Sequence[Float[np.ndarray, " images"]], count: int) -> list[int]:
    """The first wanted images, sorted by the keys: the last key first."""
    order = np.lexsort(keys)
    return [int(index) for index in order if wanted[index]][:count]


def _best_score(detections: Sequence[Detections]) -> Float[np.ndarray, " images"]:
    return np.array([float(own.scores[0]) if len(own.scores) else 0.0 for own in detections])


def _area(boxes: Sequence[Sequence[float]]) -> float:
    return float(sum((x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in boxes))
