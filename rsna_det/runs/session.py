"""One training: from options to a finished run's folder."""

import inspect
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning import Callback, LightningDataModule, Trainer
from pytorch_lightning.callbacks import ProgressBar as LightningBar

from rsna_det.config.callbacks import check_callbacks
from rsna_det.config.compose import build, build_partial
from rsna_det.config.devices import check_accelerator, check_processes
from rsna_det.config.memory import lack_of_memory
from rsna_det.config.options import TrainOptions, as_plain
from rsna_det.config.trainer import check_trainer
from rsna_det.errors import ConfigError, ResourceError
from rsna_det.runs.conclusion import conclude, conclude_tracking
from rsna_det.runs.folder import RunFolder
from rsna_det.runs.interruption import interruptions
from rsna_det.runs.provenance import Provenance
from rsna_det.runs.stopping import TrainingEnd
from rsna_det.runs.tracking import finish_tracking
from rsna_det.runs.wandb_id import leave_id_to_original
from rsna_det.training.checkpoint_io import read_checkpoint
from rsna_det.training.commit import ResumedCheckpoints, homes_of, in_order_of_commit
from rsna_det.training.epoch_line import EpochLine
from rsna_det.training.module import LOGGED, DetectorModule
from rsna_det.training.progress import ProgressBar

_NO_FIRST_WEIGHTS: dict[str, Any] = {"pretrained": False, "weights": None}


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
    check_callbacks(options.callbacks, logged=LOGGED)
    check_processes(options.trainer, sweep=sweep)
    check_accelerator(options.trainer)
    torch.manual_seed(options.seed)
    data = build(options.data, augmentation=build(options.augmentation))
    module = build_module(options, resumed=checkpoint is not None)
    _try_optimizer(module)
    provenance = Provenance(options)
    end = TrainingEnd(folder=options.run_dir, limits=options.trainer)
    try:
        with provenance.recorded(), _errors_of_the_user(options):
            trainer = _trainer(options, [provenance, end, EpochLine(), ResumedCheckpoints()], checkpoint)
            untrained = _untrained_score(options, module, data, checkpoint)
            seconds = _fit(options, trainer, module, data, checkpoint)
        # Its record is the last of the run's files: what a kill leaves undone before it, resuming does.
        conclude_tracking(options, trainer)
    finally:
        finish_tracking()
    return conclude(options, trainer, end.reason(trainer), untrained, seconds=seconds)


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


def build_module(options: TrainOptions, *, resumed: bool = False) -> DetectorModule:
    """The detector with its loss and optimizer, not trained.

    Args:
        options: checked.
        resumed: whether a checkpoint is loaded next: its weights are the encoder's too, and none are fetched.
    """
    encoder = options.encoder | (_NO_FIRST_WEIGHTS if resumed else {})
    return DetectorModule(
        model=build(options.model, encoder=build(encoder)),
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
        "encoder": options.encoder | _NO_FIRST_WEIGHTS,
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


def _trainer(options: TrainOptions, own: Sequence[Callback], checkpoint: Path | None) -> Trainer:
    chosen = [build(node) for node in options.callbacks.values() if node is not None]
    callbacks = in_order_of_commit([*chosen, *own, *_progress_bar(options, chosen)])
    first_epoch = 0
    if checkpoint is not None:
        content = read_checkpoint(checkpoint)
        first_epoch = int(content["epoch"]) + 1
        leave_id_to_original(RunFolder(options.run_dir), homes_of(content))
    loggers = [_logger(node, first_epoch) for node in options.logger.values()]
    return _built_trainer(options, logger=loggers, callbacks=callbacks, default_root_dir=str(options.run_dir))


def _progress_bar(options: TrainOptions, others: Sequence[Callback]) -> list[Callback]:
    """Ours, unless there is another or none is wanted."""
    has_one = any(isinstance(callback, LightningBar) for callback in others)
    return [] if has_one or not options.trainer.get("enable_progress_bar", True) else [ProgressBar()]


def _built_trainer(options: TrainOptions, **parts: object) -> Trainer:
    """Lightning's trainer; what it says of devices gets its remedy."""
    try:
        trainer: Trainer = build(options.trainer, **parts)
    except (MisconfigurationException, ValueError, TypeError) as error:
        without_gpu = ". Without a GPU set `trainer=cpu`" if "gpu" in str(error).lower() else ""
        raise ConfigError(f"trainer: {str(error).rstrip('.')}{without_gpu}") from error
    return trainer


def _logger(node: dict[str, Any], first_epoch: int) -> Any:  # noqa: ANN401
    """A logger; one that continues a file is told where the run resumes."""
    make = build_partial(node)
    return make(first_epoch=first_epoch) if "first_epoch" in inspect.signature(make).parameters else make()


def _fit(
    options: TrainOptions,
    trainer: Trainer,
    module: DetectorModule,
    data: LightningDataModule,
    checkpoint: Path | None,
) -> float:
    """Train to the end that the options set; returns the seconds that it took."""
    for logger in trainer.loggers:
        logger.log_hyperparams(as_plain(options))
    started = time.perf_counter()
    with interruptions(trainer):
        trainer.fit(module, data, ckpt_path=checkpoint, weights_only=True)
    return time.perf_counter() - started


def _untrained_score(
    options: TrainOptions, module: DetectorModule, data: LightningDataModule, checkpoint: Path | None
) -> float | None:
    """The mAP before training, where it is asked for."""
    if not options.score_untrained or checkpoint:
        return None
    # Metrics reset in inference mode cannot be updated in training.
    trainer = _built_trainer(options, logger=False, callbacks=[], enable_checkpointing=False, inference_mode=False)
    (scores,) = trainer.validate(module, data, verbose=False)
    return float(scores["val/map_best"])
