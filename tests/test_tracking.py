"""W&B without a server: everything logged can be read back, and a server that is not there stops nothing."""

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import logging, sys
logging.basicConfig(level=logging.INFO)
from rsna_det.tracking import wandb_logger
import wandb
logger = wandb_logger(
    mode=sys.argv[1], project="tests", entity=None, group="fold study", tags=["tiny"], run_dir=sys.argv[2]
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
    assert '"max"' in read.stdout.replace(" ", "")
    assert "0.3" in read.stdout


def test_a_server_that_does_not_answer_stops_nothing(tmp_path: Path) -> None:
    log = log_three_epochs(
        "online",
        tmp_path / "run",
        WANDB_BASE_URL="http://127.0.0.1:9",
        WANDB_API_KEY="x" * 40,
    )
    assert "going on offline" in log
    assert len(runs(tmp_path / "run")) == 1
