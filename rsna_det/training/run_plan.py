"""What a run will take: its disk before it starts, its time from its own first steps."""

import logging
import math
import shutil
import time
from pathlib import Path

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from rsna_det.boxes.matching import POSITIVE_FROM_IOU
from rsna_det.boxes.reach import best_anchor_ious
from rsna_det.errors import StorageError
from rsna_det.training.data import TrainingData, training_data
from rsna_det.training.module import DetectorModule

log = logging.getLogger(__name__)

BYTES_PER_CANDIDATE = 25
"""Measured on the Parquet files of real runs: six columns, ids dictionary-encoded."""

BYTES_PER_PICTURE = 2**20

WARM_UP_STEPS = 8
"""Steps before the clock starts: they start workers, choose kernels and take the batches that were loaded ahead."""

TIMED_STEPS = 16

UNREACHED_WARNING = 0.05
"""Share of label boxes without an anchor above which a run warns."""


class RunPlan(Callback):
    """Logs the size, reach of the anchors, disk and time of a run, and refuses to start on a disk that is too small.

    The time is estimated twice: from the first steps after :data:`WARM_UP_STEPS`, for training alone, and from the
    first epoch, with its validation. An epoch shorter than both together is timed as a whole only. The time that the
    first steps took to compile the network is in neither.

    Args:
        folder: the run's folder.
        every_epoch: whether the checkpoint of each epoch is kept.
    """

    def __init__(self, *, folder: str, every_epoch: bool) -> None:
        self.folder = Path(folder)
        self.every_epoch = every_epoch
        self._first_epoch = -1
        self._epoch_started = self._steps_started = math.nan
        self._compiling = 0.0

    def on_fit_start(self, trainer: Trainer, pl_module: DetectorModule) -> None:  # type: ignore[override]
        """Log the data, the boxes that the anchors reach and the disk space that the run needs.

        Raises:
            StorageError: if there is less.
        """
        if not trainer.is_global_zero:
            return
        data = training_data(trainer)
        epochs = _epochs_left(trainer)
        log.info("%s", data.describe())
        _log_reach(data, pl_module)
        needed = epochs * (
            len(data.val_images) * pl_module.decoding.max_candidates * BYTES_PER_CANDIDATE + BYTES_PER_PICTURE
        )
        # Weights and Adam's two moments, in float32.
        needed += sum(p.numel() for p in pl_module.parameters()) * 12 * (2 + self.every_epoch * epochs)
        self.folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.folder).free
        log.info("disk: at most %s in %s (%s free)", _size(needed), self.folder, _size(free))
        if needed > free:
            raise StorageError(
                f"the run may need {_size(needed)}, but {self.folder} has {_size(free)}: set `paths.runs` to a larger "
                "disk, or keep fewer checkpoints with `callbacks=default`"
            )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Remember where this start begins: a checkpoint is loaded by now."""
        self._first_epoch = trainer.current_epoch

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Start the epoch's clock."""
        self._epoch_started = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Time the steps after the warm-up, and log what the run's training will take."""
        del outputs, batch
        if trainer.current_epoch != self._first_epoch or not trainer.is_global_zero:
            return
        if batch_idx + 1 == WARM_UP_STEPS:
            self._steps_started = _now(pl_module.device)
        elif batch_idx + 1 == WARM_UP_STEPS + TIMED_STEPS:
            seconds = (_now(pl_module.device) - self._steps_started) / TIMED_STEPS
            if getattr(pl_module, "compiled", False):
                self._compiling = self._steps_started - self._epoch_started - WARM_UP_STEPS * seconds
            self._log_steps(trainer, pl_module, seconds=seconds)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Log what the rest of the run will take: the epoch's validation is over."""
        epochs = _epochs_left(trainer) - 1
        if trainer.current_epoch != self._first_epoch or not trainer.is_global_zero or epochs < 1:
            return
        seconds = time.perf_counter() - self._epoch_started - self._compiling
        log.info(
            "time: about %s left for %s, since epoch %d took %s with its validation",
            duration(epochs * seconds),
            "1 epoch" if epochs == 1 else f"{epochs} epochs",
            trainer.current_epoch,
            duration(seconds),
        )

    def _log_steps(self, trainer: Trainer, module: LightningModule, *, seconds: float) -> None:
        epochs, steps = _epochs_left(trainer), int(trainer.num_training_batches)
        log.info(
            "time: about %s for %d epochs of %d steps, without validation (%.2g s per step of %d images "
            "on %s, timed over steps %d to %d)",
            duration(epochs * steps * seconds),
            epochs,
            steps,
            seconds,
            training_data(trainer).batch_size,
            f"{trainer.world_size} x {module.device.type}",
            WARM_UP_STEPS + 1,
            WARM_UP_STEPS + TIMED_STEPS,
        )


def _log_reach(data: TrainingData, module: DetectorModule) -> None:
    """Say how many label boxes no anchor reaches, and warn if they are many: they are never learnt."""
    boxes = data.train_boxes
    if not len(boxes):
        return
    known = module.target_maker(data.image_size)
    ious = best_anchor_ious(
        boxes=boxes,
        image_size=data.image_size,
        feature_sizes=known.feature_sizes,
        levels=known.levels,
    )
    unreached = int((ious < POSITIVE_FROM_IOU).sum())
    share = unreached / len(boxes)
    if share <= UNREACHED_WARNING:
        log.info("anchors: reach all but %d of the %d boxes that train", unreached, len(boxes))
        return
    log.warning(
        "anchors: %.0f%% of the boxes that train (%d of %d) overlap no anchor by an IoU of %g or more and are never "
        "learnt: raise data.image_size (%d px), or add finer levels to model.levels (%s)",
        100 * share,
        unreached,
        len(boxes),
        POSITIVE_FROM_IOU,
        data.image_size,
        list(known.levels),
    )


def _epochs_left(trainer: Trainer) -> int:
    return max(0, (trainer.max_epochs or 1) - trainer.current_epoch)


def _now(device: torch.device) -> float:
    """The clock once the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _size(count: float) -> str:
    units = ("B", "kB", "MB", "GB", "TB")
    power = min(len(units) - 1, int(math.log10(max(count, 1)) // 3))
    return f"{count / 1000**power:.3g} {units[power]}"


def duration(seconds: float) -> str:
    """Seconds in words, such as ``3 h 20 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
