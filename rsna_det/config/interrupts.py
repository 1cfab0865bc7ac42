"""Ctrl-C and SIGTERM as exceptions, so that files are closed, locks released and a sentence said."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED = 128 + signal.SIGINT
"""Exit status after Ctrl-C."""

TERMINATED = 128 + signal.SIGTERM
"""Exit status after SIGTERM."""


class Terminated(SystemExit):
    """SIGTERM: what ``KeyboardInterrupt`` is to Ctrl-C. Uncaught, it ends the process with the same status."""

    def __init__(self) -> None:
        super().__init__(TERMINATED)


@contextmanager
def sigterm_raised() -> Iterator[None]:
    """Raise :class:`Terminated` for the first SIGTERM inside the block; a handler that is there already stays.

    A job of Slurm that is queued again, for one, has submitit's handler.
    """
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    own = os.getpid()

    def terminate(number: int, frame: FrameType | None) -> None:
        del frame
        if os.getpid() != own:
            # A fork of this process ends as it would without this handler.
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        # Cleaning up is not to be interrupted by the next one.
        signal.signal(number, signal.SIG_IGN)
        raise Terminated

    signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
