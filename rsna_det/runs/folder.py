"""A run's folder: the name of every file in it and a typed reader for each, once.

The folders and files that Lightning's callbacks write to are named in conf/callbacks and conf/logger as well, since
every study hash holds those values; a test checks that both agree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

from rsna_det.config.check import check_values
from rsna_det.config.options import TrainOptions
from rsna_det.config.outputs import RECORD, write_record
from rsna_det.config.saved import plain_values, read_saved
from rsna_det.errors import ConfigError, MissingFileError

if TYPE_CHECKING:
    import pandas as pd

    from rsna_det.evaluation.tables import RunTables
    from rsna_det.runs.records import ProvenanceRecord, Result

RESOLVED_CONFIG = "config.yaml"


@dataclass(frozen=True)
class RunFolder:
    """The folder of one training run.

    Args:
        path: of the folder, there or not.
    """

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def composed_config(self) -> Path:
        """The configuration as Hydra composed it, with interpolations: what resuming and comparing read."""
        return self.path / RECORD / "config.yaml"

    @property
    def overrides(self) -> Path:
        """The overrides that it was composed with."""
        return self.path / RECORD / "overrides.yaml"

    @property
    def resolved_config(self) -> Path:
        """The same configuration with every value resolved, for people and other programs."""
        return self.path / RESOLVED_CONFIG

    @property
    def provenance_file(self) -> Path:
        """What the run was made from."""
        return self.path / "provenance.json"

    @property
    def result_file(self) -> Path:
        """Written when the run is finished."""
        return self.path / "result.json"

    @property
    def metrics_file(self) -> Path:
        """All losses and scores, one row an epoch."""
        return self.path / "metrics.csv"

    @property
    def log_file(self) -> Path:
        """Messages with time and origin, and tracebacks."""
        return self.path / "train.log"

    @property
    def lock(self) -> Path:
        """Locked by the process that trains the run."""
        return self.path / "run.lock"

    @property
    def wandb(self) -> Path:
        """Folder of W&B's own files."""
        return self.path / "wandb"

    @property
    def wandb_id(self) -> Path:
        """The id that W&B knows the run by, also after it was resumed."""
        return self.path / "wandb_id"

    @property
    def description(self) -> Path:
        """Of a study's run: what tells it from the study's others."""
        return self.path / "cell.yaml"

    @property
    def failure(self) -> Path:
        """Of a study's run: the traceback of the last start, if it failed."""
        return self.path / "failed.txt"

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def last_checkpoint(self) -> Path:
        """Of the last finished epoch: where the run resumes."""
        return self.checkpoints / "last.ckpt"

    @property
    def best_checkpoint(self) -> Path:
        """Of the epoch with the highest ``val/map_best``."""
        return self.checkpoints / "best.ckpt"

    @property
    def operating_point(self) -> Path:
        """What ``rsna_det.evaluate`` chose and ``rsna_det.predict`` applies."""
        from rsna_det.evaluation.operating_point import OPERATING_POINT

        return self.checkpoints / OPERATING_POINT

    @property
    def pictures(self) -> Path:
        """Folder of the sheets of validation images."""
        return self.path / "images"

    @property
    def tables(self) -> RunTables:
        """The out-of-fold tables of every epoch, and the truth."""
        from rsna_det.evaluation.tables import RunTables

        return RunTables(self.path / "predictions")

    @classmethod
    def of_checkpoint(cls, checkpoint: Path) -> RunFolder:
        """The folder of the run that wrote a checkpoint, if the file still lies where it was written."""
        return cls(checkpoint.parent.parent)

    def config(self, *, run_dir: str | None = None) -> DictConfig:
        """The configuration as composed.

        Args:
            run_dir: what the configuration says of its folder; None for where it is now.

        Raises:
            ConfigError: if there is none, or it is no configuration of a run.
        """
        if not self.composed_config.is_file():
            raise ConfigError(f"{self.path} is not the folder of a run: there is no {self.composed_config}")
        config = read_saved(self.composed_config)
        lacking = {field.name for field in fields(TrainOptions)} - set(map(str, config.keys()))
        if lacking:
            raise ConfigError(
                f"{self.composed_config} is not the configuration of a run: it lacks {', '.join(sorted(lacking))}"
            )
        OmegaConf.set_struct(config, value=True)
        config.run_dir = str(self.path) if run_dir is None else run_dir
        return config

    def options(self, *, run_dir: str | None = None) -> TrainOptions:
        """The options that the run was started with, as data: of its components nothing is imported or checked.

        Placeholders that conf/ does not have stay as text. To build from a saved configuration is
        :func:`rsna_det.runs.resume.buildable`'s work.

        Args:
            run_dir: as of :meth:`config`.

        Raises:
            ConfigError: as :meth:`config`, or naming every option that this version does not take.
        """
        plain = plain_values(self.config(run_dir=run_dir))
        try:
            return check_values(plain, TrainOptions, components=False)
        except ConfigError as error:
            raise ConfigError(f"{self.composed_config}: {error}") from error

    def save_config(self, config: DictConfig, overrides: Sequence[str], *, hydra: DictConfig | None = None) -> None:
        """Save a configuration as Hydra does: composed, its folder left open.

        Args:
            config: as composed.
            overrides: what it was composed with.
            hydra: Hydra's own part of it.

        Raises:
            StorageError: if it cannot be written.
        """
        saved = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
        OmegaConf.set_struct(saved, value=False)
        saved.run_dir = "???"
        write_record(self.path, saved, hydra=hydra, overrides=overrides)

    def result(self) -> Result | None:
        """What the run achieved; None if it is not finished.

        Raises:
            DataError: if the file is damaged.
        """
        from rsna_det.runs.records import Result, read_record

        remedy = "remove it, and the run resumes from its last checkpoint"
        return read_record(self.result_file, Result, remedy=remedy) if self.result_file.exists() else None

    def is_finished(self, *, epochs: int, limits: Mapping[str, object] | None = None) -> bool:
        """Whether the run has been trained for so many epochs, or ended before them as configured.

        Args:
            epochs: how many it is to be trained for.
            limits: options of the trainer, as of :meth:`rsna_det.runs.records.Result.ends`.

        Raises:
            DataError: if its result is damaged.
        """
        result = self.result()
        return result is not None and result.ends(epochs=epochs, limits=limits)

    def provenance(self) -> ProvenanceRecord | None:
        """What the run was made from; None if it never began.

        Raises:
            DataError: if the file is damaged.
        """
        from rsna_det.runs.records import ProvenanceRecord, read_record

        if not self.provenance_file.exists():
            return None
        remedy = (
            "take it from a copy of the run, or remove it: the run resumes, without the record of its earlier starts"
        )
        return read_record(self.provenance_file, ProvenanceRecord, remedy=remedy)

    def metrics(self, *, needed: Sequence[str] = ()) -> pd.DataFrame:
        """The table of metrics, one row an epoch.

        Args:
            needed: columns that it must have beside ``epoch``, as numbers.

        Raises:
            MissingFileError: if there is none.
            DataError: if it is empty, damaged or lacks a column.
        """
        from rsna_det.training.epoch_table import read_epochs

        remedy = "train the run again, or take the file from a copy of it"
        if not self.metrics_file.exists():
            raise MissingFileError(f"{self.metrics_file} is missing: {remedy}")
        return read_epochs(self.metrics_file, needed=needed, remedy=remedy)
