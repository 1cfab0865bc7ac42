"""What ends a training from outside: Ctrl-C and SIGTERM, which Lightning swallows, and a process that died."""

import shlex
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from pytorch_lightning import Trainer
from pytorch_lightning.utilities.exceptions import SIGTERMException

from rsna_det.config.interrupts import Terminated
from rsna_det.config.lightning_messages import DEAD_PROCESS
from rsna_det.errors import ResourceError, RsnaDetError
from rsna_det.runs.folder import RunFolder

# Of the RuntimeErrors that torch raises where another process of the group has gone.
_GONE = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "gloo", "NCCL", "Socket")


@contextmanager
def interruptions(trainer: Trainer) -> Iterator[None]:
    """Raise, out of Lightning's ends of the process, what ended the training.

    Raises:
        KeyboardInterrupt: for Ctrl-C, which Lightning makes an exit with status 1.
        Terminated: for SIGTERM, which it makes an exit with status 0.
        ResourceError: if another process of the run has died.
    """
    try:
        yield
    except SIGTERMException as error:
        raise Terminated from error
    except Terminated:
        raise
    except SystemExit as error:
        if not isinstance(error.__context__, KeyboardInterrupt):
            raise
        # Lightning leaves it ignored.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        raise KeyboardInterrupt from error
    except RuntimeError as error:
        died = _dead_process(trainer, error)
        if died is None:
            raise
        raise ResourceError(DEAD_PROCESS.format(what=died)) from error


def how_to_resume(folder: RunFolder) -> str:
    """What to do with a run that was interrupted."""
    if folder.last_checkpoint.is_file():
        return f"resume with `python -m rsna_det.train resume={shlex.quote(str(folder))}`"
    return f"no epoch was finished: start again with the same command ({folder} holds the interrupted start)"


def _dead_process(trainer: Trainer, error: RuntimeError) -> str | None:
    """Which process died, if the error says or Lightning knows that one did."""
    if trainer.world_size < 2 or isinstance(error, RsnaDetError | torch.OutOfMemoryError):
        return None
    processes: list[Any] = getattr(trainer.strategy.launcher, "procs", [])
    for rank, process in enumerate(processes, start=1):
        if process.poll():
            return f"that of device {rank}, process {process.pid}, with status {process.returncode}"
    distributed = isinstance(error, torch.distributed.DistError) or any(sign in str(error) for sign in _GONE)
    return (str(error).splitlines() or [""])[0] if distributed else None
