"""What a run was made from: ``provenance.json``, written when it starts and completed when it ends."""

import logging
import os
import platform
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import yaml
from lightning_utilities.core.rank_zero import rank_zero_only
from pytorch_lightning import Callback, LightningModule, Trainer

from rsna_det.config.compose import CONF
from rsna_det.config.options import TrainOptions, as_plain
from rsna_det.data.fingerprint import fingerprint
from rsna_det.errors import RsnaDetError
from rsna_det.files.atomic import write_text
from rsna_det.files.removal import clear_partial
from rsna_det.runs.folder import RunFolder
from rsna_det.runs.records import ProvenanceRecord, Start, write_record

if TYPE_CHECKING:
    from rsna_det.data.datamodule import RsnaDataModule

log = logging.getLogger(__name__)

_GIT_SECONDS = 20


class Provenance(Callback):
    """Keeps one entry for each start of a run: the first, and those that resumed it.

    Args:
        options: of the run.

    Raises:
        DataError: if the run's earlier record is damaged.
    """

    def __init__(self, options: TrainOptions) -> None:
        self.options = options
        self.folder = RunFolder(options.run_dir)
        self.entry: dict[str, Any] = {}
        self.data: dict[str, Any] | None = None
        earlier = self.folder.provenance()
        self._earlier = earlier.starts if earlier else []
        self._epoch_started = 0.0

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Write the entry of a start, and its outcome when it ends; a killed run stays ``running``."""
        started = time.perf_counter()
        rank_zero_only(clear_partial)(self.folder.path)
        self.entry = {"started": _now(), "outcome": "running", **_machine(), "git": git_state(CONF)}
        self.entry["packages"] = _packages()
        self._write()
        try:
            yield
        except BaseException as error:
            self.entry["outcome"] = f"{type(error).__name__}: {error}".splitlines()[0]
            self.entry |= {"ended": _now(), "seconds": round(time.perf_counter() - started, 1)}
            try:
                self._write()
            except RsnaDetError as second:
                # A full disk, most likely: what ended the run is not to be hidden by it.
                log.warning("%s", second)
            raise
        self.entry |= {"outcome": "finished", "ended": _now(), "seconds": round(time.perf_counter() - started, 1)}
        self._write()

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Record the data, which are read now, and the devices."""
        if not trainer.is_global_zero:
            return
        data: RsnaDataModule = trainer.datamodule  # type: ignore[attr-defined]
        tables = {"patients_csv": data.patients_csv, "folds_csv": data.folds_csv, "test_ids": data.test_ids}
        self.data = fingerprint(root=data.root, images=data.images, tables=tables)
        self.data |= {"root": str(data.root.resolve())}
        self.entry["device"] = _device(trainer)
        self._write()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Record the first epoch: the checkpoint, if there is one, is loaded now."""
        if trainer.is_global_zero:
            self.entry |= {"first_epoch": trainer.current_epoch, "epoch_seconds": []}
            self._write()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Start an epoch's clock."""
        self._epoch_started = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Record the epoch's time, its validation included."""
        if trainer.is_global_zero:
            self.entry["epoch_seconds"].append(round(time.perf_counter() - self._epoch_started, 2))
            self._write()

    @rank_zero_only
    def _write(self) -> None:
        self.folder.path.mkdir(parents=True, exist_ok=True)
        resolved = self.folder.resolved_config
        write_text(resolved, yaml.safe_dump(as_plain(self.options), sort_keys=False))
        record = ProvenanceRecord(
            seed=self.options.seed,
            configuration=resolved.name,
            data=self.data,
            starts=[*self._earlier, Start.model_validate(self.entry)],
        )
        write_record(self.folder.provenance_file, record)


def git_state(folder: Path) -> dict[str, str | bool] | None:
    """Commit of a checkout and whether it has uncommitted changes; None without git or outside a checkout.

    A package installed below a checkout, in its ``.venv`` say, is not of that commit: a folder without tracked files is
    outside.
    """
    git = shutil.which("git")
    if git is None:
        return None
    try:
        _, commit, changes = (
            subprocess.run(  # noqa: S603
                [git, "-C", str(folder), *command], capture_output=True, text=True, check=True, timeout=_GIT_SECONDS
            ).stdout.strip()
            for command in (
                ["ls-files", "--error-unmatch", "."],
                ["rev-parse", "HEAD"],
                ["status", "--porcelain"],
            )
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit, "dirty": bool(changes)}


def _machine() -> dict[str, Any]:
    jobs = ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "CUDA_VISIBLE_DEVICES")
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "command": sys.argv,
        "environment": {name: os.environ[name] for name in jobs if name in os.environ},
    }


def _device(trainer: Trainer) -> dict[str, Any]:
    device = trainer.strategy.root_device
    found: dict[str, Any] = {"type": device.type, "count": trainer.world_size, "threads": torch.get_num_threads()}
    if device.type == "cuda":
        return found | {"name": torch.cuda.get_device_name(device), "cuda": torch.version.cuda}
    return found | {"name": _processor(), "cores": os.cpu_count()}


def _processor() -> str:
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


@cache
def _packages() -> dict[str, str]:
    """Name and version of everything installed; reading it takes a third of a second, and a process keeps it."""
    described = [found.metadata for found in metadata.distributions()]
    installed = {str(found["Name"]): str(found["Version"]) for found in described}
    return dict(sorted(installed.items(), key=lambda item: item[0].lower()))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
