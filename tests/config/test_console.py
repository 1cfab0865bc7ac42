"""How a command ends: one line for what the user can mend, a traceback for our own mistakes."""

import errno
import logging
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rsna_det.config.command import check_writable
from rsna_det.config.console import errors_as_messages, log_errors_to
from rsna_det.errors import DataError, InvalidValueError, RsnaDetError, StorageError
from rsna_det.evaluate import __main__ as evaluate
from rsna_det.predict import __main__ as predict


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RsnaDetError("no such fold"), "error: no such fold"),
        (InvalidValueError("cut is 2; expected 0 to 1"), "error: cut is 2; expected 0 to 1"),
    ],
)
def test_what_the_user_can_mend_is_one_line(error: BaseException, message: str) -> None:
    with pytest.raises(SystemExit) as raised, errors_as_messages():
        raise error
    assert raised.value.code == message


def test_ctrl_c_and_sigterm_have_their_own_status_and_say_how_to_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    def terminated() -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    def interrupted() -> None:
        raise KeyboardInterrupt

    for end, status, word in ((interrupted, 130, "interrupted"), (terminated, 143, "terminated")):
        with pytest.raises(SystemExit) as raised, errors_as_messages(lambda: "start again"):
            end()
        assert raised.value.code == status
        assert capsys.readouterr().err == f"{word}: start again\n"
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_handler_of_sigterm_that_is_there_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """That of a job that Slurm queues again, say."""
    got: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: got.append(number))
    try:
        with errors_as_messages():
            os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert got == [signal.SIGTERM]


@pytest.mark.parametrize("error", [ZeroDivisionError(), ValueError("shapes (3,) and (4,)"), KeyError("column")])
def test_our_own_mistakes_keep_their_traceback(error: Exception) -> None:
    with pytest.raises(type(error)), errors_as_messages():
        raise error


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_what_the_machine_lacks_is_one_line(number: int) -> None:
    expected = r"error: .*'/full/disk': free some space, check the permissions"
    with pytest.raises(SystemExit, match=expected), errors_as_messages():
        raise OSError(number, os.strerror(number), "/full/disk")


def test_other_errors_of_the_system_keep_their_traceback() -> None:
    with pytest.raises(FileNotFoundError), errors_as_messages():
        raise FileNotFoundError(errno.ENOENT, "No such file", "a file of ours")


def test_the_traceback_is_shown_on_request(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        with pytest.raises(SystemExit), errors_as_messages():
            raise DataError("a damaged table")

    fail()
    assert "Traceback" not in capsys.readouterr().err
    monkeypatch.setenv("RSNA_DET_TRACEBACK", "1")
    fail()
    assert "Traceback" in capsys.readouterr().err


@pytest.fixture
def handlers() -> Iterator[None]:
    before = list(logging.getLogger().handlers)
    yield
    for handler in [h for h in logging.getLogger().handlers if h not in before]:
        logging.getLogger().removeHandler(handler)
        handler.close()


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("error", [DataError("a damaged table"), ValueError("a bug")])
def test_a_command_without_a_run_logs_tracebacks_too(error: Exception, tmp_path: Path) -> None:
    log_errors_to(tmp_path / "studies.log")
    assert not (tmp_path / "studies.log").exists(), "nothing went wrong yet"
    with pytest.raises((SystemExit, ValueError)), errors_as_messages():
        raise error
    assert f"{type(error).__name__}: {error}" in (tmp_path / "studies.log").read_text()


@pytest.mark.parametrize(("command", "options"), [(predict, ["checkpoints=a", "images=b"]), (evaluate, ["runs=a"])])
def test_a_folder_that_cannot_be_made_is_one_line(
    command: object, options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("mine")
    monkeypatch.setattr(sys, "argv", ["command", f"out={tmp_path}/file/below/out", *options])
    with pytest.raises(SystemExit, match=r"error: .*file/below/out cannot be written into .*choose another folder"):
        command.main()  # type: ignore[attr-defined]
    assert (tmp_path / "file").read_text() == "mine"


def test_a_full_disk_is_told_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_writable(tmp_path / "some" / "where")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=r"where cannot be written into \(.*No space left on device\): free some"):
        check_writable(tmp_path / "some" / "where")
    assert list(tmp_path.iterdir()) == []
