"""Train a detector: ``python -m rsna_det.train experiment=heavy_aug_norot data.root=<challenge folder>``."""

import logging
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from lightning_utilities.core.rank_zero import rank_zero_only
from omegaconf import DictConfig

from rsna_det.config.compose import CONF
from rsna_det.config.console import check_command_line, errors_as_messages, is_first_process, set_up
from rsna_det.errors import ConfigError
from rsna_det.files.output_lock import in_use
from rsna_det.runs.resume import is_finished, requested, saved_run
from rsna_det.runs.session import is_sweep, run
from rsna_det.studies.__main__ import check_launcher, plan_study, record_launch, show, study_asked_for
from rsna_det.studies.worker import LOCK, work_on

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
    if is_sweep():
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


if __name__ == "__main__":
    # By the name under which a launcher's processes find it.
    from rsna_det import train  # noqa: PLW0406

    train.main()
