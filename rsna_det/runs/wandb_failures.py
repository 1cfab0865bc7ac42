"""What W&B's process or server does wrong: said once, bounded in time, and never the reason that a run fails."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from typing import Any

import wandb
from wandb.sdk.lib import module as wandb_globals

log = logging.getLogger(__name__)

FINISH_SECONDS = 60
"""How long W&B's process may take to end a run once nothing is to be sent."""

_ASKED_SECONDS = 5


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


def end_run(server_problem: Callable[[], str | None]) -> None:
    """Close the run, if one is open: the next one in this process would be merged into it.

    An upload may take its time while the server answers; a silent server or process is left after a while.

    Args:
        server_problem: what is wrong with the server, if anything is.
    """
    if wandb.run is None:
        return
    sends = not getattr(wandb.run, "offline", True) and not getattr(wandb.run, "disabled", False)
    failures = Failures()

    def finish() -> None:
        # That its process has ended has been said by then.
        with failures.noted("the end of the run"), suppress(ConnectionError):
            wandb.finish()

    ending = threading.Thread(target=finish, daemon=True)
    ending.start()
    waited = 0
    while ending.is_alive() and waited < FINISH_SECONDS:
        ending.join(_ASKED_SECONDS)
        # While the server takes what it is sent, the clock stands still.
        problem = server_problem() if sends and ending.is_alive() else None
        waited += 0 if sends and problem is None else _ASKED_SECONDS
        if problem is not None:
            log.warning("%s: leaving the rest to `wandb sync`", problem)
            break
    if ending.is_alive() or wandb.run is not None:
        abandon()


def abandon() -> None:
    """Drop W&B's process and forget its run; its files stay as they are."""
    setup = wandb.setup()
    # W&B has no public way to end a process that does not answer.
    process = getattr(getattr(getattr(setup, "_connection", None), "_proc", None), "_process", None)
    if process is not None:
        process.kill()
    # Its end is what was wanted, whatever it raises: SystemExit with the status of its process, for one.
    with suppress(Exception, SystemExit):
        wandb.teardown()
    wandb_globals.unset_globals()  # type: ignore[no-untyped-call]
