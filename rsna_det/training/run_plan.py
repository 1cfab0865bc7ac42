"""States what a run will do before it does it: images, estimated time, disk."""

import logging
import math
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer

from rsna_det.structures import Batch
from rsna_det.training.module import DetectorModule

log = logging.getLogger(__name__)

BYTES_PER_CANDIDATE = 25
"""Measured on parquet files of real runs: six columns, ids dictionary-encoded."""

BYTES_PER_PICTURE = 2**20


class RunPlan(Callback):
    """Logs the run's size, time and disk before its first step, and refuses to start on a disk too small for it.

    The time is that of one training and one prediction step on a real batch, of the loading of its images, and of the
    number of steps: a first estimate, for a machine that does nothing else.

    Args:
        folder: the run's folder.
        every_epoch: whether each epoch's checkpoint is kept.
    """

    def __init__(self, *, folder: str, every_epoch: bool) -> None:
        self.folder = Path(folder)
        self.every_epoch = every_epoch

    def on_fit_start(self, trainer: Trainer, pl_module: DetectorModule) -> None:  # type: ignore[override]
        """State what the run needs of the disk.

        Raises:
            OSError: if there is less.
        """
        if not trainer.is_global_zero:
            return
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        epochs = _epochs_left(trainer)
        log.info("%s", data.describe())
        needed = epochs * (
            len(data.val_images) * pl_module.decoding.max_candidates * BYTES_PER_CANDIDATE + BYTES_PER_PICTURE
        )
        # Weights and Adam's two moments, in float32.
        needed += sum(p.numel() for p in pl_module.parameters()) * 12 * (2 + self.every_epoch * epochs)
        self.folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.folder).free
        log.info("disk: at most %s in %s (%s free)", _size(needed), self.folder, _size(free))
        if needed > free:
            raise OSError(
                f"the run may need {_size(needed)} but {self.folder} has {_size(free)}: set `paths.runs` to a larger "
                "disk, or keep fewer checkpoints with `callbacks=default`"
            )

    def on_train_start(self, trainer: Trainer, pl_module: DetectorModule) -> None:  # type: ignore[override]
        """State how long it may take; the model lies on its device now."""
        if not trainer.is_global_zero:
            return
        started = time.perf_counter()
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        dataset, workers = data.train_dataloader().dataset, data.train_dataloader().num_workers
        samples = [dataset[(i % len(dataset), 0)] for i in range(data.batch_size)]
        load_seconds = (time.perf_counter() - started) / max(1, min(workers, os.cpu_count() or 1))
        train_seconds, predict_seconds = _step_seconds(
            trainer, pl_module, data.collate(samples[:1]), data.collate(samples)
        )
        epochs, batches = _epochs_left(trainer), int(trainer.num_training_batches)
        val_share = len(data.val_images) / trainer.world_size / data.batch_size
        pace = max if workers else sum
        epoch_seconds = batches * pace((train_seconds, load_seconds)) + val_share * pace(
            (predict_seconds, load_seconds)
        )
        log.info(
            "time: about %s for %d epochs of %d steps on %s (%.2f s a step of %d images)",
            _duration(epochs * epoch_seconds),
            epochs,
            batches,
            f"{trainer.world_size} x {pl_module.device.type}",
            pace((train_seconds, load_seconds)),
            data.batch_size,
        )


def _epochs_left(trainer: Trainer) -> int:
    return max(0, (trainer.max_epochs or 1) - trainer.current_epoch)


def _step_seconds(trainer: Trainer, module: DetectorModule, warm_up: Batch, batch: Batch) -> tuple[float, float]:
    """Seconds of a training and of a prediction step, without a trace in weights, statistics or random state."""
    warm_up, batch = warm_up.to(module.device), batch.to(module.device)
    devices = [module.device] if module.device.type == "cuda" else []
    module.eval()
    with torch.random.fork_rng(devices), trainer.precision_plugin.forward_context():
        _backward(module, warm_up)
        train_seconds = _timed(lambda: _backward(module, batch), module.device)
        with torch.no_grad():
            predict_seconds = _timed(lambda: module(batch.images), module.device)
    module.zero_grad(set_to_none=True)
    module.train()
    return train_seconds, predict_seconds


def _backward(module: DetectorModule, batch: Batch) -> None:
    torch.autograd.backward(module.loss(module.losses(batch, module(batch.images))))


def _timed(work: Callable[[], object], device: torch.device) -> float:
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def _size(count: float) -> str:
    units = ("B", "kB", "MB", "GB", "TB")
    power = min(len(units) - 1, int(math.log10(max(count, 1)) // 3))
    return f"{count / 1000**power:.3g} {units[power]}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
