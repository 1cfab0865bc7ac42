"""Work on a run of a study: trained once, resumed where it was interrupted, its failure kept until the next start."""

import logging
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from omegaconf import DictConfig

from rsna_det.config.check import check_config
from rsna_det.config.compose import cause_of
from rsna_det.config.options import TrainOptions
from rsna_det.drawing.tables import counted
from rsna_det.errors import InUseError
from rsna_det.files.locks import holder, lock
from rsna_det.files.reading import readable
from rsna_det.runs.folder import RunFolder
from rsna_det.studies.identity import identity, run_id
from rsna_det.studies.records import RunDescription, write_description

log = logging.getLogger(__name__)

_LONGEST = 1000

State = Literal["finished", "running", "failed", "interrupted", "missing"]
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
    if result is not None and result.epochs >= epochs:
        return RunState(state="finished", detail=counted(result.epochs, "epoch"))
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
        line = file.readline(_LONGEST)
    return "".join(mark if mark.isprintable() else " " for mark in line).strip()


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
            if folder.is_finished(epochs=config.trainer.max_epochs):
                log.info("%s is finished: nothing to do", folder)
                return
            _describe(config, folder, overrides)
            _attempt(config, folder, train)
    except InUseError as taken:
        log.warning("skipped, another process trains it: %s", taken)


def _attempt(config: DictConfig, folder: RunFolder, train: Train) -> None:
    folder.failure.unlink(missing_ok=True)
    checkpoint = folder.last_checkpoint if folder.last_checkpoint.is_file() else None
    if checkpoint is not None:
        log.info("%s was interrupted: resuming from its last checkpoint", folder)
    try:
        train(check_config(config, TrainOptions), checkpoint)
    except Exception as error:
        cause = cause_of(error)
        message = " ".join((str(cause) or type(cause).__name__).split())
        when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
        folder.failure.write_text(f"{message}\n{when}\n\n{''.join(traceback.format_exception(error))}")
        # The job's own log, which Hydra does not write an error into.
        log.debug("the run failed", exc_info=True)
        raise RunFailedError(f"{folder}: {message}") from error


def _describe(config: DictConfig, folder: RunFolder, overrides: Sequence[str]) -> None:
    """Save the configuration where every run has it, and what tells the run from the study's others."""
    folder.save_config(config, overrides)
    description = RunDescription(
        study=config.study, id=run_id(config), overrides=list(overrides), options=identity(config)
    )
    write_description(folder.description, description)
