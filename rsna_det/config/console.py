"""What the commands share on the console: a quiet start, errors as one line, tables."""

import errno
import logging
import os
import sys
import traceback
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rsna_det.config.compose import cause_of
from rsna_det.config.help import Help, is_asked_for, show
from rsna_det.config.interrupts import INTERRUPTED, TERMINATED, Terminated, sigterm_raised
from rsna_det.config.lightning_messages import quieten_lightning
from rsna_det.config.resolvers import OF_TWO_VALUES
from rsna_det.errors import RsnaDetError, StorageError
from rsna_det.files.streams import UNREAD, end_quietly_when_unread, is_unread

log = logging.getLogger(__name__)

SHOW_TRACEBACK = "RSNA_DET_TRACEBACK"
"""Environment variable: ``1`` prints the traceback of errors that otherwise are one line."""

# What a machine reports of its disks and permissions: the user can mend it, wherever it is raised.
_OF_THE_MACHINE = frozenset(
    {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EROFS,
        errno.EACCES,
        errno.EPERM,
        errno.EIO,
        errno.ESTALE,
        errno.EMFILE,
        errno.ENAMETOOLONG,
    }
)

_IGNORED_WARNINGS = (
    # Validation metrics are reduced by torchmetrics before they are logged.
    ".*sync_dist=True.*",
    # The user chooses how many workers load; two suffice where samples come from the cache.
    ".*does not have many workers.*",
    ".*smaller than the logging interval.*",
    ".*exists and is not empty.*",
    # Batch norm's statistics are frozen on purpose.
    ".*in eval mode at the start of training.*",
    # Lightning's hint on every machine of a cluster, where a run of one process is started without srun.
    ".*srun. command is available.*",
    # conf/hydra/launcher/ray.yaml has the plugin's name, and sets all that the plugin's own does.
    r"\s*'hydra/launcher/ray' is validated against ConfigStore",
    # Without validation there is none; what a callback monitors otherwise is checked (config/callbacks.py).
    ".*could not find the monitored key.*",
    # Between Lightning and torch.
    ".*LeafSpec.*",
)


def set_up() -> None:
    """Register what the configurations refer to, and silence what only distracts."""
    end_quietly_when_unread(sys.argv[1:])
    OmegaConf.register_new_resolver("short_id", lambda: uuid.uuid4().hex[:6], use_cache=True, replace=True)
    OmegaConf.register_new_resolver("expanduser", lambda path: str(Path(path).expanduser()), replace=True)
    for name, function in OF_TWO_VALUES.items():
        OmegaConf.register_new_resolver(name, function, replace=True)
    # Ray reports on its use unless it is told not to.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    for chatty in ("timm", "faster_coco_eval"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    quieten_lightning()
    for message in _IGNORED_WARNINGS:
        warnings.filterwarnings("ignore", message=message)


@contextmanager
def errors_as_messages(how_to_go_on: Callable[[], str] | None = None) -> Iterator[None]:
    """End the process with one line for an error that the user can mend, for Ctrl-C (status 130) or SIGTERM (143).

    The traceback goes to the files that log, and with ``RSNA_DET_TRACEBACK=1`` to the console as well. Any other error
    is a bug: it is logged too, and keeps its traceback.

    Args:
        how_to_go_on: the end of the sentence that an interrupted command ends with.
    """
    try:
        with sigterm_raised():
            yield
    except KeyboardInterrupt:
        _end_interrupted(INTERRUPTED, "interrupted", how_to_go_on)
    except Terminated:
        _end_interrupted(TERMINATED, "terminated", how_to_go_on)
    except Exception as error:
        if isinstance(error, BrokenPipeError) and is_unread():
            sys.exit(UNREAD)
        _write_traceback(error)
        found = mendable(error)
        if found is None:
            raise
        if os.environ.get(SHOW_TRACEBACK) == "1":
            traceback.print_exception(error)
        sys.exit(f"error: {found}")


def _end_interrupted(status: int, what: str, how_to_go_on: Callable[[], str] | None) -> NoReturn:
    """Say how to go on, on the console and in the files that log."""
    sentence = f"{what}: {how_to_go_on()}" if how_to_go_on is not None else what
    _write_to_files(logging.WARNING, sentence)
    # Each of a run's processes ends here.
    if starts_the_work():
        Console(stderr=True).print(sentence, soft_wrap=True, highlight=False, markup=False)
    sys.exit(status)


def mendable(error: BaseException) -> RsnaDetError | None:
    """The error that a user can mend, out of Hydra's wrapping; None for a bug."""
    cause = cause_of(error)
    if isinstance(cause, RsnaDetError):
        return cause
    if isinstance(cause, OSError) and cause.errno in _OF_THE_MACHINE:
        return StorageError(f"{cause}: free some space, check the permissions, or choose another folder")
    return None


def command_line(own: Help) -> list[str]:
    """The words of the command line; one that asks for help ends the process with it."""
    arguments = sys.argv[1:]
    if is_asked_for(arguments):
        show(own)
        sys.exit(0)
    return arguments


def log_errors_to(file: Path) -> None:
    """Log errors with their tracebacks to a file too, which is made when there is one; its folder must be there."""
    if file.parent.is_dir():
        handler = logging.FileHandler(file, delay=True)
        handler.setLevel(logging.ERROR)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        logging.getLogger().addHandler(handler)


def table_of(title: str, rows: Mapping[str, str]) -> None:
    """Print a two-column table."""
    table = Table(title=Text(title), show_header=False, title_justify="left")
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(Text(name), Text(value))
    Console().print(table)


def print_table(title: str, rows: Sequence[Sequence[str]]) -> None:
    """Print a line and a table of several columns, the last two of which may take several lines."""
    console = Console()
    console.print(Text(title), soft_wrap=True)
    if not rows:
        return
    table = Table(show_header=False)
    for column in range(len(rows[0])):
        table.add_column(no_wrap=column < len(rows[0]) - 2, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)


def _write_traceback(error: BaseException) -> None:
    """Into the files that log, not onto the console."""
    _write_to_files(logging.ERROR, "the command failed", (type(error), error, error.__traceback__))


def _write_to_files(level: int, message: str, error: Any = None) -> None:  # noqa: ANN401
    record = log.makeRecord(log.name, level, __file__, 0, message, (), error)
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handle(record)


def is_first_process() -> bool:
    """Whether this is the one process, or the first of those that torchrun or srun started."""
    rank = os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0"))
    return int(rank) == 0


def starts_the_work() -> bool:
    """Whether this is the process that a user started, and none that Lightning started for another device."""
    return is_first_process() and int(os.environ.get("LOCAL_RANK", "0")) == 0
