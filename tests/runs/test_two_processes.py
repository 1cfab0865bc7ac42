"""Two processes of one run give what one process gives, and a sweep wants one device."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

from rsna_det.config.compose import build
from rsna_det.config.devices import check_processes
from rsna_det.errors import ConfigError
from rsna_det.runs.session import build_module, run
from rsna_det.studies.plan import plan_study
from tests.short_runs import TRAINING_WARNINGS, environment, options_of, short_run

pytestmark = TRAINING_WARNINGS

# Nothing is drawn, scores near the prior of 0.01 count, and the batches of an epoch are full: an order of images is
# dealt out to the processes one by one, so that two batches of two hold what one of four does.
SAME = [
    "augmentation=none",
    "model.dropout_global=0",
    "decoding.score_floor=0.001",
    "decoding.max_candidates=3000",
    "decoding.nms_iou=0.7",
    "decoding.cut=0.005",
    "decoding.cut_grid=[0.002,0.02,0.002]",
    "trainer.max_epochs=2",
    "trainer.limit_train_batches=2",
]
ONE = ["data.batch_size=4"]
TWO = ["data.batch_size=2", "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]

LOSSES = ["train/loss", "train/box_class", "train/box_regression", "train/global_class"]
TOLERANCE = 1e-4
"""Relative, of the training losses: a convolution rounds otherwise with other batches, and Adam carries it on."""


@pytest.fixture(scope="module")
def runs(synthetic_root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folders of the same run by this process and, started as ``rsna-det train``, by two."""
    one, place = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("runs")
    run(options_of(synthetic_root, one, *SAME, *ONE))
    command = [sys.executable, "-m", "rsna_det.cli", "train", *short_run(synthetic_root, *SAME)]
    done = subprocess.run(
        [*command, *TWO, "logger=wandb", f"paths.runs={place}"],
        env=environment(),
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (two,) = place.glob("*/*")
    return one, two


def test_the_training_losses_are_the_same(runs: tuple[Path, Path]) -> None:
    one, two = (pd.read_csv(folder / "metrics.csv") for folder in runs)
    assert one["step"].tolist() == two["step"].tolist()
    assert two[LOSSES].to_numpy() == pytest.approx(one[LOSSES].to_numpy(), rel=TOLERANCE)
    assert one["train/loss"].iloc[1] != one["train/loss"].iloc[0]


def test_one_checkpoint_has_one_score(runs: tuple[Path, Path], synthetic_root: Path, tmp_path: Path) -> None:
    """Two processes validated what is in the last checkpoint; one process does so again."""
    _, two = runs
    options = options_of(
        synthetic_root, tmp_path, *SAME, *TWO, "trainer=cpu", "trainer.strategy=auto", "trainer.devices=1"
    )
    module = build_module(options)
    saved = torch.load(two / "checkpoints" / "last.ckpt", weights_only=True)
    module.load_state_dict(saved["state_dict"])
    data = build(options.data, augmentation=build(options.augmentation))
    trainer = build(options.trainer, logger=False, callbacks=[], enable_checkpointing=False)
    (scores,) = trainer.validate(module, data, verbose=False)
    logged = pd.read_csv(two / "metrics.csv").iloc[-1]
    for name in ("val/map", "val/map_best", "val/cut_best"):
        assert scores[name] == logged[name], name
    assert scores["val/map_best"] > 0, "the test is worth nothing if nothing was found"


def test_only_the_first_process_writes_to_wandb(runs: tuple[Path, Path]) -> None:
    one, two = runs
    assert not list(one.glob("wandb*"))
    (log,) = two.glob("wandb/offline-run-*/*.wandb")
    inspect = [str(Path(sys.executable).with_name("wandb")), "leet", "inspect", "--json", str(log)]
    read = subprocess.run(inspect, env=environment(), check=True, capture_output=True, text=True)
    kinds = [record["artifact"]["type"] for record in map(json.loads, read.stdout.splitlines()) if "artifact" in record]
    assert kinds == ["out-of-fold", "model"]


def test_a_sweep_of_several_devices_says_what_to_use() -> None:
    with pytest.raises(ConfigError, match="one job per GPU: use trainer=gpu in it, or trainer=ddp in a single run"):
        plan_study(["sweep=negatives", "data.root=somewhere", "trainer=ddp", "data.fold=0"])


TRAINER = {"strategy": "auto", "devices": 1, "num_nodes": 1}


@pytest.mark.parametrize(
    ("options", "started", "message"),
    [
        ({"strategy": "ddp", "devices": -1, "num_nodes": 2}, {}, "neither srun nor torchrun started"),
        ({}, {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "4"}, "torchrun started 4 processes.*trainer=ddp"),
        ({}, {"SLURM_STEP_NUM_TASKS": "2"}, "srun started 2 processes.*trainer=ddp"),
    ],
)
def test_processes_that_would_wait_for_each_other_are_refused(
    options: dict[str, object], started: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TORCHELASTIC_RUN_ID", "WORLD_SIZE", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in started.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=message):
        check_processes(TRAINER | options, sweep=False)


def test_processes_that_fit_are_let_through(monkeypatch: pytest.MonkeyPatch) -> None:
    several = {"strategy": "ddp", "devices": 4, "num_nodes": 2}
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("WORLD_SIZE", "8")
    check_processes(several, sweep=False)
    monkeypatch.setenv("WORLD_SIZE", "1")
    check_processes(TRAINER, sweep=True)
    # The shell of a job that asked for several tasks is one process.
    monkeypatch.delenv("TORCHELASTIC_RUN_ID")
    monkeypatch.setenv("SLURM_NTASKS", "8")
    check_processes(TRAINER, sweep=False)
