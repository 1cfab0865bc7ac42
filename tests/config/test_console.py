"""How an entry point ends: one message for what the user can mend, a traceback for our own mistakes."""

import errno
import os
import sys
from pathlib import Path

import pytest

from rsna_det.config.command import check_writable
from rsna_det.config.console import errors_as_messages
from rsna_det.evaluate import __main__ as evaluate
from rsna_det.predict import __main__ as predict


@pytest.mark.parametrize(
    ("error", "message"), [(ValueError("no such fold"), "error: no such fold"), (KeyboardInterrupt(), "interrupted")]
)
def test_what_the_user_can_mend_is_one_message(error: BaseException, message: str) -> None:
    with pytest.raises(SystemExit) as raised, errors_as_messages():
        raise error
    assert raised.value.code == message


def test_our_own_mistakes_keep_their_traceback() -> None:
    with pytest.raises(ZeroDivisionError), errors_as_messages():
        raise ZeroDivisionError


@pytest.mark.parametrize(("command", "options"), [(predict, ["checkpoints=a", "images=b"]), (evaluate, ["runs=a"])])
def test_a_folder_that_cannot_be_made_is_one_message(
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
    with pytest.raises(OSError, match=r"where cannot be written into \(.*No space left on device\): free some space"):
        check_writable(tmp_path / "some" / "where")
    assert list(tmp_path.iterdir()) == []
