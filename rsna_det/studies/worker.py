"""Work on a run of a study: trained once, resumed where it was interrupted, its failure kept until the next start."""

import logging
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from omegaconf import DictConfig, OmegaConf

from rsna_det.config.check import check_config
from rsna_det.config.compose import cause_of
from rsna_det.config.options import TrainOptions
from rsna_det.config.outputs import TRAIN, check_free
from rsna_det.errors import InUseError, RsnaDetError
from rsna_det.files.atomic import write_text
from rsna_det.files.locks import holder, lock
from rsna_det.files.names import on_one_line
from rsna_det.files.reading import readable
from rsna_det.runs.folder import RunFolder
from rsna_det.studies.identity import identity, run_id
from rsna_det.studies.records import RunDescription, read_description, write_description

log = logging.getLogger(__name__)

_LONGEST = 1000

State = Literal["finished", "running", "failed", "interrupted", "missing"]
_MOVE = "move the folder away, and the same command trains the run"
Train = Callable[[TrainOptions, Path | None], object]


class RunFailedError(RuntimeError):
    """A run's training failed; plain, so that it travels between processes."""


@dataclass(frozen=True, kw_only=True)
class RunState:
    """Where a run stands, and in ``detail`` which process trains it, how far it came or what went wrong."""

    state: State
    detail: str = ""


def state_of(folder: RunFolder, *, epochs: int) -> RunState:
    """Where a run stands.

    Args:
        folder: of the run, there or not.
        epochs: how many it is to be trained for.

    Raises:
        DataError: if its result is damaged.
    """
    result = folder.result()
    if result is not None and result.ends(epochs=epochs):
        early = f", {result.stopped.reason}" if result.stopped is not None and result.epochs < epochs else ""
        from rsna_det.drawing.tables import counted

        return RunState(state="finished", detail=f"{counted(result.epochs, 'epoch')}{early}")
    working = holder(folder.lock)
    if working is not None:
        return RunState(state="running", detail=str(working))
    if folder.failure.is_file():
        return RunState(state="failed", detail=_first_line(folder.failure))
    if folder.last_checkpoint.is_file():
        return RunState(state="interrupted", detail="resumes from its last checkpoint")
    return RunState(state="missing")


def _first_line(failure: Path) -> str:
    """What went wrong; the file is for people and may hold anything."""
    with readable(failure), failure.open(encoding="utf-8", errors="replace") as file:
        return on_one_line(file.readline(_LONGEST))


def work_on(config: DictConfig, *, overrides: Sequence[str], train: Train) -> None:
    """Train a run unless it is finished or another process trains it; from its last checkpoint where there is one.

    Args:
        config: composed, with ``run_dir``, the run's folder.
        overrides: what it was composed with, in Hydra's syntax.
        train: called with the options and the checkpoint.

    Raises:
        RunFailedError: for whatever the training raised; the folder's ``failed.txt`` has it in full.
    """
    folder = RunFolder(Path(config.run_dir))
    folder.path.mkdir(parents=True, exist_ok=True)
    try:
        with lock(folder.lock):
            limits = OmegaConf.to_container(config.trainer, resolve=True)
            if folder.is_finished(epochs=config.trainer.max_epochs, limits=limits):  # type: ignore[arg-type]
                log.info("%s is finished: nothing to do", folder)
                return
            _attempt(config, folder, overrides, train)
    except InUseError as taken:
        log.warning("skipped, another process trains it: %s", taken)


def _attempt(config: DictConfig, folder: RunFolder, overrides: Sequence[str], train: Train) -> None:
    folder.failure.unlink(missing_ok=True)
    try:
        _check_own(config, folder)
        _describe(config, folder, overrides)
        checkpoint = folder.last_checkpoint if folder.last_checkpoint.is_file() else None
        if checkpoint is not None:
            log.info("%s was interrupted: resuming from its last checkpoint", folder)
        train(check_config(config, TrainOptions), checkpoint)
    except Exception as error:
        message = _keep(error, folder)
        raise RunFailedError(f"{folder}: {message}") from error


def _keep(error: Exception, folder: RunFolder) -> str:
    """Write why a run failed; returns its one line."""
    cause = cause_of(error)
    message = " ".join((str(cause) or type(cause).__name__).split())
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    # The job's own log, which Hydra does not write an error into.
    log.debug("the run failed", exc_info=error)
    try:
        write_text(folder.failure, f"{message}\n{when}\n\n{''.join(traceback.format_exception(error))}")
    except RsnaDetError as second:
        # A full disk, most likely, which is no reason to hide why the run failed.
        log.warning("%s", second)
    return message


def _check_own(config: DictConfig, folder: RunFolder) -> None:
    """Refuse a folder that holds something other than this run, however far it came.

    Raises:
        InUseError: naming what was found.
        DataError: if the description of what it holds is damaged.
    """
    if not folder.description.is_file():
        check_free(folder.path, command=TRAIN, config=config, remedy=_MOVE)
        if folder.last_checkpoint.is_file():
            raise InUseError(f"{folder} holds a run that no study describes ({folder.last_checkpoint}): {_MOVE}")
        return
    there = read_description(folder.description).id
    if there != run_id(config):
        raise InUseError(f"{folder} holds the run {there} ({folder.description}): {_MOVE}")


def _describe(config: DictConfig, folder: RunFolder, overrides: Sequence[str]) -> None:
    """Save the configuration where every run has it, and what tells the run from the study's others."""
    folder.save_config(config, overrides)
    description = RunDescription(
        study=config.study, id=run_id(config), overrides=list(overrides), options=identity(config)
    )
    write_description(folder.description, description)
