"""Fixtures shared by all tests: a small synthetic data set, and real radiographs where there are any."""

import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

torch.set_num_threads(1)

# How long examples take says something about the machine, not about the code.
_UNTIMED = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
# The same examples every time, so that `make test` gives everybody the same answer.
settings.register_profile("default", derandomize=True, database=None, max_examples=100, **_UNTIMED)
# Other examples every time, and ten times as many: `make fuzz`, or `--hypothesis-profile=fuzz`.
settings.register_profile("fuzz", derandomize=False, max_examples=1000, print_blob=True, **_UNTIMED)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.fixture(autouse=True)
def closed_pipes_end_no_test() -> Iterator[None]:
    """A command that lists (``--help``) gives a closed pipe back to the system, which would end this process later."""
    yield
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)


@pytest.fixture(autouse=True)
def logs_without_those_of_wandb(caplog: pytest.LogCaptureFixture) -> None:
    """pytest hears loggers that pass nothing on, too: W&B's still speak of an earlier test's run."""
    # Added once: a handler takes no filter twice.
    caplog.handler.addFilter(_not_of_wandb)


def _not_of_wandb(record: logging.LogRecord) -> bool:
    return record.name.partition(".")[0] != "wandb"


@pytest.fixture(scope="session")
def synthetic_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in the challenge's layout with 24 drawn radiographs of 64 x 64 pixels."""
    from rsna_det.data.synthetic.writing import write_synthetic

    root = tmp_path_factory.mktemp("challenge") / "synthetic"
    write_synthetic(root=root, num_images=24, side=64, seed=0)
    return root


@pytest.fixture(scope="session")
def trained_folds(synthetic_root: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The folders of two runs of two epochs, on the folds 0 and 1 of four; not to be written to."""
    from rsna_det.runs.session import run
    from tests.short_runs import options_of

    root = tmp_path_factory.mktemp("trained")
    folders = [root / f"fold_{fold}" for fold in (0, 1)]
    for fold, folder in enumerate(folders):
        run(options_of(synthetic_root, folder, f"data.fold={fold}", "trainer.max_epochs=2"))
    return folders


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real radiographs in the challenge's layout, or a skip."""
    name = os.environ.get("RSNA_DET_REAL_DATA", "")
    if not name:
        pytest.skip("RSNA_DET_REAL_DATA names no folder of real radiographs")
    root = Path(name)
    if not (root / "stage_2_train_images").is_dir():
        pytest.skip(f"RSNA_DET_REAL_DATA={name} has no stage_2_train_images")
    return root
