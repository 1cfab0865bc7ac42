"""Taking a folder for a run: one that holds another run is refused, a job that Slurm requeued resumes in its own."""

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from rsna_det.config.check import check_config, path_option
from rsna_det.config.command import check_writable
from rsna_det.config.compose import CONF, composing
from rsna_det.config.folder_names import check_names, check_names_of_sweep
from rsna_det.config.options import TrainOptions
from rsna_det.config.outputs import TRAIN, check_free, holds_same, results_in
from rsna_det.errors import ConfigError, InUseError
from rsna_det.runs.folder import RunFolder

_REQUEUED = "SLURM_RESTART_COUNT"


def check_command_line(overrides: Sequence[str], *, sweep: bool) -> None:
    """Refuse, before Hydra writes anything, what the options say of the run's folder or those of a sweep.

    Hydra's own errors name no closest keys, and it logs into whatever lies there.

    Args:
        overrides: of the command line.
        sweep: whether some have several values.

    Raises:
        ConfigError: for an override that does not fit, a value that is missing or of the wrong type.
        InUseError: for a folder that holds something else.
        StorageError: for one that cannot be written into.
    """
    check_names_of_sweep(overrides if sweep else ())
    single = [text for text in overrides if text.startswith("hydra.sweep.")] if sweep else overrides
    with initialize_config_dir(str(CONF), job_name="train", version_base="1.3"), composing("train", single):
        config = compose("train", overrides=list(single), return_hydra_config=True)
    try:
        folder = Path(config.hydra.sweep.dir if sweep else config.hydra.run.dir)
    except OmegaConfBaseException as error:
        raise ConfigError(str(error).splitlines()[0]) from error
    if sweep:
        _check_sweep_folder(folder)
        return
    check_names(config)
    check_writable(path_option(config, "paths.runs") / str(config.name))
    check_run_folder(folder, config)
    config.run_dir = str(folder)
    check_config(config, TrainOptions)


def check_run_folder(folder: Path, config: DictConfig) -> Path | None:
    """Refuse a folder that holds another run, or this one once it can be resumed.

    Args:
        folder: of the run to be started, there or not.
        config: as composed.

    Returns:
        The checkpoint that a job resumes from that Slurm started again with the same options; None for a new run.

    Raises:
        InUseError: naming what was found, with the remedy.
    """
    run = RunFolder(folder)
    checkpoint = run.last_checkpoint if run.last_checkpoint.is_file() else None
    if checkpoint is not None and os.environ.get(_REQUEUED, "0") != "0" and holds_same(folder, config):
        return checkpoint
    resume = f"resume={shlex.quote(str(folder))}"
    remedy = f"resume it with `{resume}`, or choose another folder" if checkpoint else "choose another folder"
    if checkpoint is not None:
        raise InUseError(f"{folder} holds a training run ({checkpoint}): {remedy}")
    check_free(folder, command=TRAIN, config=config, remedy=remedy)
    return None


def _check_sweep_folder(folder: Path) -> None:
    """Hydra numbers the runs of every sweep from 0."""
    taken = [path for path in sorted(folder.glob("*")) if path.is_dir() and path.name.isdigit() and results_in(path)]
    taken += [path for path in (folder / "multirun.yaml",) if path.exists()]
    if taken:
        raise InUseError(f"{folder} holds the runs of another sweep ({taken[0]}): choose another hydra.sweep.dir")
    check_writable(folder)
