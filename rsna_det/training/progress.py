"""The progress bar of a training."""

import math
import time
from collections.abc import Mapping
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import RichProgressBar
from torch import Tensor

from rsna_det.training.epoch_table import STEP_LOSS

SECONDS_BETWEEN = 0.5
"""At least, from one drawing of the bar in training to the next."""


class ProgressBar(RichProgressBar):
    """Lightning's bar with the loss of the step that it shows, drawn when somebody could see a difference.

    The loss is read from the device only then: whoever reads it waits until the device has done all steps before it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._drawn = -math.inf

    def on_train_batch_end(  # type: ignore[override]
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Mapping[str, Tensor],
        batch: object,
        batch_idx: int,
    ) -> None:
        """Draw the bar if it is time to, or if the epoch ends."""
        now = time.monotonic()
        if now - self._drawn >= SECONDS_BETWEEN or batch_idx + 1 == trainer.num_training_batches:
            self._drawn = now
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """What stands beside the bar."""
        shown: dict[str, Any] = super().get_metrics(trainer, pl_module)
        loss = trainer.callback_metrics.get(STEP_LOSS) if trainer.training else None
        return shown if loss is None else shown | {STEP_LOSS: float(loss)}
