"""What W&B's process or server does wrong: said once, bounded in time, and never the reason that a run fails."""

import logging
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import urlopen

log = logging.getLogger(__name__)

FINISH_SECONDS = 60.0
"""How long W&B's process may take to end a run once nothing is to be sent."""

_ASKED_SECONDS = 5.0


class Failures:
    """What W&B did not take: each kind is said once, and after the end of its process nothing is asked of it."""

    def __init__(self) -> None:
        self._said: set[str] = set()
        self.gone = False

    @contextmanager
    def noted(self, what: str) -> Iterator[None]:
        """Make a warning of any error in the block; whatever W&B raises is no reason to lose a run."""
        try:
            yield
        except Exception as error:  # noqa: BLE001
            if not self.gone and what not in self._said:
                log.warning("W&B did not take %s (%s: %s)", what, type(error).__name__, error)
            self._said.add(what)
            if isinstance(error, ConnectionError) and not self.gone:
                self.gone = True
                log.warning("W&B's process has ended: the run goes on without it; metrics.csv has its numbers")


def never_raising(method: Callable[..., Any], what: str) -> Callable[..., Any]:
    """A method of a logger that has ``_failures``, which warns where W&B raises, and returns None.

    Args:
        method: of Lightning's logger.
        what: it logs, for the warning.
    """

    @wraps(method)
    def guarded(self: Any, *args: Any, **options: Any) -> Any:  # noqa: ANN401
        failures: Failures = self._failures
        if failures.gone:
            return None
        with failures.noted(what):
            return method(self, *args, **options)
        return None

    return guarded


def ends_in_time(finish: Callable[[], None], *, sends: bool, server_problem: Callable[[], str | None]) -> bool:
    """End W&B's run; an upload may take its time while the server answers, a silent server or process is left.

    Args:
        finish: ends the run.
        sends: whether it uploads.
        server_problem: what is wrong with the server, if anything is.

    Returns:
        False if it was left.
    """
    ending = threading.Thread(target=finish, daemon=True)
    ending.start()
    waited = 0.0
    while ending.is_alive() and waited < FINISH_SECONDS:
        ending.join(_ASKED_SECONDS)
        # While the server takes what it is sent, the clock stands still.
        problem = server_problem() if sends and ending.is_alive() else None
        waited += 0 if sends and problem is None else _ASKED_SECONDS
        if problem is not None:
            log.warning("%s: leaving the rest to `wandb sync`", problem)
            break
    return not ending.is_alive()


def silence_of(address: str, *, seconds: float) -> str | None:
    """Why nobody answers at a server's address, in words; None if somebody does, whatever it says.

    Args:
        address: with its scheme.
        seconds: that an answer may take.
    """
    # How it proves its name is not asked here.
    unverified = ssl.create_default_context()
    unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
    try:
        urlopen(address, timeout=seconds, context=unverified).close()  # noqa: S310  # of W&B's own settings
    except HTTPError:
        return None
    except (OSError, HTTPException, ValueError) as error:
        return f"W&B cannot be reached at {urlsplit(address).netloc} ({getattr(error, 'reason', error)})"
    return None
