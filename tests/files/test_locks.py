"""One process works on a cell; a killed one does not keep it."""

import errno
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from rsna_det import train
from rsna_det.files.locks import Holder, TakenError, holder, lock

HOLD = """
import sys, time
from multiprocessing import Process
from pathlib import Path
from rsna_det.cell_lock import lock
with lock(Path(sys.argv[1])):
    # What a loader's worker is: a fork that may outlive its parent for a while.
    Process(target=time.sleep, args=(20,), daemon=True).start()
    print("held", flush=True)
    time.sleep(60)
"""


def test_another_process_is_named_until_it_is_killed(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(file)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(TakenError, match=f"process {other.pid} on {socket.gethostname()}"), lock(file):
            pass
        held = holder(file)
        assert held is not None
        assert held.pid == other.pid
        other.send_signal(signal.SIGKILL)
    assert holder(file) is None
    with lock(file):
        assert json.loads(file.read_text())["pid"] == os.getpid()
    assert not file.read_text()


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
    with pytest.raises(TakenError, match="process 7 on elsewhere"), lock(file, beat_seconds=0.2):
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


def test_a_run_goes_on_where_the_file_system_knows_no_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", refuse)
    with train._held(tmp_path):
        pass
    assert "knows no locks" in caplog.text
