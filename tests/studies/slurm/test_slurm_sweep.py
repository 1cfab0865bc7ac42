"""A sweep through a real Slurm on this machine, one of its jobs killed, and the sweep started again."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

import pytest

from rsna_det.config.compose import CONF
from rsna_det.config.console import set_up
from rsna_det.studies.plan import Study, launched_study, plan_study
from tests.short_runs import short_run

HERE = Path(__file__).parent
PROGRAMS = ("slurmctld", "slurmd", "sbatch", "scancel", "munged")
SECONDS = 300


def why_not() -> str:
    """What is missing for a Slurm on this machine."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        return f"no {', '.join(missing)}: apt-get install --no-install-recommends slurm-wlm munge"
    if os.geteuid() != 0:
        return "the daemons of a Slurm are started as root"
    try:
        metadata.version("hydra-submitit-launcher")
    except metadata.PackageNotFoundError:
        return "no hydra-submitit-launcher: pip install 'rsna-det[slurm]'"
    return ""


pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "nothing is missing")


@pytest.fixture
def slurm(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment in which commands find a Slurm of this machine."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    own = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB", "SLURM"))}
    own |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(CONF.parent), "SLURM_CONF": str(folder / "slurm.conf")}
    try:
        subprocess.run([str(HERE / "start.sh"), str(folder)], env=own, check=True, timeout=60)
        yield own
    finally:
        subprocess.run([str(HERE / "stop.sh"), str(folder)], check=False, timeout=60)


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def states(study: Study) -> Counter[str]:
    return Counter(each.state.state for each in study.runs)


def test_a_killed_job_goes_on_when_the_sweep_is_started_again(
    slurm: dict[str, str], synthetic_root: Path, tmp_path: Path
) -> None:
    set_up()
    options = short_run(synthetic_root, "trainer.max_epochs=20", f"paths.studies={tmp_path / 'studies'}")
    launcher = [f"hydra.launcher.{option}" for option in ("mem_gb=2", "cpus_per_task=1", "timeout_min=30")]
    arguments = ["+sweep=negatives", *options]
    command = [sys.executable, "-m", "rsna_det.train", "-m", *arguments, "hydra/launcher=slurm", *launcher]
    study = plan_study(["sweep=negatives", *options])

    # Slurm without accounting does not say that a job was killed, and submitit waits for it: hence the interrupt.
    with subprocess.Popen(command, env=slurm, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as first:
        killed = study.runs[0]
        wait_until(killed.folder.last_checkpoint.is_file)
        job = json.loads(killed.folder.provenance_file.read_text())["starts"][0]["environment"]["SLURM_JOB_ID"]
        subprocess.run([shutil.which("scancel") or "scancel", "--full", "--signal=KILL", job], env=slurm, check=True)
        wait_until(lambda: states(study) == {"finished": 3, "interrupted": 1})
        first.send_signal(signal.SIGINT)
        said, _ = first.communicate(timeout=60)
    assert first.returncode == 130, said
    assert "1 interrupted" in said

    done = subprocess.run(command, env=slurm, check=False, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stderr
    assert states(study) == {"finished": 4}
    starts = json.loads(killed.folder.provenance_file.read_text())["starts"]
    assert len(starts) == 2
    assert starts[1]["first_epoch"] == len(starts[0]["epoch_seconds"])
    assert launched_study("negatives", [f"paths.studies={tmp_path / 'studies'}"]).runs == study.runs
    for each in study.runs[1:]:
        (only,) = json.loads(each.folder.provenance_file.read_text())["starts"]
        assert only["environment"]["CUDA_VISIBLE_DEVICES"] in {"0", "1"}
