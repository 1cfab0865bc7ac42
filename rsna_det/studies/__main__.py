"""The cells of a study and where they stand: ``python -m rsna_det.studies augmentations data.root=<folder>``."""

import json
import os
import socket
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from rsna_det.config.check import check_config
from rsna_det.config.compose import CONF, closest, compose_config, override_key
from rsna_det.config.console import errors_as_messages, print_table, set_up
from rsna_det.config.devices import check_processes
from rsna_det.errors import ConfigError
from rsna_det.files.atomic import write_text
from rsna_det.files.json_files import read_object
from rsna_det.studies.identity import cell_id
from rsna_det.studies.worker import CellState, State, state_of

LAUNCHES = "launches"
LAUNCHERS = {"ray": "hydra-ray-launcher", "slurm": "hydra-submitit-launcher"}
"""Values of ``hydra/launcher`` and the package that each needs."""

PLACES = ("paths.studies",)
"""Options that say where a study is, and not what it is."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One run of a study.

    Attributes:
        id: hash of what makes it what it is.
        folder: where it is trained.
        overrides: what it is composed with, in Hydra's syntax.
        epochs: how many it is trained for.
    """

    id: str
    folder: Path
    overrides: tuple[str, ...]
    epochs: int

    @property
    def state(self) -> CellState:
        """Where it stands now."""
        return state_of(self.folder, epochs=self.epochs)


@dataclass(frozen=True, kw_only=True)
class Study:
    """A study as one command line asks for it.

    Attributes:
        name: of its file in conf/sweep.
        folder: of its cells.
        overrides: of the command line.
        cells: each once.
    """

    name: str
    folder: Path
    overrides: tuple[str, ...]
    cells: tuple[Cell, ...]

    def label(self, cell: Cell) -> str:
        """The overrides in which the study's cells differ."""
        common = set.intersection(*(set(other.overrides) for other in self.cells))
        return " ".join(override for override in cell.overrides if override not in common) or "the only cell"


def study_names() -> list[str]:
    """The studies in conf/sweep."""
    return sorted(path.stem for path in (CONF / "sweep").glob("*.yaml") if path.stem != "base")


def study_asked_for(arguments: Sequence[str]) -> str | None:
    """The study that a command line names with ``sweep=``."""
    named = [argument.partition("=")[2] for argument in arguments if argument.startswith("sweep=")]
    return named[-1] if named and named[-1] not in {"", "null"} else None


def plan_study(overrides: Sequence[str]) -> Study:
    """Compose and check every cell.

    Args:
        overrides: with ``sweep=<study>``; several values of an option, separated by commas, make more cells, and one
            value in place of the study's own fewer.

    Raises:
        ConfigError: for an unknown study, an override that does not fit, or a cell that cannot run.
    """
    name = study_asked_for(overrides)
    if name not in study_names():
        raise ConfigError(f"there is no study {name}{closest(str(name), study_names())}")
    cells: dict[str, Cell] = {}
    for own in _cell_overrides(overrides):
        config = compose_config("train", own)
        config.run_dir = "."
        check_config(config)
        check_processes(config.trainer, sweep=True)
        _check_fold(config)
        own_id = cell_id(config)
        folder = Path(config.paths.studies) / name
        cell = Cell(id=own_id, folder=folder / own_id, overrides=tuple(own), epochs=config.trainer.max_epochs)
        cells.setdefault(own_id, cell)
    return Study(name=name, folder=folder, overrides=tuple(overrides), cells=tuple(cells.values()))


def _check_fold(config: DictConfig) -> None:
    """Folds of a published file are known once it is read."""
    data = config.data
    if data.folds_csv is None and not 0 <= data.fold < data.num_folds:
        raise ConfigError(
            f"data.fold is {data.fold}; expected 0 to {data.num_folds - 1}, of data.num_folds={data.num_folds}"
        )


def launched_study(name: str, places: Sequence[str] = ()) -> Study:
    """A study as it was last started, from the record of that start.

    Args:
        name: of its file in conf/sweep.
        places: overrides of where studies are.

    Raises:
        ConfigError: if it was never started there.
        ValueError: if the record is damaged.
    """
    folder = Path(compose_config("train", list(places)).paths.studies) / name
    records = sorted((folder / LAUNCHES).glob("*.json"))
    if not records:
        raise ConfigError(
            f"{folder} has no record of a start: begin with `python -m rsna_det.train -m +sweep={name} ...`, or give "
            "the options that it is to be started with"
        )
    found = read_object(
        records[-1], needed=["overrides", "cells"], remedy="remove it, and start the study again with the same options"
    )
    cells = tuple(
        Cell(id=c["id"], folder=folder / c["id"], overrides=tuple(c["overrides"]), epochs=c["epochs"])
        for c in found["cells"]
    )
    return Study(name=name, folder=folder, overrides=tuple(found["overrides"]), cells=cells)


def record_launch(study: Study) -> Path:
    """Write down what is being started, for reports and for :func:`launched_study`."""
    now = datetime.now(UTC)
    file = study.folder / LAUNCHES / f"{now:%Y-%m-%d_%H-%M-%S.%f}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    record = {
        "started": now.isoformat(timespec="seconds"),
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "overrides": study.overrides,
        "cells": [{"id": cell.id, "overrides": cell.overrides, "epochs": cell.epochs} for cell in study.cells],
    }
    write_text(file, json.dumps(record, indent=1) + "\n")
    return file


def check_launcher(overrides: Sequence[str]) -> None:
    """Refuse a launcher whose plugin is not installed, or that would wait for GPUs that nobody has.

    Raises:
        ConfigError: with the remedy.
    """
    chosen = [override.partition("=")[2] for override in overrides if override_key(override) == "hydra/launcher"]
    for name in (name for name in chosen if name in LAUNCHERS):
        try:
            metadata.version(LAUNCHERS[name])
        except metadata.PackageNotFoundError as error:
            raise ConfigError(f"hydra/launcher={name} needs a plugin: pip install --editable '.[{name}]'") from error
    if chosen[-1:] == ["ray"]:
        _check_ray(_hydra_node(overrides).launcher.ray)


def _check_ray(options: DictConfig) -> None:
    elsewhere = options.init.address is not None or "RAY_ADDRESS" in os.environ
    if options.remote.num_gpus and options.init.num_gpus is None and not elsewhere and not torch.cuda.is_available():
        raise ConfigError(
            "hydra/launcher=ray gives each job a GPU and this machine has none, so it would wait for ever: leave it "
            "out, name a cluster with hydra.launcher.ray.init.address=<address>, or ask for none with "
            "hydra.launcher.ray.remote.num_gpus=0"
        )


def show(study: Study, *, only: Sequence[State] = ()) -> Counter[State]:
    """Print the cells and where they stand.

    Args:
        study: whose cells.
        only: the states to list; all if none is named.

    Returns:
        How many cells are in each state.
    """
    states = [(cell, cell.state) for cell in study.cells]
    counts = Counter(state.state for _, state in states)
    rows = [
        (cell.id, state.state, study.label(cell), state.detail)
        for cell, state in states
        if not only or state.state in only
    ]
    summary = ", ".join(f"{count} {state}" for state, count in counts.items())
    print_table(f"{study.name}: {len(study.cells)} cells ({summary}) in {study.folder}", rows)
    return counts


def main() -> None:
    """List the cells of a study: as last started, or as it would be with the options given."""
    set_up()
    with errors_as_messages():
        name, overrides = study_and_overrides(sys.argv[1:])
        if all(override_key(override) in PLACES for override in overrides):
            show(launched_study(name, overrides))
        else:
            show(plan_study([f"sweep={name}", *overrides]))


def study_and_overrides(arguments: Sequence[str]) -> tuple[str, list[str]]:
    """The study that a command line names, and its other words.

    Raises:
        ConfigError: if it names none, several or an unknown one.
    """
    names = [argument for argument in arguments if "=" not in argument]
    if len(names) != 1 or names[0] not in study_names():
        raise ConfigError(f"name one study, such as `{study_names()[0]}`; there are {', '.join(study_names())}")
    return names[0], [argument for argument in arguments if "=" in argument]


def _cell_overrides(overrides: Sequence[str]) -> list[list[str]]:
    """What Hydra's sweeper makes of a study: the product of its parameters and of the command line's."""
    params: Any = OmegaConf.to_container(_hydra_node(overrides).sweeper.params, resolve=True)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
        both = parser.parse_overrides([*(f"{key}={value}" for key, value in params.items()), *overrides])
        (batch,) = BasicSweeper.split_arguments(both, max_batch_size=None)
    return [[text for text in job if not text.startswith("hydra")] for job in batch]


def _hydra_node(overrides: Sequence[str]) -> DictConfig:
    """Hydra's own part of the configuration, without the options of which there are several values."""
    parser = OverridesParser.create()
    single = [text for text in overrides if not parser.parse_override(text).is_sweep_override()]
    # Its errors name the closest options.
    compose_config("train", single)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        node: DictConfig = compose("train", single, return_hydra_config=True).hydra
        return node


if __name__ == "__main__":
    main()
