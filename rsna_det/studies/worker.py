"""A cell's folder: trained once, gone on with where it was cut off, its failure kept until the next start."""

import logging
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import yaml
from omegaconf import DictConfig, OmegaConf

from rsna_det.config.compose import cause_of
from rsna_det.files.atomic import write_text
from rsna_det.files.locks import TakenError, holder, lock
from rsna_det.runs.resume import is_finished, read_result
from rsna_det.studies.identity import cell_id, identity

log = logging.getLogger(__name__)

State = Literal["finished", "running", "failed", "cut off", "missing"]
Train = Callable[[DictConfig, Path | None], object]

DESCRIPTION, LOCK, FAILURE = "cell.yaml", "run.lock", "failed.txt"
LAST = Path("checkpoints") / "last.ckpt"


class CellError(RuntimeError):
    """A cell's training failed; plain, so that it travels between processes."""


@dataclass(frozen=True, kw_only=True)
class CellState:
    """Where a cell stands, and in ``detail`` who works on it, how far it came or what went wrong."""

    state: State
    detail: str = ""


def state_of(folder: Path, *, epochs: int) -> CellState:
    """Where a cell stands.

    Args:
        folder: of the cell, there or not.
        epochs: how many it is to be trained for.

    Raises:
        ValueError: if its result is damaged.
    """
    found = read_result(folder)
    if found is not None and found["epochs"] >= epochs:
        return CellState(state="finished", detail=f"{found['epochs']} epochs")
    working = holder(folder / LOCK)
    if working is not None:
        return CellState(state="running", detail=str(working))
    failure = folder / FAILURE
    if failure.is_file():
        return CellState(state="failed", detail=failure.read_text().partition("\n")[0])
    if (folder / LAST).is_file():
        return CellState(state="cut off", detail="goes on at its last checkpoint")
    return CellState(state="missing")


def work_on(config: DictConfig, *, overrides: Sequence[str], train: Train) -> None:
    """Train a cell unless it is finished or another process does, from its last checkpoint where there is one.

    Args:
        config: composed, with ``run_dir``, the cell's folder.
        overrides: what it was composed with, in Hydra's syntax.
        train: called with the configuration and the checkpoint.

    Raises:
        CellError: for whatever the training raised; the folder's ``failed.txt`` has it in full.
    """
    folder = Path(config.run_dir)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with lock(folder / LOCK):
            if is_finished(config):
                log.info("%s is finished: nothing to do", folder)
                return
            _describe(config, folder, overrides)
            _attempt(config, folder, train)
    except TakenError as taken:
        log.warning("%s is being trained by %s: left to it", folder, taken)


def _attempt(config: DictConfig, folder: Path, train: Train) -> None:
    (folder / FAILURE).unlink(missing_ok=True)
    checkpoint = folder / LAST if (folder / LAST).is_file() else None
    if checkpoint is not None:
        log.info("%s was cut off: going on at its last checkpoint", folder)
    try:
        train(config, checkpoint)
    except Exception as error:
        cause = cause_of(error)
        message = " ".join((str(cause) or type(cause).__name__).split())
        when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
        (folder / FAILURE).write_text(f"{message}\n{when}\n\n{''.join(traceback.format_exception(error))}")
        # The job's own log, which Hydra does not write an error into.
        log.debug("the cell failed", exc_info=True)
        raise CellError(f"{folder}: {message}") from error


def _describe(config: DictConfig, folder: Path, overrides: Sequence[str]) -> None:
    """Save the configuration where every run has it, and what tells the cell from others in ``cell.yaml``."""
    hydra = folder / ".hydra"
    hydra.mkdir(exist_ok=True)
    saved = OmegaConf.masked_copy(config, [str(key) for key in config])
    OmegaConf.set_struct(saved, value=False)
    # As in a run of its own: whoever goes on with it names its folder.
    saved.run_dir = "???"
    write_text(hydra / "config.yaml", OmegaConf.to_yaml(saved))
    write_text(hydra / "overrides.yaml", yaml.safe_dump(list(overrides)))
    described = {"study": config.study, "cell": cell_id(config), "overrides": list(overrides)}
    comment = "# The cell's hash is that of everything under `options`.\n"
    write_text(
        folder / DESCRIPTION, comment + yaml.safe_dump(described | {"options": identity(config)}, sort_keys=False)
    )
