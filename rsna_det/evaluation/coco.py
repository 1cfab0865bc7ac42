"""COCO's average precision, by a library that papers on other detectors use too."""

import warnings
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torchmetrics.detection import MeanAveragePrecision

from rsna_det.structures import Detections

MAX_DETECTIONS = 100
"""COCO evaluates this many of an image's detections, those of highest score."""


def coco_precision(*, detections: Sequence[Detections], truths: Sequence[Float[Tensor, "_ 4"]]) -> tuple[float, float]:
    """AP50 and AP (mean over IoU 0.50 to 0.95) of one class; NaN without true boxes.

    Args:
        detections: after NMS and before any cut, since COCO ranks the detections of all images; source pixels.
        truths: true boxes of each image, source pixels.
    """
    if not any(len(boxes) for boxes in truths):
        return float("nan"), float("nan")
    metric = MeanAveragePrecision(backend="faster_coco_eval", max_detection_thresholds=[1, 10, MAX_DETECTIONS])
    metric.warn_on_many_detections = False
    predicted = [{"boxes": d.boxes, "scores": d.scores, "labels": _one_class(d.scores)} for d in detections]
    metric.update(predicted, [{"boxes": boxes, "labels": _one_class(boxes)} for boxes in truths])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        result = metric.compute()
    return float(result["map_50"]), float(result["map"])


def _one_class(rows: Tensor) -> Tensor:
    return torch.zeros(len(rows), dtype=torch.long)
