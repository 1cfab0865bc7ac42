"""W&B's server or process may be silent, slow or gone: the wait is bounded, and one warning says so."""

import socket
import time
from collections.abc import Callable
from unittest.mock import Mock

import pytest
import wandb

from rsna_det.runs import tracking, wandb_failures
from rsna_det.runs.tracking import finish_tracking, server_problem
from rsna_det.runs.wandb_failures import Failures, never_raising


def test_a_server_that_takes_connections_and_says_nothing_is_not_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setattr(wandb, "setup", lambda: Mock(settings=Mock(base_url=f"http://{address}")))
        monkeypatch.setattr(tracking, "CONNECT_SECONDS", 0.2)
        started = time.monotonic()
        problem = server_problem()
    assert problem == f"W&B cannot be reached at {address} (timed out)"
    assert time.monotonic() - started < 5


@pytest.fixture
def ending(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """End a run whose process does not answer; returns what was done with it."""

    def end(*, offline: bool, problem: str | None) -> list[str]:
        done: list[str] = []
        monkeypatch.setattr(wandb, "run", Mock(offline=offline, disabled=False))
        monkeypatch.setattr(wandb, "finish", lambda: time.sleep(2))
        monkeypatch.setattr(tracking, "abandon", lambda: done.append("abandoned"))
        monkeypatch.setattr(tracking, "server_problem", lambda: problem)
        monkeypatch.setattr(wandb_failures, "FINISH_SECONDS", 0.3)
        monkeypatch.setattr(wandb_failures, "_ASKED_SECONDS", 0.1)
        started = time.monotonic()
        finish_tracking()
        done.append(f"{time.monotonic() - started:.0f} s")
        return done

    return end


def test_a_silent_process_is_left(ending: Callable[..., list[str]]) -> None:
    assert ending(offline=True, problem=None) == ["abandoned", "0 s"]


def test_a_silent_server_is_left_and_its_upload_with_it(
    ending: Callable[..., list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    assert ending(offline=False, problem="W&B cannot be reached") == ["abandoned", "0 s"]
    assert "W&B cannot be reached: leaving the rest to `wandb sync`" in caplog.text


def test_an_upload_may_take_its_time_while_the_server_answers(ending: Callable[..., list[str]]) -> None:
    # Longer than the bound; it is dropped afterwards because this run only pretends and stays open.
    assert ending(offline=False, problem=None) == ["abandoned", "2 s"]


def test_each_failure_is_said_once_and_nothing_is_asked_of_a_process_that_is_gone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    asked: list[int] = []

    def log(self: object, number: int) -> None:
        asked.append(number)
        raise ValueError("no") if number < 2 else ConnectionResetError("Connection lost")

    logger = Mock(_failures=Failures())
    guarded = never_raising(log, "the metrics")
    for number in range(5):
        assert guarded(logger, number) is None
    assert asked == [0, 1, 2]
    assert caplog.text.count("did not take the metrics") == 1
    assert caplog.text.count("W&B's process has ended") == 1
