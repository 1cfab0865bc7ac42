"""One process works in a folder or on a file; a killed one does not keep it, and whoever waits is told for whom."""

import errno
import fcntl
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rsna_det import train
from rsna_det.errors import InUseError, StorageError
from rsna_det.evaluate import __main__ as evaluate
from rsna_det.files import heartbeat
from rsna_det.files.heartbeat import Holder
from rsna_det.files.locks import LOCK, holder, in_use, lock, wait_for_lock
from rsna_det.predict import __main__ as predict

HOLD = """
import sys, time
from multiprocessing import Process
from pathlib import Path
from rsna_det.files.locks import in_use, lock, wait_for_lock
hold, path, seconds = sys.argv[1:]
with {"lock": lock, "wait": wait_for_lock, "folder": in_use}[hold](Path(path)):
    # What a loader's worker is: a fork that may outlive its parent for a while.
    Process(target=time.sleep, args=(20,), daemon=True).start()
    print("held", flush=True)
    time.sleep(float(seconds))
"""


@contextmanager
def another_process(hold: str, path: Path, *, seconds: float = 60) -> Iterator[subprocess.Popen[str]]:
    """A process that holds a lock, killed in the end."""
    command = [sys.executable, "-c", HOLD, hold, str(path), str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        yield other
        other.kill()


@pytest.mark.parametrize("hold", ["lock", "wait"])
def test_another_process_is_named_until_it_is_killed(hold: str, tmp_path: Path) -> None:
    file = tmp_path / "lock"
    with another_process(hold, file) as other:
        with pytest.raises(InUseError, match=f"lock is held by process {other.pid} on {socket.gethostname()}"):
            lock(file).__enter__()
        held = holder(file)
        assert held is not None
        assert held.pid == other.pid
        other.send_signal(signal.SIGKILL)
    assert holder(file) is None
    with lock(file):
        assert json.loads(file.read_text())["pid"] == os.getpid()
    assert not file.read_text()


def test_the_second_waits_and_is_told_for_whom(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "lock"
    # The fork that it leaves behind for 20 seconds is not waited for.
    with another_process("wait", file, seconds=3) as other:
        started = time.monotonic()
        with caplog.at_level(logging.WARNING), wait_for_lock(file):
            assert 1 < time.monotonic() - started < 15
            assert json.loads(file.read_text())["pid"] == os.getpid()
    (message,) = caplog.messages
    assert message.startswith(f"waiting for process {other.pid} on {socket.gethostname()} since ")
    assert message.endswith(f", which holds {file}")


def test_threads_of_one_process_exclude_each_other(tmp_path: Path) -> None:
    """The system would grant the second the same lock, and drop it once either is closed."""
    file = tmp_path / "lock"
    with lock(file):
        with pytest.raises(InUseError, match=f"process {os.getpid()}"):
            lock(tmp_path / ".." / tmp_path.name / "lock").__enter__()
        assert holder(file) == Holder.own()
        attempt = subprocess.run(
            [sys.executable, "-c", HOLD, "lock", str(file), "0"], capture_output=True, text=True, check=False
        )
        assert f"is held by process {os.getpid()}" in attempt.stderr
    with lock(file):
        pass


def test_a_fork_does_not_take_itself_for_the_holder(tmp_path: Path) -> None:
    with lock(tmp_path / "lock"):
        with warnings.catch_warnings():
            # From Python 3.12 on: the holder's beats are a thread.
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            found = holder(tmp_path / "lock")
            os._exit(0 if found is not None and found.pid == os.getppid() else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_nobody_holds_what_is_not_there(tmp_path: Path) -> None:
    assert holder(tmp_path / "lock") is None


def left_behind(file: Path, beats: int) -> None:
    """As a killed holder on another machine leaves its lock, or a living one whose lock is not seen here."""
    own = Holder(host="elsewhere", pid=7, since="2026-01-01 00:00 UTC", beats=beats)
    file.write_text(json.dumps(vars(own)) + "\n")


def test_a_holder_elsewhere_is_known_by_its_beats(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    left_behind(file, 1)

    def beat() -> None:
        time.sleep(0.15)
        left_behind(file, 2)

    beating = threading.Thread(target=beat)
    beating.start()
    with pytest.raises(InUseError, match="process 7 on elsewhere"), lock(file, beat_seconds=0.2):
        pass
    beating.join()
    assert holder(file) == Holder(host="elsewhere", pid=7, since="2026-01-01 00:00 UTC", beats=2)


def test_a_lock_without_beats_is_taken_over(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    left_behind(file, 1)
    with lock(file, beat_seconds=0.05):
        time.sleep(0.2)
        found = json.loads(file.read_text().splitlines()[0])
    assert found["host"] == socket.gethostname()
    assert found["beats"] >= 1
    left_behind(file, 1)
    os.utime(file, (0, 0))
    assert holder(file) is None


def test_a_full_disk_does_not_end_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "lock"

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(heartbeat.os, "pwrite", full)
        held = lock(file, beat_seconds=0.05)
        held.__enter__()
        time.sleep(0.2)
        assert not file.read_text()
    deadline = time.monotonic() + 10
    while not file.read_text() and time.monotonic() < deadline:
        time.sleep(0.05)
    # The first beat that can be written names the holder.
    assert json.loads(file.read_text())["pid"] == os.getpid()
    held.__exit__(None, None, None)


def test_a_file_system_without_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A folder is worked in with a warning; where two would spoil each other's work, it is an error."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", refuse)
    with train._held(tmp_path):
        pass
    assert "has no locks" in caplog.text
    with pytest.raises(StorageError, match="has no locks; choose a folder on another"):
        wait_for_lock(tmp_path / "lock").__enter__()


def test_a_folder_that_cannot_be_made_is_named_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"file/out cannot be written \(Not a directory\): free some space"):
        in_use(tmp_path / "file" / "out").__enter__()
    with pytest.raises(StorageError, match="Not a directory"):
        holder(tmp_path / "file" / "lock")


@pytest.fixture
def held(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """A folder that another process writes into, and that process."""
    folder = tmp_path / "made" / "out"
    with another_process("folder", folder) as other:
        yield folder, other.pid


def test_the_second_is_told_who_writes(held: tuple[Path, int]) -> None:
    folder, process = held
    with pytest.raises(InUseError, match=rf"out is being written by process {process} on .*another `out`"):
        in_use(folder).__enter__()


@pytest.mark.parametrize(("command", "options"), [(predict, ["checkpoints=a", "images=b"]), (evaluate, ["runs=a"])])
def test_an_entry_point_leaves_a_folder_in_use_alone(
    command: object, options: list[str], held: tuple[Path, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, process = held
    monkeypatch.setattr(sys, "argv", ["command", f"out={folder}", *options])
    with pytest.raises(SystemExit, match=f"error: .*is being written by process {process}"):
        command.main()  # type: ignore[attr-defined]
    assert [path.name for path in folder.iterdir()] == [".in_use.lock"]


def test_a_folder_is_free_again(tmp_path: Path) -> None:
    for _ in range(2):
        with in_use(tmp_path / "out"):
            assert holder(tmp_path / "out" / LOCK) == Holder.own()
        assert holder(tmp_path / "out" / LOCK) is None


@pytest.mark.parametrize("ahead", [3600, 10**8])
def test_a_clock_that_is_ahead_keeps_no_dead_holder_alive(ahead: int, tmp_path: Path) -> None:
    file = tmp_path / "lock"
    left_behind(file, 1)
    os.utime(file, (time.time() + ahead,) * 2)
    assert holder(file) is None
    started = time.monotonic()
    with lock(file, beat_seconds=0.05):
        assert time.monotonic() - started < 5
    # A minute's difference between two clocks is none.
    left_behind(file, 1)
    os.utime(file, (time.time() + 20,) * 2)
    found = holder(file)
    assert found is not None
    assert found.pid == 7


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (lambda path: path.mkdir(), "a folder"),
        (lambda path: path.symlink_to(path.with_name("precious")), "a symbolic link"),
        (lambda path: path.symlink_to(path), "a symbolic link"),
        (os.mkfifo, "no file"),
    ],
)
def test_what_is_no_lock_is_named_and_left_alone(make: Callable[[Path], object], found: str, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("precious")
    file = tmp_path / "lock"
    make(file)
    for use in (
        lambda: lock(file).__enter__(),
        lambda: holder(file),
        lambda: in_use(tmp_path, name="lock").__enter__(),
    ):
        with pytest.raises(StorageError, match=rf"lock is {found}; expected the file of a lock: remove it"):
            use()
    assert precious.read_text() == "precious"


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 1000,
        b'{"host": 1, "pid": 7, "since": "now"}',
        b'{"host": "elsewhere", "pid": "7", "since": "now"}',
        b'{"host": "elsewhere", "pid": true, "since": "now"}',
        b'{"host": "\\u001b[31mred", "pid": 7, "since": "now"}',
        b'{"host": "elsewhere", "pid": 7, "since": ["now"]}',
        b"\xff\xfe",
        b"null",
    ],
)
def test_a_damaged_lock_names_nobody(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "lock"
    file.write_bytes(content + b"\n")
    assert holder(file) is None
    with lock(file, beat_seconds=10):
        pass
