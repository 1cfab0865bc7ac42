"""Pneumonia detection in chest radiographs: the multi-task RetinaNet of Gabruseva et al. (2020) and its experiments.

The data flow, every arrow a dataclass of :mod:`rsna_det.structures`::

    <id>.dcm --data.dicom--> uint8 [H, W] --data.cache--> memory-mapped squares
    labels.csv --data.labels--> one row an image --data.folds--> + fold
       |  data.dataset + data.augmentation
    Sample --data.datamodule--> Batch
       |  models.encoder C2..C5 --> models.pyramid P2..P7 --> models.heads
    HeadOutputs                                    (models.ensemble averages several here)
       |-- boxes.anchors + boxes.matching --> AnchorTargets --training.losses--> Losses
       '-- boxes.decoding --> Candidates --> Detections
              |-- evaluation.metric: the challenge's mAP
              '-- training.callbacks.PredictionWriter --> tables --> evaluation (thresholds, report)
"""
