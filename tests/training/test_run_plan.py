"""What a run says of its disk and time, by a stand-in for the Trainer and a clock of its own."""

import logging
import shutil
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pandas as pd
import pytest
import torch
from pytorch_lightning import Trainer

from rsna_det.errors import StorageError
from rsna_det.training.module import DetectorModule
from rsna_det.training.run_plan import TIMED_STEPS, WARM_UP_STEPS, RunPlan

DATA = {
    "fold": 0,
    "batch_size": 8,
    "images": pd.DataFrame(),
    "describe": lambda: "data",
    "train_dataloader": list,
    "image_size": 64,
    "train_boxes": torch.zeros(0, 4),
}


def trainer(**facts: object) -> Any:
    """What passes for a Trainer and knows the given facts."""
    data = SimpleNamespace(**DATA, val_images=pd.DataFrame())
    usual = {"current_epoch": 0, "is_global_zero": True, "world_size": 1, "datamodule": data}
    return Mock(spec=Trainer, **(usual | facts))


def module() -> Any:
    detector = Mock(spec=DetectorModule, device=torch.device("cpu"), decoding=SimpleNamespace(max_candidates=300))
    detector.model = torch.nn.Identity()  # not asked: no box trains
    detector.parameters.return_value = [torch.zeros(1_000_000)]
    return detector


def test_a_disk_too_small_is_refused_before_the_first_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10_000_000))
    data = SimpleNamespace(**DATA, val_images=pd.DataFrame({"image_id": range(10)}))
    # 1,000,000 parameters x 12 bytes x 2 checkpoints = 24 MB, and a picture an epoch
    with pytest.raises(StorageError, match=r"may need 25\.1 MB, but .* has 10 MB: set `paths.runs`"):
        RunPlan(folder=str(tmp_path), every_epoch=False).on_fit_start(trainer(datamodule=data, max_epochs=1), module())


class Clock:
    """Seconds that pass only where a test lets them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds = 1000.0
        monkeypatch.setattr(time, "perf_counter", lambda: self.seconds)


def trained(plan: RunPlan, clock: Clock, *, epoch: int, steps: int, max_epochs: int, first: bool) -> None:
    """An epoch whose warm-up steps take 5 s each, the later ones 0.5 s and its validation 60 s."""
    detector = module()
    fitting = trainer(current_epoch=epoch, max_epochs=max_epochs, num_training_batches=steps)
    if first:
        plan.on_train_start(fitting, detector)
    plan.on_train_epoch_start(fitting, detector)
    for step in range(steps):
        clock.seconds += 5 if step < WARM_UP_STEPS else 0.5
        plan.on_train_batch_end(fitting, detector, None, None, step)
    clock.seconds += 60
    plan.on_train_epoch_end(fitting, detector)
    assert detector.mock_calls == [], "the steps that are timed are the run's own"


def test_the_time_is_that_of_the_first_steps_and_then_of_the_first_epoch(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock, plan = Clock(monkeypatch), RunPlan(folder="x", every_epoch=False)
    with caplog.at_level(logging.INFO):
        trained(plan, clock, epoch=0, steps=100, max_epochs=10, first=True)
    # 10 epochs x 100 steps x 0.5 s = 500 s, the warm-up left out; then 9 x (8 x 5 + 92 x 0.5 + 60 = 146 s) = 1314 s.
    steps, epoch = caplog.messages
    assert steps == (
        "time: about 8 min for 10 epochs of 100 steps, without validation (0.5 s per step of 8 images on "
        "1 x cpu, timed over steps 9 to 24)"
    )
    assert epoch == "time: about 22 min left for 9 epochs, since epoch 0 took 2 min with its validation"
    caplog.clear()
    trained(plan, clock, epoch=1, steps=100, max_epochs=10, first=False)
    assert caplog.messages == [], "every later epoch is logged by its metrics"


def test_a_resumed_run_is_timed_again_for_its_remaining_epochs(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock, plan = Clock(monkeypatch), RunPlan(folder="x", every_epoch=False)
    with caplog.at_level(logging.INFO):
        trained(plan, clock, epoch=8, steps=100, max_epochs=10, first=True)
    steps, epoch = caplog.messages
    assert steps.startswith("time: about 2 min for 2 epochs of 100 steps, without validation")  # 100 s
    assert epoch == "time: about 2 min left for 1 epoch, since epoch 8 took 2 min with its validation"


def test_a_short_epoch_is_timed_as_a_whole_and_the_last_one_not_at_all(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock(monkeypatch)
    with caplog.at_level(logging.INFO):
        short = WARM_UP_STEPS + TIMED_STEPS - 1
        trained(RunPlan(folder="x", every_epoch=False), clock, epoch=0, steps=short, max_epochs=2, first=True)
        trained(RunPlan(folder="x", every_epoch=False), clock, epoch=0, steps=short, max_epochs=1, first=True)
    (message,) = caplog.messages
    assert message.startswith("time: about 2 min left for 1 epoch")


def test_only_the_first_device_speaks(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    Clock(monkeypatch)
    plan, other = RunPlan(folder="x", every_epoch=False), trainer(is_global_zero=False, max_epochs=3)
    with caplog.at_level(logging.INFO):
        plan.on_fit_start(other, module())
        plan.on_train_start(other, module())
        for step in range(WARM_UP_STEPS + TIMED_STEPS):
            plan.on_train_batch_end(other, module(), None, None, step)
        plan.on_train_epoch_end(other, module())
    assert caplog.messages == []
