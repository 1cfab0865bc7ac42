"""What the entry points share: names of runs, errors as one message, a quiet console."""

import logging
import os
import sys
import tempfile
import uuid
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from hydra.errors import HydraException, InstantiationException
from lightning_fabric.utilities.exceptions import MisconfigurationException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console
from rich.table import Table

from rsna_det.config.compose import cause_of, compose_config
from rsna_det.errors import RsnaDetError

log = logging.getLogger(__name__)

# Bytes of configuration and log, more or less, that are written when an entry point starts.
_HYDRA_WRITES = 2**16

EXPECTED_ERRORS = (
    RsnaDetError,
    FloatingPointError,
    HydraException,
    InstantiationException,
    MisconfigurationException,
    OmegaConfBaseException,
    OSError,
    ValueError,
)
"""Errors of input, configuration or machine: their message is what the user needs, not where they came from."""


def set_up() -> None:
    """Register what the configurations refer to and silence what only distracts."""
    OmegaConf.register_new_resolver("short_id", lambda: uuid.uuid4().hex[:6], use_cache=True, replace=True)
    OmegaConf.register_new_resolver("expanduser", lambda path: str(Path(path).expanduser()), replace=True)
    OmegaConf.register_new_resolver("either", lambda first, second: second if first is None else first, replace=True)
    # Ray reports on its use unless it is told not to.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    for chatty in ("pytorch_lightning", "timm", "faster_coco_eval"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    # It logs the tracebacks of errors that this package raises again with the file's name.
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    # Validation metrics are reduced by torchmetrics before they are logged.
    warnings.filterwarnings("ignore", message=".*sync_dist=True.*")
    # The user chooses how many workers load; two suffice where samples come from the cache.
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*smaller than the logging interval.*")
    warnings.filterwarnings("ignore", message=".*exists and is not empty.*")
    # Batch norm's frozen statistics are meant.
    warnings.filterwarnings("ignore", message=".*in eval mode at the start of training.*")
    # Lightning's hint on every machine of a cluster, where a run of one process is started without srun.
    warnings.filterwarnings("ignore", message=".*srun. command is available.*")
    # conf/hydra/launcher/ray.yaml has the plugin's name, and says all that the plugin's own does.
    warnings.filterwarnings("ignore", message=r"\s*'hydra/launcher/ray' is validated against ConfigStore")
    # Between Lightning and torch.
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")


def check_command_line(name: str) -> None:
    """Compose a primary configuration from the command line, and try its folder, before Hydra does.

    Hydra's own errors name no closest keys, and a folder that it cannot make is a traceback.

    Raises:
        ConfigError: as :func:`~rsna_det.config.compose.compose_config`.
        OSError: as :func:`check_writable`.
    """
    # Hydra's own flags (--help, --cfg, -m) are Hydra's to answer.
    if not any(argument.startswith("-") for argument in sys.argv[1:]):
        config = compose_config(name, sys.argv[1:])
        check_writable(Path(config.get("out", config.paths.runs)).expanduser())


def check_writable(folder: Path) -> None:
    """Try whether something can be written into a folder, or into the folder that it would be made in.

    Raises:
        OSError: if not (a full disk, permissions, a file of that name); naming the folder and the remedy.
    """
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(bytes(_HYDRA_WRITES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        reason = error.strerror or error
        raise OSError(
            f"{folder} cannot be written into ({there}: {reason}): free some space, check the permissions, or choose "
            "another folder"
        ) from error


@contextmanager
def errors_as_messages() -> Iterator[None]:
    """End the process with one message for an expected error or Ctrl-C; an error's traceback goes to the run's log."""
    try:
        yield
    except EXPECTED_ERRORS as error:
        cause = cause_of(error)
        if not isinstance(cause, EXPECTED_ERRORS):
            raise cause from None
        _write_traceback(error)
        sys.exit(f"error: {_explained(cause)}")
    except KeyboardInterrupt:
        sys.exit("interrupted")


def table_of(title: str, rows: Mapping[str, str]) -> None:
    """Print a two-column table."""
    table = Table(title=title, show_header=False, title_justify="left")
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(name, value)
    Console().print(table)


def print_table(title: str, rows: Sequence[Sequence[str]]) -> None:
    """Print a line and a table of several columns, the last two of which may take several lines."""
    console = Console()
    console.print(title, soft_wrap=True)
    if not rows:
        return
    table = Table(show_header=False)
    for column in range(len(rows[0])):
        table.add_column(no_wrap=column < len(rows[0]) - 2, overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def _write_traceback(error: BaseException) -> None:
    """Into the files that log, not onto the console."""
    record = log.makeRecord(
        log.name, logging.ERROR, __file__, 0, "the run failed", (), (type(error), error, error.__traceback__)
    )
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handle(record)


def _explained(error: BaseException) -> str:
    message = str(error) or type(error).__name__
    if isinstance(error, MisconfigurationException) and "gpu" in message.lower():
        return f"{message.rstrip('.')}. Without a GPU set `trainer=cpu`"
    return message


def is_first_process() -> bool:
    """Whether this is the one process, or the first of those that torchrun or srun started."""
    rank = os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0"))
    return int(rank) == 0
