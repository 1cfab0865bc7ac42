"""One line an epoch where no progress bar is seen: in the output of Slurm, of nohup, in a file."""

import logging
import math
import sys
import time
from typing import Any

from pytorch_lightning import LightningModule, Trainer

from rsna_det.training.epoch_table import OwnMetrics
from rsna_det.training.run_plan import duration

log = logging.getLogger(__name__)

_BEST = "val/map_best"
_SHOWN = ("train/loss", "val/loss", "val/map", _BEST)


class EpochLine(OwnMetrics):
    """Logs losses, mAP, the best so far and the time left after each epoch and its validation."""

    def __init__(self) -> None:
        super().__init__()
        self.best, self.best_epoch = -math.inf, -1
        self._started = math.nan
        self._first_epoch = 0

    def state_dict(self) -> dict[str, float | int]:
        """The best score and its epoch, which a resumed run goes on from."""
        return {"best": self.best, "best_epoch": self.best_epoch} if self.best_epoch >= 0 else {}

    def load_state_dict(self, state_dict: dict[str, float | int]) -> None:
        """Go on from the best score of a checkpoint."""
        self.best, self.best_epoch = float(state_dict["best"]), int(state_dict["best_epoch"])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Start the clock of this start of the run."""
        self._started, self._first_epoch = time.perf_counter(), trainer.current_epoch

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Log the epoch's line."""
        values = self.metrics(trainer)
        if values.get(_BEST, -math.inf) > self.best:
            self.best, self.best_epoch = values[_BEST], trainer.current_epoch
        if trainer.is_global_zero and not _sees_progress_bar(trainer):
            log.info("%s", self._line(trainer, values))

    def _line(self, trainer: Trainer, values: dict[str, float]) -> str:
        epochs = trainer.max_epochs or 0
        of = f" of {epochs}" if epochs > 0 else ""
        parts = [f"{name} {values[name]:.4f}" for name in _SHOWN if name in values]
        if self.best_epoch >= 0:
            parts.append(f"best so far {self.best:.4f} in epoch {self.best_epoch + 1}")
        left = epochs - trainer.current_epoch - 1
        if left > 0 and not math.isnan(self._started):
            seconds = (time.perf_counter() - self._started) / (trainer.current_epoch + 1 - self._first_epoch)
            parts.append(f"about {duration(left * seconds)} left")
        return f"epoch {trainer.current_epoch + 1}{of}: {', '.join(parts)}"


def _sees_progress_bar(trainer: Trainer) -> bool:
    """Whether a bar shows the same on the terminal that messages go to."""
    bar: Any = trainer.progress_bar_callback
    return bar is not None and bar.is_enabled and sys.stdout.isatty() and sys.stderr.isatty()
