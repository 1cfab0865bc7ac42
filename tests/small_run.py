"""A detector that trains in seconds, for tests of what happens around the training."""

from pathlib import Path

from omegaconf import DictConfig

from rsna_det.cli import set_up
from rsna_det.config import compose_config


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
