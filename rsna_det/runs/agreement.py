"""Finding the folders of runs, and what their saved configurations agree on."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import DictConfig, OmegaConf

from rsna_det.boxes.decoding import DecodingSettings
from rsna_det.config.compose import build
from rsna_det.errors import ConfigError
from rsna_det.evaluation.tables import RunTables
from rsna_det.files.paths import matching_paths

log = logging.getLogger(__name__)

# In these, and what lies below them, two runs of one experiment may differ.
_OWN_TO_A_RUN = (
    "data.fold", "data.num_workers", "hydra", "logger", "paths", "resume", "run_dir", "score_untrained", "seed",
    "trainer.accelerator", "trainer.devices", "trainer.enable_progress_bar", "trainer.num_nodes", "trainer.strategy",
)  # fmt: skip

# What makes an experiment: runs that differ in these are of two.
_OF_THE_EXPERIMENT = (
    "name", "encoder", "model", "optimizer", "augmentation", "loss", "data", "callbacks.encoder_freeze",
    "callbacks.average",
)  # fmt: skip

# Of the data these are told and no more: where things lie (that the labels and folds are the same is checked on the
# runs' own tables), and how they are drawn.
_TOLD_OF_DATA = (
    "data.root", "data.cache_dir", "data.patients_csv", "data.folds_csv", "data.test_ids", "data.batch_size",
    "data.seed",
)  # fmt: skip


def run_folders(named: str | Sequence[str]) -> list[Path]:
    """The run folders that names and globs stand for, each once, in order.

    What a glob finds counts if it has tables; what is named outright must be there.

    Raises:
        ConfigError: for a name or glob that finds folders, none of them a run's.
        FileNotFoundError: for one that finds nothing.
    """
    found: dict[Path, None] = {}
    for name in [named] if isinstance(named, str) else named:
        paths = matching_paths(name, option="runs")
        runs = [path for path in paths if RunTables(path / "predictions").truth_path.is_file()]
        for path in (path for path in paths if path not in runs):
            log.warning("%s has no out-of-fold tables: left out", path)
        if not runs:
            raise ConfigError(f"runs={name} names no run with out-of-fold tables")
        found |= dict.fromkeys(runs)
    return list(found)


def common_settings(folders: Sequence[Path]) -> tuple[DecodingSettings, int]:
    """Decoding and image size (network pixels) of runs of one experiment; logs what else differs between them.

    Raises:
        ConfigError: if a saved configuration is missing, or the runs do not decode alike or are of two experiments.
    """
    configs = [_saved_config(folder) for folder in folders]
    for folder, differing in _compared(folders, configs):
        listed = ", ".join(differing.values())
        if any(_below(key, ("data.image_size", "decoding")) for key in differing):
            raise ConfigError(f"{folders[0]} and {folder} do not decode alike: {listed}")
        experiment = [text for key, text in differing.items() if _makes_the_experiment(key)]
        if experiment:
            raise ConfigError(
                f"{folders[0]} and {folder} are of two experiments: they differ in {', '.join(experiment)}; "
                "name the runs of one experiment"
            )
        log.warning("%s and %s differ in more than their fold: %s", folders[0], folder, listed)
    return build(configs[0].decoding), configs[0].data.image_size


def told_differences(folders: Sequence[Path]) -> list[str]:
    """A sentence for each run whose options, other than its fold and where it ran, are not those of the first.

    Raises:
        ConfigError: if a saved configuration is missing.
    """
    configs = [_saved_config(folder) for folder in folders]
    return [
        f"`{folders[0]}` and `{folder}` differ in more than their fold: {', '.join(differing.values())}."
        for folder, differing in _compared(folders, configs)
    ]


def _compared(folders: Sequence[Path], configs: Sequence[DictConfig]) -> Iterator[tuple[Path, dict[str, str]]]:
    """The runs that are not as the first, with each option that differs and both its values in words."""
    first, *others = [_flat(config) for config in configs]
    for folder, other in zip(folders[1:], others, strict=True):
        keys = [key for key in sorted(first.keys() | other.keys()) if not _below(key, _OWN_TO_A_RUN)]
        differing = {
            key: f"{key} ({first.get(key)} / {other.get(key)})" for key in keys if first.get(key) != other.get(key)
        }
        if differing:
            yield folder, differing


def _makes_the_experiment(key: str) -> bool:
    return _below(key, _OF_THE_EXPERIMENT) and not _below(key, _TOLD_OF_DATA)


def _below(key: str, nodes: Sequence[str]) -> bool:
    return any(key == node or key.startswith(f"{node}.") for node in nodes)


def _saved_config(folder: Path) -> DictConfig:
    path = folder / ".hydra" / "config.yaml"
    config = OmegaConf.load(path) if path.is_file() else None
    if not isinstance(config, DictConfig) or "decoding" not in config:
        raise ConfigError(f"{folder} is not the folder of a run: {path} is missing or no configuration of one")
    return config


def _flat(config: DictConfig) -> dict[str, Any]:
    plain: Any = OmegaConf.to_container(config, resolve=False)
    table = pd.json_normalize(plain)
    return {str(name): table[name].iloc[0] for name in table.columns}
