"""W&B without a server: everything logged can be read back, and a server that is not there stops nothing."""

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

SCRIPT = """
import logging, sys
logging.basicConfig(level=logging.INFO)
from rsna_det.runs.tracking import wandb_logger
import wandb
logger = wandb_logger(
    mode=sys.argv[1], project="tests", entity=None, group="fold study", job_type="train",
    tags=["tiny", "", "t" * 80], always=["fold 0", "tiny"], artifacts=True, run_dir=sys.argv[2],
)
for epoch, score in enumerate([0.1, 0.3, 0.2]):
    logger.log_metrics({"val/map_best": score, "epoch": epoch}, step=epoch)
wandb.finish()
"""


def log_three_epochs(mode: str, folder: Path, **environment: str) -> str:
    # The W&B of this process must not be that of the script.
    own = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, mode, str(folder)],
        env=own | environment,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def runs(folder: Path) -> list[Path]:
    return sorted((folder / "wandb").glob("offline-run-*/*.wandb"))


def test_an_offline_run_keeps_its_id_and_can_be_read_back(tmp_path: Path) -> None:
    folder = tmp_path / "2026-01-01_00-00-00_abcdef"
    log_three_epochs("offline", folder)
    log_three_epochs("offline", folder)
    run_id = (folder / "wandb_id").read_text().strip()
    assert {path.stem for path in runs(folder)} == {f"run-{run_id}"}
    inspect = [str(Path(sys.executable).with_name("wandb")), "leet", "inspect", "--summary", "--json"]
    read = subprocess.run([*inspect, str(runs(folder)[0])], check=True, capture_output=True, text=True)
    found = json.loads(read.stdout)
    assert found["summary"]["val/map_best"] == {"max": 0.3, "last": 0.2}
    assert found["tags"] == ["fold 0", "tiny", "t" * 64]


def test_a_server_that_does_not_answer_stops_nothing(tmp_path: Path) -> None:
    log = log_three_epochs(
        "online",
        tmp_path / "run",
        WANDB_BASE_URL="http://127.0.0.1:9",
        WANDB_API_KEY="x" * 40,
    )
    assert "W&B cannot be reached at 127.0.0.1:9" in log
    assert "continuing offline" in log
    assert len(runs(tmp_path / "run")) == 1


class Stranger(BaseHTTPRequestHandler):
    """A server that knows nothing of W&B."""

    def do_POST(self) -> None:
        self.send_response(404)
        self.end_headers()

    do_GET = do_POST  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Nobody wants to know."""


def test_a_server_that_answers_nonsense_stops_nothing(tmp_path: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Stranger) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        log = log_three_epochs("online", tmp_path / "run", WANDB_BASE_URL=address, WANDB_API_KEY="x" * 40)
        server.shutdown()
    assert "W&B answered with an error" in log
    assert len(runs(tmp_path / "run")) == 1


LOGIN = """
import os, socket
def refuse(self, address):
    assert self.family == socket.AF_UNIX, f"connects to {address}"
    return connect(self, address)
connect, socket.socket.connect = socket.socket.connect, refuse
from rsna_det.runs.tracking import logged_in
print(logged_in())
os.environ["WANDB_API_KEY"] = 40 * "x"
print(logged_in())
"""


def test_who_is_logged_in_is_known_without_a_server(tmp_path: Path) -> None:
    own = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB", "NETRC"))}
    done = subprocess.run(
        [sys.executable, "-c", LOGIN],
        env=own | {"HOME": str(tmp_path)},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["False", "True"], done.stderr
