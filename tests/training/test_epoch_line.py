"""Where no progress bar is seen, every epoch is one line."""

import logging
import sys
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
import torch
from pytorch_lightning import LightningModule, Trainer

from rsna_det.training.epoch_line import EpochLine

MODULE = Mock(spec=LightningModule)


def line(epoch: int, score: float, best: float, rest: str) -> str:
    losses = "train/loss 1.5000, val/loss 1.2500"
    return f"epoch {epoch} of 4: {losses}, val/map {score:.4f}, val/map_best {best:.4f}, {rest}"


def trainer(epoch: int, best: float, *, bar: object = None) -> Mock:
    metrics = {"train/loss": 1.5, "val/loss": 1.25, "val/map": best / 2, "val/map_best": best, "learning_rate": 0.1}
    return Mock(
        spec=Trainer,
        current_epoch=epoch,
        max_epochs=4,
        is_global_zero=True,
        progress_bar_callback=bar,
        callback_metrics={name: torch.tensor(value, dtype=torch.float64) for name, value in metrics.items()},
    )


def ended(lines: EpochLine, epoch: Mock, *, validates: bool = True) -> None:
    """An epoch with its validation, or without."""
    if validates:
        lines.on_validation_epoch_start(epoch, MODULE)
    lines.on_train_epoch_end(epoch, MODULE)


def test_an_epoch_without_validation_repeats_no_scores(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    lines = EpochLine()
    ended(lines, trainer(0, 0.25))
    ended(lines, trainer(1, 0.25), validates=False)
    assert caplog.messages[-1] == "epoch 2 of 4: train/loss 1.5000, best so far 0.2500 in epoch 1"


def test_losses_scores_the_best_so_far_and_the_time_left(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    clock = iter([0.0, 100.0, 200.0])
    monkeypatch.setattr("rsna_det.training.epoch_line.time.perf_counter", lambda: next(clock))
    lines = EpochLine()
    lines.on_train_start(trainer(0, 0.0), MODULE)
    ended(lines, trainer(0, 0.25))
    ended(lines, trainer(1, 0.125))
    ended(lines, trainer(3, 0.5))
    assert [record.getMessage() for record in caplog.records] == [
        line(1, 0.125, 0.25, "best so far 0.2500 in epoch 1, about 5 min left"),
        line(2, 0.0625, 0.125, "best so far 0.2500 in epoch 1, about 3 min left"),
        line(4, 0.25, 0.5, "best so far 0.5000 in epoch 4"),
    ]


def test_a_resumed_run_knows_the_best_of_before(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    first, second = EpochLine(), EpochLine()
    ended(first, trainer(0, 0.25))
    second.load_state_dict(first.state_dict())
    ended(second, trainer(3, 0.125))
    assert "best so far 0.2500 in epoch 1" in caplog.messages[-1]


@pytest.mark.parametrize(("terminal", "lines"), [(True, 0), (False, 1)])
def test_a_progress_bar_on_a_terminal_says_it_already(
    terminal: bool, lines: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, SimpleNamespace(isatty=lambda: terminal))
    ended(EpochLine(), trainer(3, 0.25, bar=SimpleNamespace(is_enabled=True)))
    assert len(caplog.records) == lines
