"""Training runs of seconds, for the tests of what comes after them."""

from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from rsna_det.config.compose import compose_config
from rsna_det.config.console import set_up

TRAINING_WARNINGS = pytest.mark.filterwarnings(
    "ignore:.*treespec.*",
    "ignore:.*does not have many workers.*",
    "ignore:.*in eval mode at the start.*",
    "ignore:.*smaller than the logging interval.*",
    "ignore:.*exists and is not empty.*",
    "ignore:.*GPU available but not used.*",
    "ignore::DeprecationWarning",
)
"""What Lightning warns of in runs of seconds."""


def small(root: Path, *overrides: str) -> list[str]:
    """A run of seconds that still finds something: scores near the prior of 0.01 count already."""
    return [
        f"data.root={root}",
        "data.image_size=64",
        "data.batch_size=4",
        "data.num_workers=1",
        f"data.patients_csv={root / 'patients.csv'}",
        "encoder=tiny",
        "model=retinanet",
        "model.width=16",
        "optimizer=short",
        "decoding.score_floor=0.001",
        "decoding.max_candidates=3000",
        "decoding.nms_iou=0.7",
        "decoding.cut=0.005",
        "decoding.cut_grid=[0.002,0.02,0.002]",
        "trainer=cpu",
        "trainer.max_epochs=3",
        "trainer.enable_progress_bar=false",
        "callbacks=every_epoch",
        "callbacks.images.count=4",
        *overrides,
    ]


def configured(folder: Path, root: Path, *overrides: str) -> DictConfig:
    """A composed configuration, saved as Hydra saves it."""
    set_up()
    config = compose_config("train", small(root, *overrides))
    (folder / ".hydra").mkdir(parents=True)
    OmegaConf.save(config, folder / ".hydra" / "config.yaml")
    config.run_dir = str(folder)
    return config


def small_run(root: Path, *overrides: str) -> list[str]:
    """Overrides of a run of one epoch without any draws of the augmentation."""
    return [
        f"data.root={root}",
        f"data.patients_csv={root / 'patients.csv'}",
        "data.image_size=64",
        "data.batch_size=4",
        "data.num_workers=0",
        "data.num_folds=2",
        "encoder=tiny",
        "model.width=16",
        "model.levels=[3,4,5,6,7]",
        "optimizer=short",
        "trainer=cpu",
        "trainer.max_epochs=1",
        "trainer.enable_progress_bar=false",
        "logger=csv",
        "callbacks.images.count=2",
        *overrides,
    ]


def composed(root: Path, folder: Path, *overrides: str) -> DictConfig:
    """The configuration of such a run in a folder."""
    set_up()
    config = compose_config("train", small_run(root, *overrides))
    config.run_dir = str(folder)
    return config
