"""``last.ckpt`` commits an epoch: it is written after all that the epoch promises; resuming mends what is missing."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint

from rsna_det.training.checkpoint_io import PATHS_IN_STATES, AtomicCheckpointIO, read_checkpoint

log = logging.getLogger(__name__)

LAST = "last"
"""File name, without its suffix, of the checkpoint that a run resumes from."""


def in_order_of_commit(callbacks: Sequence[Callback]) -> list[Callback]:
    """The same callbacks, the one that writes ``last.ckpt`` at the end: what runs after it could be lost.

    Checkpoints of every epoch are written at the end of its training: by itself Lightning waits for a validation, which
    not every epoch need have.
    """
    for callback in callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.monitor is None:
            callback._save_on_train_epoch_end = True  # noqa: SLF001  # in conf/ it would change the study's hashes
    return sorted(callbacks, key=_commits)


def _commits(callback: Callback) -> bool:
    return isinstance(callback, ModelCheckpoint) and callback.filename == LAST


class ResumedCheckpoints(Callback):
    """Gives a resumed run its checkpoints back: where they lie now, and one that a kill prevented."""

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:  # noqa: ARG002
        """Name, in the callbacks' states, the folder that a run was moved to: Lightning would forget its best score."""
        states = checkpoint.get("callbacks", {})
        for callback in _checkpoint_callbacks(trainer):
            state = states.get(callback.state_key)
            if state is not None and callback.dirpath is not None:
                states[callback.state_key] = _moved(state, Path(callback.dirpath))

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Write the epoch's own checkpoint from ``last.ckpt`` where an older version was killed between the two."""
        resumed = trainer.ckpt_path
        if resumed is None or not trainer.is_global_zero:
            return
        checkpoint = Path(resumed)
        content = read_checkpoint(checkpoint)
        for callback in _checkpoint_callbacks(trainer):
            if callback.save_top_k == -1 and callback.monitor is None:
                _write_missing(callback, content)
            elif callback.monitor is not None and callback.best_model_path:
                _warn_of_missing(Path(callback.best_model_path))


def homes_of(content: dict[str, Any]) -> set[Path]:
    """The folders in which the checkpoints of a run lay when this one was written."""
    states = content.get("callbacks", {}).values()
    return {Path(state["dirpath"]) for state in states if isinstance(state, dict) and state.get("dirpath")}


def _checkpoint_callbacks(trainer: Trainer) -> list[ModelCheckpoint]:
    return [callback for callback in trainer.checkpoint_callbacks if isinstance(callback, ModelCheckpoint)]


def _moved(state: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A callback's state with the paths that it would have in another folder."""
    before = state.get("dirpath")
    if before is None or before == str(folder):
        return state

    def there(path: str) -> str:
        return str(folder / Path(path).name) if path and Path(path).parent == Path(before) else path

    paths = {name: there(state[name]) for name in PATHS_IN_STATES if name in state}
    best = {there(path): score for path, score in state.get("best_k_models", {}).items()}
    return state | paths | {"dirpath": str(folder), "best_k_models": best}


def _write_missing(callback: ModelCheckpoint, content: dict[str, Any]) -> None:
    epoch, step = int(content["epoch"]), int(content["global_step"])
    if not callback.every_n_epochs or (epoch + 1) % callback.every_n_epochs:
        return
    path = Path(callback.format_checkpoint_name({"epoch": torch.tensor(epoch), "step": torch.tensor(step)}))
    if not path.is_file():
        log.info("%s is missing: writing it from %s.ckpt, which is of the same epoch", path, LAST)
        AtomicCheckpointIO().save_checkpoint(content, path)


def _warn_of_missing(best: Path) -> None:
    if not best.is_file():
        log.warning("%s is missing: take it from a copy of the run, or an epoch with a higher score writes it", best)
