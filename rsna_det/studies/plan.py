"""A study as a command line asks for it, or as it was last started: its runs, each once."""

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rsna_det.config.check import check_config, path_option
from rsna_det.config.compose import CONF, asked_for, closest, compose_config
from rsna_det.config.devices import check_processes
from rsna_det.config.folder_names import check_names
from rsna_det.config.options import Component, TrainOptions
from rsna_det.config.trainer import check_trainer
from rsna_det.errors import ConfigError
from rsna_det.runs.folder import RunFolder
from rsna_det.runs.records import read_record, write_record
from rsna_det.studies.identity import run_id
from rsna_det.studies.launchers import sweep_overrides
from rsna_det.studies.records import Launch, PlannedRun
from rsna_det.studies.worker import RunState, state_of

LAUNCHES = "launches"
"""Folder of a study's records of its starts."""

PLACES = ("paths.studies",)
"""Options that locate a study without changing it."""


@dataclass(frozen=True, kw_only=True)
class StudyRun:
    """One run of a study.

    Attributes:
        id: hash of every option that can change its result.
        folder: where it is trained.
        overrides: what it is composed with, in Hydra's syntax.
        epochs: how many it is trained for.
    """

    id: str
    folder: RunFolder
    overrides: tuple[str, ...]
    epochs: int

    @property
    def state(self) -> RunState:
        """Where it stands now."""
        return state_of(self.folder, epochs=self.epochs)


@dataclass(frozen=True, kw_only=True)
class Study:
    """A study as one command line asks for it.

    Attributes:
        name: of its file in conf/sweep.
        folder: of its runs.
        overrides: of the command line.
        runs: each once.
    """

    name: str
    folder: Path
    overrides: tuple[str, ...]
    runs: tuple[StudyRun, ...]

    def label(self, run: StudyRun) -> str:
        """The overrides in which the study's runs differ."""
        common = set.intersection(*(set(other.overrides) for other in self.runs))
        return " ".join(override for override in run.overrides if override not in common) or "the only run"


def study_names() -> list[str]:
    """The studies in conf/sweep."""
    return sorted(path.stem for path in (CONF / "sweep").glob("*.yaml") if path.stem != "base")


def plan_study(overrides: Sequence[str]) -> Study:
    """Compose and check every run of a study.

    Args:
        overrides: with ``sweep=<study>``; several values of an option, separated by commas, make more runs, and one
            value in place of the study's own fewer.

    Raises:
        ConfigError: for an unknown study, an override that does not fit, or a run that cannot start.
    """
    name = asked_for(overrides, "sweep")
    if name not in study_names():
        raise ConfigError(f"there is no study {name}{closest(str(name), study_names())}")
    runs: dict[str, StudyRun] = {}
    folder = Path()
    for own in sweep_overrides(overrides):
        config = compose_config("train", own)
        config.run_dir = "."
        check_names(config)
        options = check_config(config, TrainOptions)
        check_trainer(options)
        check_processes(options.trainer, sweep=True)
        _check_fold(options.data)
        folder = options.paths.studies / name
        own_id = run_id(config)
        planned = StudyRun(
            id=own_id,
            folder=RunFolder(folder / own_id),
            overrides=tuple(own),
            epochs=options.trainer["max_epochs"],
        )
        runs.setdefault(own_id, planned)
    return Study(name=name, folder=folder, overrides=tuple(overrides), runs=tuple(runs.values()))


def _check_fold(data: Component) -> None:
    """The number of folds of a published file is only known once it is read."""
    if data["folds_csv"] is None and not 0 <= data["fold"] < data["num_folds"]:
        raise ConfigError(
            f"data.fold is {data['fold']}; expected 0 to {data['num_folds'] - 1}, of data.num_folds={data['num_folds']}"
        )


def launched_study(name: str, places: Sequence[str] = ()) -> Study:
    """A study as it was last started, from the record of that start.

    Args:
        name: of its file in conf/sweep.
        places: overrides of where studies lie.

    Raises:
        ConfigError: if it was never started there.
        DataError: if the record is damaged.
    """
    folder = studies_folder(places) / name
    records = sorted((folder / LAUNCHES).glob("*.json"))
    if not records:
        raise ConfigError(
            f"study {name} was never started in {folder.parent}: start it with `python -m rsna_det.train -m "
            f"+sweep={name} ...`, or add the options to plan it with"
        )
    remedy = "remove it, and start the study again with the same options"
    launch = read_record(records[-1], Launch, remedy=remedy)
    runs = tuple(
        StudyRun(id=run.id, folder=RunFolder(folder / run.id), overrides=tuple(run.overrides), epochs=run.epochs)
        for run in launch.runs
    )
    return Study(name=name, folder=folder, overrides=tuple(launch.overrides), runs=runs)


def studies_folder(places: Sequence[str] = ()) -> Path:
    """The folder of all studies.

    Args:
        places: overrides of where studies lie.
    """
    return path_option(compose_config("train", list(places)), "paths.studies")


def record_launch(study: Study) -> Path:
    """Write down what is being started, for reports and for :func:`launched_study`."""
    now = datetime.now(UTC)
    file = study.folder / LAUNCHES / f"{now:%Y-%m-%d_%H-%M-%S.%f}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    launch = Launch(
        started=now.isoformat(timespec="seconds"),
        host=socket.gethostname(),
        pid=os.getpid(),
        overrides=list(study.overrides),
        runs=[PlannedRun(id=run.id, overrides=list(run.overrides), epochs=run.epochs) for run in study.runs],
    )
    write_record(file, launch)
    return file
