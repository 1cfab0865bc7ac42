"""One training: from options to a finished run's folder."""

import inspect
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning import Callback, LightningDataModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint

from rsna_det.config.compose import build, build_partial
from rsna_det.config.console import table_of
from rsna_det.config.devices import check_accelerator, check_processes
from rsna_det.config.memory import lack_of_memory
from rsna_det.config.options import TrainOptions, as_plain
from rsna_det.config.trainer import check_trainer
from rsna_det.errors import ConfigError, ResourceError
from rsna_det.runs.folder import RunFolder
from rsna_det.runs.provenance import Provenance
from rsna_det.runs.records import Result, write_record
from rsna_det.runs.tracking import RunLogger, finish_tracking
from rsna_det.training.checkpoint_io import read_checkpoint
from rsna_det.training.module import DetectorModule

log = logging.getLogger(__name__)


def run(options: TrainOptions, *, checkpoint: Path | None = None, sweep: bool = False) -> dict[str, float]:
    """Train as the options say.

    Args:
        options: checked.
        checkpoint: where to resume.
        sweep: whether the run is one of a sweep, which has one device a run.

    Returns:
        The last epoch's metrics.

    Raises:
        ConfigError: before any data is read, for options that do not go together.
        DivergedError: if the loss is no longer finite.
        ResourceError: if the GPU's memory is too small, or a GPU is asked for and there is none.
    """
    check_trainer(options)
    check_processes(options.trainer, sweep=sweep)
    check_accelerator(options.trainer)
    torch.manual_seed(options.seed)
    data = build(options.data, augmentation=build(options.augmentation))
    module = build_module(options)
    _try_optimizer(module)
    provenance = Provenance(options)
    try:
        with provenance.recorded(), _errors_of_the_user(options):
            callbacks = [*(build(node) for node in options.callbacks.values() if node is not None), provenance]
            trainer = _trainer(options, callbacks, checkpoint)
            metrics = _fit(options, trainer, module, data, checkpoint)
        _conclude_tracking(options, trainer)
    finally:
        finish_tracking()
    return metrics


@contextmanager
def _errors_of_the_user(options: TrainOptions) -> Iterator[None]:
    """Give what Lightning refuses late, and a GPU's memory that is too small, a message with the remedy."""
    try:
        yield
    except MisconfigurationException as error:
        raise ConfigError(f"Lightning refuses the options of trainer or callbacks: {error}") from error
    except (RuntimeError, OSError, MemoryError) as error:
        place = lack_of_memory(error)
        if place is None:
            raise
        raise ResourceError(f"{place} has too little memory for {_memory_remedy(options, place)}") from error


def _memory_remedy(options: TrainOptions, place: str) -> str:
    """What the run's need of memory follows from, and what to set instead."""
    data = options.data
    if place == "a loader's worker":
        return (
            f"data.num_workers={data['num_workers']} at {data['image_size']} px: the system ended it. Lower "
            "data.num_workers, or give the container more shared memory (docker run --shm-size=8g)"
        )
    return (
        f"data.batch_size={data['batch_size']} at {data['image_size']} px: lower data.batch_size "
        "(trainer.accumulate_grad_batches keeps the effective batch), set trainer.precision=16-mixed, leave out the "
        "finest pyramid level with model=without_p2, or choose a smaller encoder or data.image_size"
    )


def build_module(options: TrainOptions) -> DetectorModule:
    """The detector with its loss and optimizer, not trained."""
    return DetectorModule(
        model=build(options.model, encoder=build(options.encoder)),
        loss=build(options.loss),
        optimizer=build_partial(options.optimizer.optimizer),
        scheduler=build_partial(options.optimizer.scheduler),
        description=_description(options),
        decoding=build(options.decoding),
    )


def _description(options: TrainOptions) -> dict[str, Any]:
    """Plain containers from which a checkpoint's model is built again, without fetching any weights."""
    return {
        "name": options.name,
        "encoder": options.encoder | {"pretrained": False, "weights": None},
        "model": options.model,
        "decoding": options.decoding,
        "image_size": options.data["image_size"],
        "fold": options.data["fold"],
    }


def _try_optimizer(module: DetectorModule) -> None:
    """Build optimizer and schedule once for nothing: what they refuse is refused before any data is read."""
    try:
        optimizer = module.make_optimizer([torch.nn.Parameter(torch.zeros(1))])
        module.make_scheduler(optimizer, batches_per_epoch=10, total_steps=100)
    except ValueError as error:
        raise ConfigError(f"optimizer: {error}") from error


def _trainer(options: TrainOptions, callbacks: list[Callback], checkpoint: Path | None) -> Trainer:
    first_epoch = _epochs_done(checkpoint) if checkpoint else 0
    loggers = [_logger(node, first_epoch) for node in options.logger.values()]
    return _built_trainer(options, logger=loggers, callbacks=callbacks, default_root_dir=str(options.run_dir))


def _built_trainer(options: TrainOptions, **parts: object) -> Trainer:
    """Lightning's trainer; what it says of devices gets its remedy."""
    try:
        trainer: Trainer = build(options.trainer, **parts)
    except (MisconfigurationException, ValueError) as error:
        without_gpu = ". Without a GPU set `trainer=cpu`" if "gpu" in str(error).lower() else ""
        raise ConfigError(f"trainer: {str(error).rstrip('.')}{without_gpu}") from error
    return trainer


def _logger(node: dict[str, Any], first_epoch: int) -> Any:  # noqa: ANN401
    """A logger; one that continues a file is told where the run resumes."""
    make = build_partial(node)
    return make(first_epoch=first_epoch) if "first_epoch" in inspect.signature(make).parameters else make()


def _epochs_done(checkpoint: Path) -> int:
    return int(read_checkpoint(checkpoint)["epoch"]) + 1


def _fit(
    options: TrainOptions,
    trainer: Trainer,
    module: DetectorModule,
    data: LightningDataModule,
    checkpoint: Path | None,
) -> dict[str, float]:
    untrained = _score_untrained(options, module, data) if options.score_untrained and not checkpoint else {}
    for logger in trainer.loggers:
        logger.log_hyperparams(as_plain(options))
    started = time.perf_counter()
    trainer.fit(module, data, ckpt_path=checkpoint, weights_only=True)
    return _conclude(options, trainer, untrained, seconds=time.perf_counter() - started)


def _score_untrained(options: TrainOptions, module: DetectorModule, data: LightningDataModule) -> dict[str, float]:
    # Metrics reset in inference mode cannot be updated in training.
    trainer = _built_trainer(options, logger=False, callbacks=[], enable_checkpointing=False, inference_mode=False)
    scores = trainer.validate(module, data, verbose=False)[0]
    return {name: float(value) for name, value in scores.items()}


def _conclude(
    options: TrainOptions, trainer: Trainer, untrained: dict[str, float], *, seconds: float
) -> dict[str, float]:
    """Write the run's result and say where everything is."""
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    if not trainer.is_global_zero or trainer.interrupted:
        return metrics
    folder = RunFolder(options.run_dir)
    best = _best_score(trainer)
    result = Result(epochs=trainer.current_epoch, seconds=round(seconds, 1), best_val_map=best, metrics=metrics)
    write_record(folder.result_file, result)
    table_of(f"{options.name}, fold {options.data['fold']}", _summary(options, folder, best, untrained))
    return metrics


def _summary(
    options: TrainOptions, folder: RunFolder, best: float | None, untrained: dict[str, float]
) -> dict[str, str]:
    rows = {"best validation mAP": f"{best:.4f}" if best is not None else "not measured"}
    if untrained:
        rows["untrained detector's"] = f"{untrained['val/map_best']:.4f}"
    place = folder.path
    rows |= {
        "run folder": str(place.relative_to(Path.cwd()) if place.is_relative_to(Path.cwd()) else place),
        "  metrics": folder.metrics_file.name,
        "  checkpoints": f"{folder.checkpoints.name}/",
        "  out-of-fold candidates": f"{folder.tables.folder.name}/",
        "  pictures": f"{folder.pictures.name}/",
        "  configuration": f"{folder.resolved_config.name}, {folder.composed_config.parent.name}/",
        "  provenance": folder.provenance_file.name,
    }
    return rows | ({"  W&B": f"{folder.wandb.name}/"} if "wandb" in options.logger else {})


def _conclude_tracking(options: TrainOptions, trainer: Trainer) -> None:
    """Hand a finished run to the loggers that keep more than numbers; all of its files are as they will stay."""
    if trainer.is_global_zero and RunFolder(options.run_dir).is_finished(epochs=options.trainer["max_epochs"]):
        for logger in trainer.loggers:
            if isinstance(logger, RunLogger):
                logger.conclude(options)


def _best_score(trainer: Trainer) -> float | None:
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.monitor and callback.best_model_score is not None:
            return float(callback.best_model_score)
    return None
