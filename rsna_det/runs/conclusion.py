"""The end of a finished run: W&B's summary and files, the run's result, and the closing table."""

import logging
from pathlib import Path

from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import ModelCheckpoint

from rsna_det.config.console import table_of
from rsna_det.config.options import TrainOptions
from rsna_det.runs.folder import RunFolder
from rsna_det.runs.records import Result, Stop, write_record
from rsna_det.runs.stopping import epochs_done
from rsna_det.runs.tracking import RunLogger
from rsna_det.training.epoch_table import STEP_LOSS, EpochTable

log = logging.getLogger(__name__)


def conclude_tracking(options: TrainOptions, trainer: Trainer) -> None:
    """Hand a finished run to the loggers that keep more than numbers; the files that they keep stay as they are."""
    if trainer.is_global_zero:
        for logger in trainer.loggers:
            if isinstance(logger, RunLogger):
                logger.conclude(options)


def conclude(
    options: TrainOptions, trainer: Trainer, stop: Stop, untrained: float | None, *, seconds: float
) -> dict[str, float]:
    """Write the run's result and say where everything is."""
    metrics = _last_metrics(options, trainer)
    if not trainer.is_global_zero:
        return metrics
    folder = RunFolder(options.run_dir)
    best = _best_score(trainer)
    result = Result(
        epochs=epochs_done(trainer), seconds=round(seconds, 1), best_val_map=best, metrics=metrics, stopped=stop
    )
    write_record(folder.result_file, result)
    log.info("training ended: %s", stop.reason)
    table_of(f"{options.name}, fold {options.data['fold']}", summary(folder, result, untrained))
    return metrics


def _last_metrics(options: TrainOptions, trainer: Trainer) -> dict[str, float]:
    """The last epoch's, from the run's table: a start that had nothing left to train has no others."""
    folder = RunFolder(options.run_dir)
    if any(isinstance(logger, EpochTable) for logger in trainer.loggers) and folder.metrics_file.is_file():
        last = folder.metrics().iloc[-1].drop(labels=["epoch", "step"], errors="ignore").dropna()
        return {str(name): float(value) for name, value in last.items()}
    return {name: float(value) for name, value in trainer.callback_metrics.items() if name != STEP_LOSS}


def summary(folder: RunFolder, result: Result, untrained: float | None) -> dict[str, str]:
    """The rows of a finished run's closing table: its score, why it ended, and the files that it has."""
    best = result.best_val_map
    rows = {"best validation mAP": f"{best:.4f}" if best is not None else "not measured"}
    if untrained is not None:
        rows["untrained detector's"] = f"{untrained:.4f}"
    if result.stopped is not None:
        rows["ended"] = result.stopped.reason
    place = folder.path
    rows["run folder"] = str(place.relative_to(Path.cwd()) if place.is_relative_to(Path.cwd()) else place)
    for name, paths in _parts(folder).items():
        there = [f"{path.name}/" if path.is_dir() else path.name for path in paths if path.exists()]
        if there:
            rows[f"  {name}"] = ", ".join(there)
    return rows


def _parts(folder: RunFolder) -> dict[str, list[Path]]:
    return {
        "metrics": [folder.metrics_file],
        "checkpoints": [folder.checkpoints],
        "out-of-fold candidates": [folder.tables.folder],
        "pictures": [folder.pictures],
        "configuration": [folder.resolved_config, folder.composed_config.parent],
        "provenance": [folder.provenance_file],
        "W&B": [folder.wandb],
    }


def _best_score(trainer: Trainer) -> float | None:
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.monitor and callback.best_model_score is not None:
            return float(callback.best_model_score)
    return None
