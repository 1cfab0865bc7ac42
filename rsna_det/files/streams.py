"""Output that nobody reads any more: ``... --help | head`` ends as it does with any other program, without a word."""

import atexit
import os
import signal
import sys
from collections.abc import Sequence

_LISTINGS = ("-h", "--help", "--hydra-help", "--version", "-c", "--cfg", "-i", "--info")
# What a shell reports of a program that was ended by a closed pipe.
UNREAD = 128 + 13


def end_quietly_when_unread(arguments: Sequence[str]) -> None:
    """Let a command whose standard output is closed end without a traceback.

    One that only lists something is ended by the system. Any other may hold sockets and pipes to its workers, which
    the system would end it for as well: there only what is left to print at the end is dropped.

    Args:
        arguments: of the command line.
    """
    # Without arguments a command works, as do the processes of a launcher.
    listing = any(argument.partition("=")[0] in _LISTINGS for argument in arguments)
    if listing and hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    atexit.register(is_unread)


def is_unread() -> bool:
    """Whether nobody reads standard output any more; then what is still to be printed is dropped."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    except (OSError, ValueError):
        # A full disk, or closed on purpose: for others to report.
        return False
    return False
