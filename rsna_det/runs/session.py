"""One training: from a configuration to a finished run's folder."""

import json
import logging
import time
from pathlib import Path
from typing import Any

import hydra
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Callback, LightningDataModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint

from rsna_det.config.check import check_config
from rsna_det.config.compose import build
from rsna_det.config.console import table_of
from rsna_det.config.devices import check_processes
from rsna_det.errors import ConfigError
from rsna_det.files.atomic import write_text
from rsna_det.runs.provenance import Provenance
from rsna_det.runs.resume import is_finished
from rsna_det.runs.tracking import RunLogger, finish_tracking
from rsna_det.training.checkpoint_io import read_checkpoint
from rsna_det.training.module import DetectorModule

log = logging.getLogger(__name__)


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
    check_processes(options, sweep=is_sweep())


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


def is_sweep() -> bool:
    """Whether this process works on one run of a Hydra sweep."""
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
