"""Train a detector: ``python -m rsna_det.train experiment=heavy_aug_norot data.root=<challenge folder>``."""

import json
import logging
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import hydra
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from lightning_utilities.core.rank_zero import rank_zero_only
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Callback, LightningDataModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint

from rsna_det.atomic import write_text
from rsna_det.cell_folder import LOCK, work_on
from rsna_det.cli import check_command_line, errors_as_messages, is_first_process, set_up, table_of
from rsna_det.config import CONF, ConfigError, build, check_config
from rsna_det.output_lock import in_use
from rsna_det.processes import check_processes
from rsna_det.provenance import Provenance
from rsna_det.resume import is_finished, requested, saved_run
from rsna_det.studies import check_launcher, plan_study, record_launch, show, study_asked_for
from rsna_det.tracking import RunLogger, finish_tracking
from rsna_det.training.checkpoint_io import read_checkpoint
from rsna_det.training.module import DetectorModule

log = logging.getLogger(__name__)

DRY_RUN = "--dry-run"
"""List a study's cells and where they stand, and train none."""
_FLAGS = ("-m", "--multirun", DRY_RUN)


def main() -> None:
    """Start a run, a sweep (``-m``) or go on with a run (``resume=last``)."""
    set_up()
    # Hydra wants no plus where the group has a place of its own; people write it, as for any other group.
    sys.argv = [
        argument.replace("+sweep=", "sweep=") if argument.startswith("+") else argument for argument in sys.argv
    ]
    arguments = sys.argv[1:]
    if study_asked_for(arguments):
        _start_study(arguments)
        return
    with errors_as_messages():
        if requested(arguments):
            _resume(arguments)
            return
        if DRY_RUN in arguments:
            raise ConfigError(f"{DRY_RUN} lists the cells of a study: name one with +sweep=<study>")
        check_command_line("train")
    if not is_first_process():
        # The first process's folder is the run's; this one's own log is of no use to anybody.
        sys.argv += ["hydra.output_subdir=null", f"hydra.run.dir={tempfile.mkdtemp()}"]
    _start()


def _start_study(arguments: Sequence[str]) -> None:
    """Train what is missing of a study's cells, and say at the end what went wrong."""
    overrides = [argument for argument in arguments if not argument.startswith("-")]
    with errors_as_messages():
        _check_flags(arguments)
        if requested(overrides):
            raise ConfigError("a study goes on with the command that started it: leave resume= out")
        study = plan_study(overrides)
        check_launcher(overrides)
        if DRY_RUN in arguments:
            show(study)
            return
        record_launch(study)
    # Hydra ends the process when a cell fails; jobs of a cluster go on when this one is interrupted.
    with suppress(SystemExit, KeyboardInterrupt):
        _start()
    counts = show(study, only=("failed", "cut off", "missing", "running"))
    if counts["finished"] + counts["running"] < len(study.cells):
        sys.exit("error: not all cells are finished; the same command tries the rest again")


def _check_flags(arguments: Sequence[str]) -> None:
    unknown = [word for word in arguments if word.startswith("-") and word not in _FLAGS]
    if unknown:
        raise ConfigError(f"{', '.join(unknown)} is no flag of a study, which takes {', '.join(_FLAGS)}")


@hydra.main(config_path=str(CONF), config_name="train", version_base="1.3")
def _start(config: DictConfig) -> None:
    config.run_dir = HydraConfig.get().runtime.output_dir
    if config.study is not None:
        # A launcher's jobs may be processes of their own.
        set_up()
        work_on(config, overrides=HydraConfig.get().overrides.task, train=_train_cell)
        return
    if _is_sweep():
        # Hydra reports a failed cell after the others; ending the process here would end them too.
        with _held(Path(config.run_dir)):
            run(config)
        return
    with errors_as_messages(), _held(Path(config.run_dir)):
        run(config)


def _train_cell(config: DictConfig, checkpoint: Path | None) -> None:
    run(config, checkpoint=checkpoint)


def _resume(arguments: Sequence[str]) -> None:
    config = saved_run(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger().addHandler(logging.FileHandler(Path(config.run_dir) / "train.log"))
    if is_finished(config):
        log.info("%s is finished: nothing to do", config.run_dir)
        return
    with _held(Path(config.run_dir)):
        run(config, checkpoint=Path(config.run_dir) / "checkpoints" / "last.ckpt")


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Keep other processes from going on with a run while this one works on it; those of the run itself come along."""
    if getattr(rank_zero_only, "rank", 0):
        yield
        return
    with in_use(folder, name=LOCK, remedy="wait for it to end, or stop it"):
        yield


def run(config: DictConfig, *, checkpoint: Path | None = None) -> dict[str, float]:
    """Train as configured.

    Args:
        config: composed, with ``run_dir``.
        checkpoint: where to go on from.

    Returns:
        The last epoch's metrics.

    Raises:
        ConfigError: before any data is read, for a configuration that cannot run.
    """
    check_config(config)
    _check_trainer(config)
    torch.manual_seed(config.seed)
    data = build(config.data, augmentation=build(config.augmentation))
    module = build_module(config)
    _try_optimizer(module)
    provenance = Provenance(config)
    callbacks = [*(build(node) for node in config.callbacks.values() if node is not None), provenance]
    try:
        with provenance.recorded():
            trainer = _trainer(config, callbacks, checkpoint)
            metrics = _fit(config, trainer, module, data, checkpoint)
        _conclude_tracking(config, trainer)
        return metrics
    finally:
        finish_tracking()


def _trainer(config: DictConfig, callbacks: list[Callback], checkpoint: Path | None) -> Trainer:
    first_epoch = _epochs_done(checkpoint) if checkpoint else 0
    loggers = [_logger(node, first_epoch) for node in config.logger.values()]
    trainer: Trainer = build(config.trainer, logger=loggers, callbacks=callbacks, default_root_dir=config.run_dir)
    return trainer


def _fit(
    config: DictConfig,
    trainer: Trainer,
    module: DetectorModule,
    data: LightningDataModule,
    checkpoint: Path | None,
) -> dict[str, float]:
    untrained = _score_untrained(config, module, data) if config.score_untrained and not checkpoint else {}
    plain: Any = OmegaConf.to_container(config, resolve=True)
    for logger in trainer.loggers:
        logger.log_hyperparams(plain)
    started = time.perf_counter()
    trainer.fit(module, data, ckpt_path=checkpoint, weights_only=True)
    return _conclude(config, trainer, untrained, seconds=time.perf_counter() - started)


def _check_trainer(config: DictConfig) -> None:
    options = config.trainer
    if options.gradient_clip_val is not None and options.gradient_clip_val < 0:
        raise ConfigError(f"optimizer.gradient_clip is {options.gradient_clip_val}; expected 0 (no clipping) or more")
    check_processes(options, sweep=_is_sweep())


def _try_optimizer(module: DetectorModule) -> None:
    """Build optimizer and schedule once for nothing: what they refuse is refused before any data is read."""
    optimizer = module.make_optimizer([torch.nn.Parameter(torch.zeros(1))])
    module.make_scheduler(optimizer, batches_per_epoch=10, total_steps=100)


def build_module(config: DictConfig) -> DetectorModule:
    """The detector with its loss and optimizer, not trained."""
    model = build(config.model, encoder=build(config.encoder))
    return DetectorModule(
        model=model,
        loss=build(config.loss),
        optimizer=instantiate(config.optimizer.optimizer, _convert_="all"),
        scheduler=instantiate(config.optimizer.scheduler, _convert_="all"),
        description=_description(config),
        decoding=build(config.decoding),
    )


def _description(config: DictConfig) -> dict[str, Any]:
    """Plain containers from which a checkpoint's model is built again, without fetching any weights."""
    plain: Any = OmegaConf.to_container(config, resolve=True)
    return {
        "name": plain["name"],
        "encoder": plain["encoder"] | {"pretrained": False, "weights": None},
        "model": plain["model"],
        "decoding": plain["decoding"],
        "image_size": plain["data"]["image_size"],
        "fold": plain["data"]["fold"],
    }


def _logger(node: DictConfig, first_epoch: int) -> Any:  # noqa: ANN401
    extra = {"first_epoch": first_epoch} if node["_target_"].endswith("EpochTable") else {}
    return build(node, **extra)


def _epochs_done(checkpoint: Path) -> int:
    return int(read_checkpoint(checkpoint)["epoch"]) + 1


def _is_sweep() -> bool:
    return HydraConfig.initialized() and HydraConfig.get().mode is hydra.types.RunMode.MULTIRUN


def _score_untrained(config: DictConfig, module: DetectorModule, data: LightningDataModule) -> dict[str, float]:
    # Metrics reset in inference mode could not be counted on in training.
    trainer = build(config.trainer, logger=False, callbacks=[], enable_checkpointing=False, inference_mode=False)
    scores = trainer.validate(module, data, verbose=False)[0]
    return {name: float(value) for name, value in scores.items()}


def _conclude(config: DictConfig, trainer: Trainer, untrained: dict[str, float], *, seconds: float) -> dict[str, float]:
    """Write the run's result and say where everything lies."""
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    if not trainer.is_global_zero or trainer.interrupted:
        return metrics
    folder = Path(config.run_dir)
    best = _best_score(trainer)
    result = {
        "epochs": trainer.current_epoch,
        "seconds": round(seconds, 1),
        "best_val_map": best,
        "metrics": metrics,
    }
    write_text(folder / "result.json", json.dumps(result, indent=2) + "\n")
    rows = {"best validation mAP": f"{best:.4f}" if best is not None else "not measured"}
    if untrained:
        rows["untrained detector's"] = f"{untrained['val/map_best']:.4f}"
    rows |= {
        "run folder": str(folder if not folder.is_relative_to(Path.cwd()) else folder.relative_to(Path.cwd())),
        "  metrics": "metrics.csv",
        "  checkpoints": "checkpoints/",
        "  out-of-fold candidates": "predictions/",
        "  pictures": "images/",
        "  configuration": "config.yaml, .hydra/",
        "  made from": "provenance.json",
    }
    if "wandb" in config.logger:
        rows["  W&B"] = "wandb/"
    table_of(f"{config.name}, fold {config.data.fold}", rows)
    return metrics


def _conclude_tracking(config: DictConfig, trainer: Trainer) -> None:
    """Hand a finished run to the loggers that keep more than numbers; all of its files are as they will stay."""
    if trainer.is_global_zero and is_finished(config):
        for logger in trainer.loggers:
            if isinstance(logger, RunLogger):
                logger.conclude(config)


def _best_score(trainer: Trainer) -> float | None:
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.monitor and callback.best_model_score is not None:
            return float(callback.best_model_score)
    return None


if __name__ == "__main__":
    # By the name under which a launcher's processes find it.
    from rsna_det import train  # noqa: PLW0406

    train.main()
