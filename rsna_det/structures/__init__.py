"""The nouns of the data flow: what one stage hands to the next.

Every arrow of the flow described in :mod:`rsna_det` is one of these dataclasses. Lists of unequal length are padded
tensors with a boolean mask. "Network pixels" are pixels of the padded square image that the network sees, "source
pixels" those of the radiograph on disk (1024 x 1024 in the challenge). Boxes are always ``x1, y1, x2, y2``.
"""

from rsna_det.structures.batches import Batch, BatchTargets, Sample, WindowGroup, Windows
from rsna_det.structures.categories import CATEGORY_LABELS, UNKNOWN_PATIENT, Category
from rsna_det.structures.detections import Candidates, Detections
from rsna_det.structures.outputs import AnchorTargets, BoxDeltas, DenseDeltas, HeadOutputs, Losses

__all__ = [
    "CATEGORY_LABELS",
    "UNKNOWN_PATIENT",
    "AnchorTargets",
    "Batch",
    "BatchTargets",
    "BoxDeltas",
    "Candidates",
    "Category",
    "DenseDeltas",
    "Detections",
    "HeadOutputs",
    "Losses",
    "Sample",
    "WindowGroup",
    "Windows",
]
