"""Pneumonia detection in chest radiographs: the multi-task RetinaNet of Gabruseva et al. (2020) and its experiments.

The data flow, every arrow a dataclass of :mod:`rsna_det.structures`::

    <id>.dcm --data.dicom--> uint8 [H, W] --data.cache--> memory-mapped squares
    labels.csv --data.labels--> one row per image, with its fold
       |  data.dataset + data.augmentation
    Sample --data.dataset--> Batch
       |  models.encoder C2..C5 --> models.pyramid P2..P7 --> models.heads
    HeadOutputs                                    (models.ensemble averages several here)
       |-- boxes.anchors + boxes.matching, in the loader --> BatchTargets --training.losses--> Losses
       '-- boxes.decoding --> Candidates --> Detections
              |-- evaluation.metric: the challenge's mAP
              '-- training.callbacks.PredictionWriter --> tables --> evaluation, drawing, experiments

In Python, trained detectors are functions from radiographs to boxes:

>>> from rsna_det import Detector
>>> detector = Detector.from_checkpoints("runs/*/checkpoints/best.ckpt")
>>> found = detector("radiograph.dcm")  # found.boxes: [n, 4] in pixels of the radiograph, found.scores: [n]
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rsna_det.data.dicom.reading import read_radiograph
    from rsna_det.evaluation.metric import challenge_map
    from rsna_det.predict.detector import Detector, Prediction
    from rsna_det.structures import Detections

__all__ = ["Detections", "Detector", "Prediction", "challenge_map", "read_radiograph"]

_HOMES = {
    "Detections": "rsna_det.structures",
    "Detector": "rsna_det.predict.detector",
    "Prediction": "rsna_det.predict.detector",
    "challenge_map": "rsna_det.evaluation.metric",
    "read_radiograph": "rsna_det.data.dicom.reading",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used, so that commands start without torch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
