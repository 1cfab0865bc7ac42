"""Commands that are ended from outside: by a signal, by the death of W&B's process or of one of several devices."""

import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import wandb
from hypothesis import settings
from pytorch_lightning import LightningModule, Trainer

from rsna_det import train
from rsna_det.config.compose import build
from rsna_det.config.lightning_messages import quieten_lightning
from rsna_det.errors import ResourceError
from rsna_det.runs.folder import RunFolder
from rsna_det.runs.interruption import interruptions
from rsna_det.runs.session import run
from rsna_det.runs.tracking import finish_tracking
from rsna_det.runs.wandb_id import leave_id_to_original, run_id_of
from rsna_det.training.callbacks import EpochSeed
from tests.faults.killing import files_of
from tests.short_runs import TRAINING_WARNINGS, environment, interruptible, options_of, short_run

pytestmark = TRAINING_WARNINGS

SECONDS = 240


def wait_for(there: Callable[[], object], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + SECONDS
    while not there():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def started(words: list[str], **more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        interruptible("-m", *words),
        env=environment(**more),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def interrupted(process: subprocess.Popen[str]) -> str:
    """What a command says at Ctrl-C, pressed again if nothing comes of it: a library's import may swallow the first."""
    for _ in range(SECONDS // 15):
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=15)[1]
    raise AssertionError("it does not end")


@pytest.fixture(scope="module")
def words(synthetic_root: Path) -> list[str]:
    return ["rsna_det.train", *short_run(synthetic_root, "trainer.max_epochs=40", "callbacks.images.count=1")]


@pytest.fixture(scope="module")
def terminated(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, int]:
    """The folder of a run that got SIGTERM after its first epoch, what it said and its status."""
    folder = tmp_path_factory.mktemp("runs") / "my run"
    process = started([*words, f"hydra.run.dir='{folder}'"])
    wait_for((folder / "checkpoints" / "last.ckpt").is_file, process)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=SECONDS)
    return folder, said, process.returncode


def test_sigterm_ends_a_run_with_143_and_the_command_that_resumes_it(terminated: tuple[Path, str, int]) -> None:
    folder, said, status = terminated
    assert status == 143, said
    sentence = f"terminated: resume with `python -m rsna_det.train resume='{folder}'`"
    assert said.splitlines()[-1] == sentence
    assert sentence in (folder / "train.log").read_text()
    assert '"outcome": "Terminated' in (folder / "provenance.json").read_text()
    # No terminal: an epoch is a line.
    assert "epoch 1 of 40: train/loss" in said


def test_a_second_run_into_its_folder_is_refused(
    terminated: tuple[Path, str, int], words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _, _ = terminated
    before = files_of(folder)
    expected = f"error: {folder} holds a training run .*: resume it with `resume='{folder}'`, or choose another folder"
    for more in ([], ["seed=3"]):
        monkeypatch.setattr(sys, "argv", [*words, *more, f"hydra.run.dir='{folder}'"])
        with pytest.raises(SystemExit, match=expected):
            train.main()
    assert files_of(folder) == before


def test_leftovers_of_a_run_are_a_run(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkpoints without a record, a record without checkpoints."""
    for left in ("checkpoints/best.ckpt", ".hydra/config.yaml", "metrics.csv"):
        folder = tmp_path / left.replace("/", "_")
        (folder / left).parent.mkdir(parents=True)
        (folder / left).write_text("epoch: 0")
        monkeypatch.setattr(sys, "argv", [*words, f"hydra.run.dir={folder}"])
        with pytest.raises(SystemExit, match=rf"error: {folder} holds a training run .*: choose another folder"):
            train.main()
        assert list(files_of(folder)) == [left]


def test_a_sweep_into_the_folder_of_another_is_refused(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "0" / "checkpoints").mkdir(parents=True)
    (tmp_path / "0" / "checkpoints" / "last.ckpt").write_text("weights")
    monkeypatch.setattr(sys, "argv", [words[0], "-m", *words[1:], "seed=0,1", f"hydra.sweep.dir={tmp_path}"])
    with pytest.raises(
        SystemExit, match=rf"error: {tmp_path} holds the runs of another sweep \({tmp_path}/0\): choose"
    ):
        train.main()
    assert list(files_of(tmp_path)) == ["0/checkpoints/last.ckpt"]


def test_a_study_into_the_folder_of_a_run_is_refused(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "negatives" / "checkpoints").mkdir(parents=True)
    (tmp_path / "negatives" / "checkpoints" / "last.ckpt").write_text("weights")
    study = ["-m", "+sweep=negatives", f"paths.studies={tmp_path}", "data.fold=0", "data.num_folds=2"]
    monkeypatch.setattr(sys, "argv", [words[0], *study, *words[1:]])
    with pytest.raises(SystemExit, match=r"error: .*negatives holds a training run"):
        train.main()
    assert list(files_of(tmp_path)) == ["negatives/checkpoints/last.ckpt"]


def test_ctrl_c_ends_a_resumed_run_with_130_and_the_same_sentence(terminated: tuple[Path, str, int]) -> None:
    folder, _, _ = terminated
    last = folder / "checkpoints" / "last.ckpt"
    before = last.stat().st_mtime_ns
    process = started(["rsna_det.train", f"resume={folder}"])
    wait_for(lambda: last.stat().st_mtime_ns != before, process)
    said = interrupted(process)
    assert process.returncode == 130, said
    assert said.splitlines()[-1] == f"interrupted: resume with `python -m rsna_det.train resume='{folder}'`"


def test_an_interrupted_prediction_says_how_to_go_on(
    terminated: tuple[Path, str, int], synthetic_root: Path, tmp_path: Path
) -> None:
    folder, _, _ = terminated
    out = tmp_path / "out"
    members = f"checkpoints={folder / 'checkpoints' / 'best.ckpt'}".replace(" ", r"\ ")
    options = [members, f"images={synthetic_root / 'stage_2_train_images'}", "accelerator=cpu", "batch_size=1"]
    options += ["memory_gb=1e-6", "workers=1"]
    process = started(["rsna_det.predict", *options, f"out={out}"])
    wait_for((out / "parts" / "000000.part.json").is_file, process)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=SECONDS)
    assert process.returncode == 143, said
    assert said.splitlines()[-1].startswith("terminated: `python -m rsna_det.predict ")
    assert said.splitlines()[-1].endswith(f" out={out}` goes on")
    assert not (out / "submission.csv").exists()


def test_a_killed_wandb_core_does_not_end_the_training(
    synthetic_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "run"
    options = options_of(
        synthetic_root, folder, "trainer.max_epochs=3", "logger=wandb", "callbacks.images.count=1", "data.fold=1"
    )
    seed_epoch = EpochSeed.on_train_epoch_start

    def kill(self: EpochSeed, trainer: Trainer, module: LightningModule) -> None:
        if trainer.current_epoch == 1:
            (core,) = _children(os.getpid(), named="wandb-core")
            os.kill(core, signal.SIGKILL)
        seed_epoch(self, trainer, module)

    monkeypatch.setattr(EpochSeed, "on_train_epoch_start", kill)
    run(options)
    assert caplog.text.count("W&B's process has ended: the run goes on without it") == 1
    assert (folder / "result.json").is_file()
    assert len((folder / "metrics.csv").read_text().splitlines()) == 4
    # The next run of this process has a W&B of its own.
    assert wandb.run is None


def test_a_disabled_wandb_is_obeyed(synthetic_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    for mode in ("offline", "online"):
        options = options_of(synthetic_root, tmp_path / mode, "logger=wandb", f"logger.wandb.mode={mode}")
        logger = build(options.logger["wandb"])
        logger.log_metrics({"val/map": 0.1, "epoch": 0})
        finish_tracking()
        assert not list(tmp_path.rglob("*.wandb"))


def test_wandb_that_does_not_start_at_all_stops_nothing(
    synthetic_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    init = wandb.init

    def refuse(**options: Any) -> Any:
        if options["mode"] != "disabled":
            raise RuntimeError("no service")
        return init(**options)

    monkeypatch.setattr(wandb, "init", refuse)
    logger = build(options_of(synthetic_root, tmp_path / "run", "logger=wandb").logger["wandb"])
    logger.log_metrics({"val/map": 0.1, "epoch": 0})
    logger.log_hyperparams({"seed": 0})
    finish_tracking()
    assert "W&B answered with an error (no service): continuing" in caplog.text


def test_a_copied_run_gets_an_id_of_its_own_and_a_moved_one_keeps_it(tmp_path: Path) -> None:
    original, copy = RunFolder(tmp_path / "run"), RunFolder(tmp_path / "copy")
    number = run_id_of(original.path)
    assert run_id_of(original.path) == number
    shutil.copytree(original.path, copy.path)
    leave_id_to_original(copy, {original.checkpoints})
    assert run_id_of(copy.path) != number
    moved = RunFolder(original.path.rename(tmp_path / "moved"))
    leave_id_to_original(moved, {original.checkpoints})
    assert run_id_of(moved.path) == number


def _children(parent: int, *, named: str) -> list[int]:
    found = []
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            lines = dict(line.split(":\t", 1) for line in status.read_text().splitlines() if ":\t" in line)
        except OSError:
            continue
        if lines.get("PPid") == str(parent) and lines["Name"].startswith(named[:15]):
            found.append(int(lines["Pid"]))
    return found


def test_what_lightnings_observer_says_of_a_dead_process_is_our_sentence(caplog: pytest.LogCaptureFixture) -> None:
    quieten_lightning()
    logger = logging.getLogger("lightning_fabric.strategies.launchers.subprocess_script")
    propagated = logger.propagate
    logger.propagate = True
    logger.info(
        "[rank: 1] Child process with PID 7 terminated with code -9. Forcefully terminating all other processes"
    )
    logger.propagate = propagated
    said = (
        "error: one of the run's processes has died (Child process with PID 7 terminated with code -9); all are ended"
    )
    assert said in caplog.text


def test_a_gone_process_is_told_from_other_errors() -> None:
    one = Mock(poll=lambda: -9, pid=7, returncode=-9)
    trainer = Mock(spec=Trainer, world_size=2, strategy=Mock(launcher=Mock(procs=[one])))
    expected = r"has died \(that of device 1, process 7, with status -9\)"
    with pytest.raises(ResourceError, match=expected), interruptions(trainer):
        raise RuntimeError("Connection closed by peer")
    one.poll = lambda: None
    with pytest.raises(ResourceError, match=r"has died .Connection closed by peer"), interruptions(trainer):
        raise RuntimeError("Connection closed by peer")
    with pytest.raises(RuntimeError, match=r"^shapes differ$"), interruptions(trainer):
        raise RuntimeError("shapes differ")


@pytest.mark.hypothesis
@pytest.mark.skipif(settings().max_examples < 1000, reason="half a minute: make fuzz")
def test_the_death_of_one_of_two_processes_is_a_sentence(synthetic_root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    ddp = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.max_epochs=90"]
    process = started(["rsna_det.train", *short_run(synthetic_root, *ddp), f"hydra.run.dir={folder}"])
    wait_for((folder / "checkpoints" / "last.ckpt").is_file, process)
    (second,) = _children(process.pid, named="python")
    os.kill(second, signal.SIGKILL)
    _, said = process.communicate(timeout=SECONDS)
    assert process.returncode != 0
    assert "error: one of the run's processes has died (" in said
    assert "lower data.batch_size or data.num_workers. Then resume with `resume=<run folder>`" in said


def test_a_run_that_keeps_nothing_names_no_files(
    synthetic_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    run(options_of(synthetic_root, folder, "+trainer.fast_dev_run=true"))
    cells = [line.strip("│ ").split("│") for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    rows = {name.strip(): value.strip() for name, value in (cell for cell in cells if len(cell) == 2)}
    assert "fast_dev_run" in rows["ended"]
    assert "checkpoints" not in rows
    assert "metrics" not in rows
    parts = ("configuration", "provenance", "out-of-fold candidates", "pictures")
    named = [name for part in parts if part in rows for name in rows[part].split(", ")]
    assert named
    assert all((folder / name).exists() for name in named)
