"""The whole way, from DICOM files to checkpoints and tables: what a run leaves, how it resumes, on several devices."""

import json
import logging
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch

from rsna_det import train
from rsna_det.boxes.decoding import detections
from rsna_det.errors import ConfigError
from rsna_det.evaluation.metric import challenge_map
from rsna_det.evaluation.tables import CANDIDATES_SCHEMA, IMAGES_SCHEMA, TRUTH_SCHEMA, read_table
from rsna_det.runs.resume import saved_run
from rsna_det.runs.session import build_module, run
from rsna_det.structures import Detections
from rsna_det.training.callbacks import EpochSeed
from rsna_det.training.checkpoint_io import AtomicCheckpointIO
from tests.documents.running import own_process
from tests.short_runs import TRAINING_WARNINGS, environment, options_of, short_run

pytestmark = TRAINING_WARNINGS

EPOCHS = 3
LONGER = [f"trainer.max_epochs={EPOCHS}", "logger=wandb", "data.num_workers=1"]


@pytest.fixture(scope="module")
def finished(synthetic_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of three epochs."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    run(options_of(synthetic_root, folder, *LONGER, "score_untrained=true"))
    return folder


def test_a_run_leaves_what_it_promises(finished: Path) -> None:
    assert sorted(path.name for path in (finished / "checkpoints").iterdir()) == [
        "best.ckpt",
        "epoch_00.ckpt",
        "epoch_01.ckpt",
        "epoch_02.ckpt",
        "last.ckpt",
    ]
    assert sorted(path.name for path in (finished / "predictions").iterdir()) == [
        *(f"epoch_0{n}.{table}.parquet" for n in range(EPOCHS) for table in ("candidates", "images")),
        "truth.parquet",
    ]
    assert len(list((finished / "images").glob("epoch_*.png"))) == EPOCHS
    assert list((finished / "wandb").glob("offline-run-*/*.wandb"))
    assert json.loads((finished / "result.json").read_text())["epochs"] == EPOCHS


def test_metrics_have_one_row_an_epoch_and_every_loss(finished: Path) -> None:
    metrics = pd.read_csv(finished / "metrics.csv")
    assert metrics["epoch"].tolist() == [0, 1, 2]
    losses = ["box_class", "box_regression", "global_class", "loss"]
    wanted = [f"{part}/{name}" for part in ("train", "val") for name in losses]
    wanted += ["val/map", "val/map_best", "val/cut_best", "val/global_accuracy", "val/global_auc", "learning_rate"]
    assert not metrics[wanted].isna().any(axis=None)
    weighted = metrics["val/box_class"] + metrics["val/box_regression"] + 0.1 * metrics["val/global_class"]
    assert metrics["val/loss"].to_numpy() == pytest.approx(weighted.to_numpy(), rel=1e-5)
    assert metrics["train/loss"].iloc[-1] < metrics["train/loss"].iloc[0]


def scores_from_tables(folder: Path, epoch: int, cut: float) -> float:
    """The challenge's score of an epoch, from its tables alone."""
    truth = read_table(folder / "predictions" / "truth.parquet", TRUTH_SCHEMA)
    truth = truth[truth["role"] == "val"]
    table = read_table(folder / "predictions" / f"epoch_{epoch:02d}.candidates.parquet", CANDIDATES_SCHEMA)
    found: list[Detections] = []
    for image_id in truth["image_id"]:
        rows = torch.tensor(table.loc[table["image_id"] == image_id, ["x1", "y1", "x2", "y2", "score"]].to_numpy())
        boxes, scores = rows[:, :4].float(), rows[:, 4].float()
        found.append(detections(boxes=boxes, scores=scores, nms_iou=0.7, relative_cut=0.5, cut=cut))
    truths = [torch.tensor([list(box) for box in boxes]).reshape(-1, 4) for boxes in truth["boxes"]]
    return challenge_map(detections=found, truths=truths)


def test_the_tables_give_the_logged_scores(finished: Path) -> None:
    metrics = pd.read_csv(finished / "metrics.csv").set_index("epoch")
    for epoch in range(EPOCHS):
        row = metrics.loc[epoch]
        assert scores_from_tables(finished, epoch, 0.005) == pytest.approx(row["val/map"], abs=1e-12)
        assert scores_from_tables(finished, epoch, row["val/cut_best"]) == pytest.approx(row["val/map_best"], abs=1e-12)
    assert metrics["val/map_best"].max() > 0, "the test is worth nothing if nothing was ever found"


def test_every_validation_image_is_there_exactly_once(finished: Path) -> None:
    truth = read_table(finished / "predictions" / "truth.parquet", TRUTH_SCHEMA)
    assert len(truth) == 24
    validated = sorted(truth.loc[truth["role"] == "val", "image_id"])
    for epoch in range(EPOCHS):
        images = read_table(finished / "predictions" / f"epoch_{epoch:02d}.images.parquet", IMAGES_SCHEMA)
        assert images["image_id"].tolist() == validated
        assert images[["p_abnormal", "p_normal", "p_opacity"]].sum(axis=1).to_numpy() == pytest.approx(1, abs=1e-5)


def test_a_checkpoint_stands_on_its_own(finished: Path) -> None:
    saved = torch.load(finished / "checkpoints" / "best.ckpt", weights_only=True)
    description = saved["rsna_det"]
    assert description["image_size"] == 64
    assert not description["encoder"]["pretrained"]
    assert description["model"]["levels"] == [2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("moment", ["as an epoch starts", "right after the checkpoint"])
def test_an_interrupted_run_resumes_as_if_it_had_not_stopped(
    moment: str, finished: Path, synthetic_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "stopped"
    seed_epoch = EpochSeed.on_train_epoch_start

    def stop(self: EpochSeed, trainer: object, module: object) -> None:
        if trainer.current_epoch == 2:  # type: ignore[attr-defined]
            raise RuntimeError("the power went out")
        seed_epoch(self, trainer, module)  # type: ignore[arg-type]

    save = AtomicCheckpointIO.save_checkpoint

    def save_and_stop(self: AtomicCheckpointIO, checkpoint: dict[str, object], path: str, **options: object) -> None:
        save(self, checkpoint, path, **options)
        if Path(path).name == "last.ckpt" and checkpoint["epoch"] == 1:
            raise RuntimeError("the power went out")

    options = options_of(synthetic_root, folder, *LONGER)
    with monkeypatch.context() as patched:
        if moment == "as an epoch starts":
            patched.setattr(EpochSeed, "on_train_epoch_start", stop)
        else:
            patched.setattr(AtomicCheckpointIO, "save_checkpoint", save_and_stop)
        with pytest.raises(RuntimeError, match="power"):
            run(options)
    run_id = (folder / "wandb_id").read_text()
    assert len(pd.read_csv(folder / "metrics.csv")) == 2

    run(saved_run([f"resume={folder}"]), checkpoint=folder / "checkpoints" / "last.ckpt")

    assert (folder / "wandb_id").read_text() == run_id
    assert (folder / "metrics.csv").read_text() == (finished / "metrics.csv").read_text()
    ours, theirs = (torch.load(f / "checkpoints" / "last.ckpt", weights_only=True) for f in (folder, finished))
    assert all(torch.equal(ours["state_dict"][name], value) for name, value in theirs["state_dict"].items())
    assert ours["lr_schedulers"] == theirs["lr_schedulers"]


def test_averaged_weights_are_kept_beside_the_raw_ones(synthetic_root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run(options_of(synthetic_root, folder, "callbacks=ema"))
    saved = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)
    raw, averaged = saved["current_model_state"], saved["state_dict"]
    name = "model.box_regression_head.last.weight"
    assert not torch.equal(raw[name], averaged[name])


def test_a_frozen_encoder_stays_and_the_heads_learn(synthetic_root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    options = options_of(synthetic_root, folder, "callbacks.encoder_freeze.epochs=1")
    run(options)
    torch.manual_seed(options.seed)
    untrained = build_module(options).state_dict()
    trained = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    changed = {name for name, value in trained.items() if not torch.equal(value, untrained[name])}
    assert not any(name.startswith("model.encoder.") for name in changed)
    assert "model.box_class_head.last.weight" in changed


class TestResume:
    """What may be changed when a run is resumed."""

    def test_trainer_and_logger_options_may_change(self, finished: Path) -> None:
        options = saved_run([f"resume={finished}", "trainer.precision=bf16-mixed", "logger=csv"])
        assert options.trainer["precision"] == "bf16-mixed"
        assert list(options.logger) == ["csv"]
        assert options.model["width"] == 16
        assert options.run_dir == finished

    def test_another_trainer_brings_its_devices_only(self, finished: Path) -> None:
        trainer = saved_run([f"resume={finished}", "trainer.precision=bf16-mixed", "trainer=ddp"]).trainer
        assert (trainer["strategy"], trainer["devices"]) == ("ddp", -1)
        assert (trainer["max_epochs"], trainer["precision"]) == (EPOCHS, "bf16-mixed")
        # What a GPU is set to comes with it, though the run had none.
        assert saved_run([f"resume={finished}", "trainer=ddp"]).callbacks["hardware"]["tf32"] is True
        assert "hardware" not in saved_run([f"resume={finished}"]).callbacks

    def test_a_wrong_type_is_named(self, finished: Path) -> None:
        with pytest.raises(ConfigError, match="max_epochs is 'two'"):
            saved_run([f"resume={finished}", "trainer.max_epochs=two"])

    def test_nothing_else_may(self, finished: Path) -> None:
        with pytest.raises(ConfigError, match=r"'model.width=32' cannot be changed"):
            saved_run([f"resume={finished}", "model.width=32"])

    def test_a_schedule_that_ends_with_its_run_cannot_be_made_longer(self, finished: Path) -> None:
        with pytest.raises(ConfigError, match="ends after its 3 epochs"):
            saved_run([f"resume={finished}", "trainer.max_epochs=5"])

    def test_an_unknown_option_is_answered_with_the_closest(self, finished: Path) -> None:
        with pytest.raises(ConfigError, match=r"no option trainer.max_epoch; the closest: max_epochs"):
            saved_run([f"resume={finished}", "trainer.max_epoch=5"])

    def test_the_last_run_is_the_one_started_last(self, finished: Path) -> None:
        assert saved_run(["resume=last", f"paths.runs={finished.parent}"]).run_dir == finished

    def test_no_run_at_all(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="no run with a checkpoint"):
            saved_run(["resume=last", f"paths.runs={tmp_path}"])
        with pytest.raises(ConfigError, match="not the folder of a run"):
            saved_run([f"resume={tmp_path}"])


@pytest.fixture
def command(synthetic_root: Path, tmp_path: Path) -> list[str]:
    overrides = short_run(synthetic_root, *LONGER, f"paths.runs={tmp_path / 'runs'}")
    return [sys.executable, "-m", "rsna_det.train", *overrides]


def test_a_killed_run_resumes_from_the_command_line(
    command: list[str],
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    process = subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 240
    while not list(tmp_path.glob("runs/*/*/checkpoints/last.ckpt")):
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    resume = [*command[:3], "resume=last", f"paths.runs={tmp_path / 'runs'}"]
    # While it lives no other process may resume it; this one is another.
    process.send_signal(signal.SIGSTOP)
    monkeypatch.setattr(sys, "argv", ["train", *resume[3:]])
    with own_process(), pytest.raises(SystemExit, match=f"is being written by process {process.pid} on "):
        train.main()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    done = subprocess.run(resume, env=environment(), check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (metrics,) = tmp_path.glob("runs/*/*/metrics.csv")
    assert metrics.read_text() == (finished / "metrics.csv").read_text()
    monkeypatch.setattr(sys, "argv", ["train", *resume[3:]])
    with own_process(), caplog.at_level(logging.INFO):
        train.main()
    assert "is finished: nothing to do" in caplog.text


def test_two_processes_validate_every_image_once(command: list[str], tmp_path: Path) -> None:
    """An odd number of images, a loss that counts nothing, and batches of one: nobody waits for anybody."""
    ddp = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.max_epochs=1"]
    ddp += ["data.batch_size=1", "loss.global_class=0.0"]
    done = subprocess.run([*command, *ddp], env=environment(), check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (folder,) = tmp_path.glob("runs/*/*")
    images = read_table(folder / "predictions" / "epoch_00.images.parquet", IMAGES_SCHEMA)
    truth = read_table(folder / "predictions" / "truth.parquet", TRUTH_SCHEMA)
    validated = sorted(truth.loc[truth["role"] == "val", "image_id"])
    assert len(validated) % 2 == 1
    assert images["image_id"].tolist() == validated
    row = pd.read_csv(folder / "metrics.csv").iloc[0]
    assert scores_from_tables(folder, 0, row["val/cut_best"]) == pytest.approx(row["val/map_best"], abs=1e-12)


def test_a_sweep_continues_after_a_run_that_fails(command: list[str], tmp_path: Path) -> None:
    # Runs 0 and 2 fail in their Trainer, with their loggers open.
    sweep = [*command[:3], "-m", *command[3:], "data.fold=0,1", "trainer.limit_train_batches=-1.0,1.0"]
    sweep += ["trainer.max_epochs=1"]
    done = subprocess.run(sweep, env=environment(), check=False, capture_output=True, text=True)
    assert done.returncode != 0
    assert "limit_train_batches" in done.stderr
    finished_runs = sorted(path.parent.name for path in tmp_path.glob("runs/*/*/*/result.json"))
    assert finished_runs == ["1", "3"]
    ids = {path.read_text() for path in tmp_path.glob("runs/*/*/[13]/wandb_id")}
    assert len(ids) == 2
    assert len(list(tmp_path.glob("runs/*/*/[13]/wandb/offline-run-*"))) == 2


def test_real_radiographs_go_all_the_way(real_data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run(options_of(real_data, folder, "data.limit_images=24"))
    assert scores_from_tables(folder, 0, 0.005) == pytest.approx(
        pd.read_csv(folder / "metrics.csv")["val/map"].iloc[0], abs=1e-12
    )
    assert list((folder / "images").glob("*.png"))
