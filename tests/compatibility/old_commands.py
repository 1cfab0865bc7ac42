"""The commands that commit 7ceb7a4 was given: the tests give today's code the same."""

import re
from pathlib import Path

DATA = ("data=synthetic", "data.num_images=24", "data.source_side=64", "data.image_size=64")
OPTIONS = (
    *DATA,
    "data.batch_size=4",
    "data.num_workers=0",
    "augmentation=heavy",
    "encoder=tiny",
    "model=without_p2",
    "model.width=16",
    "optimizer=short",
    "decoding.score_floor=0.001",
    "decoding.max_candidates=500",
    "decoding.nms_iou=0.5",
    "decoding.cut=0.005",
    "decoding.cut_grid=[0.002,0.02,0.002]",
    "trainer=cpu",
    "trainer.max_epochs=2",
    "trainer.enable_progress_bar=false",
    "callbacks=every_epoch",
    "callbacks.images.count=2",
)
"""A run of seconds that still finds something."""

STUDY = ("-m", "+sweep=negatives", "data.fold=0", *OPTIONS, "logger=csv")

RADIOGRAPHS = Path("data/synthetic/stage_2_train_images")
COPIED_RADIOGRAPHS = Path("radiographs")
"""Of the killed prediction, so that a test may damage them."""

EVALUATION = ("runs=runs/finished/*", "splits=2", "resamples=100")
PREDICTION = ("checkpoints=runs/finished/*/checkpoints/epoch_*.ckpt", f"images={RADIOGRAPHS}", "pictures=2")
# Parts of 16 images, so that batches are those of the other prediction.
KILLED_PREDICTION = (PREDICTION[0], f"images={COPIED_RADIOGRAPHS}", "pictures=false", "memory_gb=0.0013")
EVALUATION_OF_PREDICTION = (
    "predictions=out/prediction",
    "labels=data/synthetic",
    "patients_csv=data/synthetic/patients.csv",
    "resamples=100",
)

_FOLD = "data.fold=0"
_ONE = ("+sweep=negatives", "data.train_negatives=true", _FOLD)
_LABELLED = "data.root=labels"
PLANNED = {
    **{
        f"the study {name}": (f"+sweep={name}", _LABELLED, _FOLD)
        for name in (
            *("augmentations", "dropout", "encoders", "ensemble", "multitask"),
            *("negatives", "p2", "pretraining", "published", "resolution"),
        )
    },
    "folds and seeds": ("+sweep=negatives", _LABELLED, "encoder=tiny", "data.num_folds=2", "seed=0,1"),
    "experiments": (*_ONE, _LABELLED, "encoder=tiny", "experiment=no_aug,heavy_aug_customrot,published_code"),
    "synthetic data": (*_ONE, "data=synthetic", "encoder=tiny", "augmentation=none,heavy,published_light"),
    "loggers": (*_ONE, "data=synthetic", "logger=wandb,csv", "encoder=efficientnet_lite0", "trainer=cpu"),
    "callbacks": (*_ONE, _LABELLED, "encoder=tiny", "callbacks=default,ema,every_epoch"),
    "models": (*_ONE, _LABELLED, "encoder=tiny", "model=small,without_p2,without_global", "optimizer=short"),
    "debugging": (*_ONE, "data=synthetic", "encoder=tiny", "debug=fast,overfit"),
    "another encoder": (*_ONE, _LABELLED, "encoder=timm", "encoder.name=convnext_tiny", "trainer.precision=16-mixed"),
    "files": (
        *_ONE,
        _LABELLED,
        "encoder=resnet34",
        "encoder.weights=labels/weights.pth",
        "data=rsna_stage1",
        "data.test_ids=labels/test_ids.csv",
        "data.patients_csv=labels/patients.csv",
        "data.folds_csv=null,labels/folds.csv",
    ),
}
"""What is planned -> the command that plans it, in a folder with :func:`write_labels`."""

RECORDED = (*_ONE, *OPTIONS, "trainer.max_epochs=1", "logger=wandb")
"""The study in ``data/studies``."""


def write_labels(folder: Path) -> None:
    """Tables of two images in the challenge's layout, and the other files that an option may name."""
    labels = folder / "labels"
    labels.mkdir()
    texts = {
        "stage_2_train_labels.csv": "patientId,x,y,width,height,Target\na,10,20,30,40,1\nb,,,,,0\n",
        "stage_2_detailed_class_info.csv": "patientId,class\na,Lung Opacity\nb,Normal\n",
        "patients.csv": "patientId,true_patient\na,1\nb,2\n",
        "folds.csv": "patientId,fold\na,0\nb,1\n",
        "test_ids.csv": "patientId\nc\n",
        "weights.pth": "these are no weights\n",
    }
    for name, text in texts.items():
        (labels / name).write_text(text)


def hashes_in(output: str) -> list[str]:
    """The hashes of the runs that a command lists, sorted."""
    return sorted(set(re.findall(r"\b[0-9a-f]{10}\b", output)))
