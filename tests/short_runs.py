"""Training runs of seconds, for the tests of what comes after them."""

import os
import sys
from pathlib import Path

import pytest
from omegaconf import DictConfig

from rsna_det.config.check import check_config
from rsna_det.config.compose import compose_config
from rsna_det.config.console import set_up
from rsna_det.config.options import TrainOptions
from rsna_det.runs.folder import RunFolder

CHECKOUT = Path(__file__).parents[1]

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


def short_run(root: Path, *overrides: str) -> list[str]:
    """A run of seconds that still detects something: scores near the prior of 0.01 count already."""
    return [
        f"data.root={root}",
        f"data.patients_csv={root / 'patients.csv'}",
        "data.image_size=64",
        "data.batch_size=4",
        "data.num_workers=0",
        "encoder=tiny",
        "model.width=16",
        "optimizer=short",
        "decoding.score_floor=0.001",
        "decoding.max_candidates=3000",
        "decoding.nms_iou=0.7",
        "decoding.cut=0.005",
        "decoding.cut_grid=[0.002,0.02,0.002]",
        "trainer=cpu",
        "trainer.max_epochs=1",
        "trainer.enable_progress_bar=false",
        "callbacks=every_epoch",
        "callbacks.images.count=2",
        "logger=csv",
        *overrides,
    ]


def composed(root: Path, folder: Path, *overrides: str) -> DictConfig:
    """The configuration of a short run in a folder."""
    set_up()
    config = compose_config("train", short_run(root, *overrides))
    config.run_dir = str(folder)
    return config


def options_of(root: Path, folder: Path, *overrides: str) -> TrainOptions:
    """The options of a short run in a folder, where its configuration is saved as a command saves it."""
    config = composed(root, folder, *overrides)
    RunFolder(folder).save_config(config, short_run(root, *overrides))
    return check_config(config, TrainOptions)


def interruptible(*arguments: str) -> list[str]:
    """A Python command that Ctrl-C ends; what a shell starts in the background, such as these tests, ignores it."""
    start = (
        "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); "
        "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    )
    return [sys.executable, "-c", start, *arguments]


def environment(**more: str) -> dict[str, str]:
    """That of a new terminal: W&B and Slurm of this process would otherwise be the command's as well."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB", "SLURM"))}
    return own | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "default", "PYTHONPATH": str(CHECKOUT), **more}
