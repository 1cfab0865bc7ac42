"""Why training ended: said, kept in the checkpoints, and obeyed when the run is started again."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import EarlyStopping, Timer

from rsna_det.runs.folder import RunFolder
from rsna_det.runs.records import MAX_EPOCHS, Stop

FAST_DEV_RUN, MAX_STEPS, MAX_TIME = "fast_dev_run", "max_steps", "max_time"


def epochs_done(trainer: Trainer) -> int:
    """Epochs trained in all starts together; Lightning's own count lacks the last of a run that had ended already."""
    progress: Any = trainer.fit_loop.epoch_progress.current
    return int(progress.processed)


class TrainingEnd(Callback):
    """Keeps that a callback ended the training, which Lightning forgets: a run killed afterwards would train on.

    Args:
        folder: of the run; its result is removed when training goes on, and written anew at the end.
        limits: options of the trainer.
    """

    def __init__(self, *, folder: Path, limits: Mapping[str, Any]) -> None:
        self.folder = RunFolder(folder)
        self.limits = limits
        self._trainer: Trainer | None = None
        self._restored: Stop | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:  # noqa: ARG002
        """Remember the trainer, which the state is asked for without."""
        self._trainer = trainer

    def state_dict(self) -> dict[str, Any]:
        """The stop that a callback has asked for; empty while there is none."""
        if self._trainer is None or not self._trainer.should_stop:
            return {}
        stop = self.reason(self._trainer)
        return stop.model_dump() if stop.limit is None else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the stop of the checkpoint."""
        self._restored = Stop.model_validate(state_dict)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """End at once a training that had ended already."""
        if self._restored is not None:
            trainer.should_stop = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Remove an earlier result: the run is not finished any more."""
        if trainer.is_global_zero:
            self.folder.result_file.unlink(missing_ok=True)

    def reason(self, trainer: Trainer) -> Stop:
        """Why the training has ended, or will end after this epoch."""
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return self._limit(FAST_DEV_RUN, "trainer.fast_dev_run trains a few batches and keeps nothing")
        epochs = trainer.max_epochs
        if epochs is not None and 0 <= epochs <= epochs_done(trainer):
            return self._limit(MAX_EPOCHS, f"trainer.max_epochs={epochs} is reached")
        if 0 <= trainer.max_steps <= trainer.global_step:
            return self._limit(MAX_STEPS, f"trainer.max_steps={trainer.max_steps} is reached")
        return self._asked_for(trainer)

    def _asked_for(self, trainer: Trainer) -> Stop:
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, EarlyStopping) and callback.stopping_reason_message:
                said = callback.stopping_reason_message.removesuffix("Signaling Trainer to stop.").strip().rstrip(".")
                return Stop(by=type(callback).__name__, reason=f"{type(callback).__name__}: {said}")
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            left = callback.time_remaining() if isinstance(callback, Timer) else None
            if left is not None and left <= 0:
                return self._limit(MAX_TIME, f"trainer.max_time={self.limits.get(MAX_TIME)} is over")
        return self._restored or Stop(by="callback", reason="a callback asked for the end")

    def _limit(self, name: str, reason: str) -> Stop:
        return Stop(by=name, limit=str(self.limits.get(name)), reason=reason)
