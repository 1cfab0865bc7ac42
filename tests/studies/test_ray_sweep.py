"""A sweep through Ray: each job has a GPU of its own, and they run at the same time."""

import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from rsna_det.config.compose import CONF
from rsna_det.config.console import set_up
from rsna_det.errors import ConfigError
from rsna_det.studies.launchers import check_launcher
from rsna_det.studies.plan import plan_study
from tests.short_runs import short_run

pytestmark = pytest.mark.filterwarnings(r"ignore:\s*.hydra/launcher/ray. is validated against ConfigStore")


@pytest.fixture(autouse=True)
def ray() -> None:
    try:
        metadata.version("hydra-ray-launcher")
    except metadata.PackageNotFoundError:
        pytest.skip("no hydra-ray-launcher: pip install 'rsna-det[ray]'")
    set_up()


def test_each_job_has_a_gpu_of_its_own(synthetic_root: Path, tmp_path: Path) -> None:
    """Two GPUs are declared to Ray; nothing but their numbers is needed."""
    options = short_run(synthetic_root, f"paths.studies={tmp_path}")
    declared = ["hydra/launcher=ray", "hydra.launcher.ray.init.num_gpus=2", "hydra.launcher.ray.init.num_cpus=2"]
    command = [sys.executable, "-m", "rsna_det.train", "-m", "+sweep=negatives", *options, *declared]
    own = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    own |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(CONF.parent)}
    done = subprocess.run(command, env=own, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "4 cells (4 finished)" in done.stdout
    starts = []
    for cell in plan_study(["sweep=negatives", *options]).cells:
        starts += json.loads((cell.folder / "provenance.json").read_text())["starts"]
    assert sorted(start["environment"]["CUDA_VISIBLE_DEVICES"] for start in starts) == ["0", "0", "1", "1"]
    assert len({start["pid"] for start in starts}) == 4


def test_a_machine_without_gpus_does_not_wait_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(ConfigError, match="wait for ever"):
        check_launcher(["hydra/launcher=ray"])
    check_launcher(["hydra/launcher=ray", "hydra.launcher.ray.init.num_gpus=2"])
    check_launcher(["hydra/launcher=ray", "hydra.launcher.ray.remote.num_gpus=0"])
    check_launcher(["hydra/launcher=ray", "hydra.launcher.ray.init.address=auto"])
