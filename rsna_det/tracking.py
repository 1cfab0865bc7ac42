"""Weights & Biases: offline unless asked, and never the reason why a run fails."""

import logging
import os
import socket
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

# Even offline, wandb would look up the host that it reports its own errors to.
os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
os.environ.setdefault("WANDB_SILENT", "true")

import wandb
from lightning_utilities.core.rank_zero import rank_zero_only
from pytorch_lightning.loggers import WandbLogger
from wandb.errors import CommError

log = logging.getLogger(__name__)

Mode = Literal["offline", "online", "disabled"]

ID_FILE = "wandb_id"
"""In a run's folder: the id that it keeps when it goes on."""

CONNECT_SECONDS = 5

SUMMARIES = {"val/map": "max", "val/map_best": "max", "val/loss": "min", "val/box_regression": "min"}
"""What the dashboard's tables show of a whole run."""


def wandb_logger(
    *,
    mode: Mode,
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

    Raises:
        wandb.errors.UsageError: online, without being logged in.
    """
    folder = Path(run_dir)
    # WandbLogger forbids artifacts when it is told `offline`; the environment says it without that.
    mode = _reachable_mode(mode)
    os.environ["WANDB_MODE"] = mode
    logger = WandbLogger(
        save_dir=str(folder),
        project=project,
        entity=entity,
        group=group,
        tags=list(tags),
        # A sweep numbers its cells.
        name=f"{folder.parent.name}-{folder.name}" if folder.name.isdigit() else folder.name,
        id=_run_id(folder),
        resume="allow" if mode == "online" else None,
    )
    # Lightning passes an option that wandb no longer has, and wandb warns of it.
    logger._wandb_init.pop("anonymous", None)  # noqa: SLF001
    _start(logger, folder)
    return logger


def finish_tracking() -> None:
    """Close the run, if one is open: the next one in this process would be merged into it."""
    if wandb.run is not None:
        wandb.finish()


@rank_zero_only
def _start(logger: WandbLogger, folder: Path) -> None:
    """Open the run now, and offline where the server cannot be used."""
    try:
        experiment = logger.experiment
    except CommError as error:
        log.warning("W&B does not answer as it should (%s): going on offline; `wandb sync` sends the run later", error)
        wandb.teardown()
        os.environ["WANDB_MODE"] = "offline"
        # The failed run may not have let go of its id yet, and Lightning offers no way to change its mind.
        (folder / ID_FILE).unlink()
        logger._wandb_init |= {"resume": None, "id": _run_id(folder)}  # noqa: SLF001
        experiment = logger.experiment
    for name, summary in SUMMARIES.items():
        experiment.define_metric(name, summary=summary)


def _reachable_mode(mode: Mode) -> Mode:
    """The mode itself, or ``offline`` where nobody answers at the server's address: W&B would try for 90 seconds."""
    if mode != "online":
        return mode
    address = urlsplit(wandb.Settings().base_url)
    port = address.port or (443 if address.scheme == "https" else 80)
    try:
        socket.create_connection((address.hostname or "", port), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        log.warning(
            "W&B cannot be reached at %s (%s): going on offline; `wandb sync` sends the run later",
            address.netloc,
            error,
        )
        return "offline"
    return mode


def _run_id(folder: Path) -> str:
    path = folder / ID_FILE
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(uuid.uuid4().hex[:12] + "\n")
    return path.read_text().strip()
