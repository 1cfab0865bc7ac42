"""Weights & Biases: offline unless asked, and never the reason why a run fails."""

import logging
import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

# Even offline, wandb would look up the host that it reports its own errors to.
os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
os.environ.setdefault("WANDB_SILENT", "true")

import wandb
from lightning_utilities.core.rank_zero import rank_zero_only
from pytorch_lightning.loggers import WandbLogger
from wandb.errors import CommError, UsageError

log = logging.getLogger(__name__)

SUMMARIES = {"val/map": "max", "val/map_best": "max", "val/loss": "min", "val/box_regression": "min"}
"""What the dashboard's tables show of a whole run."""


def wandb_logger(
    *,
    mode: Literal["offline", "online", "disabled"],
    project: str,
    entity: str | None,
    group: str,
    tags: Sequence[str],
    run_dir: str,
) -> WandbLogger:
    """A logger whose run has the same id whenever its folder is trained on.

    Args:
        mode: ``offline`` writes into the run's folder, ``online`` sends to the server as well.
        project: of W&B.
        entity: team or user of W&B; None for the user's own.
        group: runs of one group are shown together.
        tags: of the run.
        run_dir: the run's folder.
    """
    folder = Path(run_dir)
    # WandbLogger forbids artifacts when it is told `offline`; the environment says it without that.
    os.environ["WANDB_MODE"] = mode
    logger = WandbLogger(
        save_dir=str(folder),
        project=project,
        entity=entity,
        group=group,
        tags=list(tags),
        name=folder.name,
        id=_run_id(folder),
        resume="allow" if mode == "online" else None,
    )
    # Lightning passes an option that wandb no longer has, and wandb warns of it.
    logger._wandb_init.pop("anonymous", None)  # noqa: SLF001
    _start(logger)
    return logger


def finish_tracking() -> None:
    """Close the run, if one is open: the next one in this process would be merged into it."""
    if wandb.run is not None:
        wandb.finish()


@rank_zero_only
def _start(logger: WandbLogger) -> None:
    """Open the run now, and offline where the server does not answer."""
    try:
        experiment = logger.experiment
    except (CommError, UsageError) as error:
        log.warning("W&B cannot be reached (%s): going on offline; `wandb sync` sends the run later", error)
        wandb.teardown()
        os.environ["WANDB_MODE"] = "offline"
        logger._wandb_init["resume"] = None  # noqa: SLF001  # Lightning offers no way to change its mind
        experiment = logger.experiment
    for name, summary in SUMMARIES.items():
        experiment.define_metric(name, summary=summary)


def _run_id(folder: Path) -> str:
    path = folder / "wandb_id"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(uuid.uuid4().hex[:12] + "\n")
    return path.read_text().strip()
