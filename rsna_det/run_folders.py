"""Finding the folders of runs, and what their saved configurations agree on."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import DictConfig, OmegaConf

from rsna_det.boxes.decoding import DecodingSettings
from rsna_det.config import ConfigError, build
from rsna_det.data.paths import matching_paths

log = logging.getLogger(__name__)

# In these, and what lies below them, two runs of one experiment may differ.
_OWN_TO_A_RUN = (
    "data.fold", "data.num_workers", "hydra", "logger", "paths", "resume", "run_dir", "score_untrained", "seed",
    "trainer.accelerator", "trainer.devices", "trainer.enable_progress_bar", "trainer.num_nodes", "trainer.strategy",
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
        runs = [path for path in paths if (path / "predictions" / "truth.parquet").is_file()]
        for path in (path for path in paths if path not in runs):
            log.warning("%s has no out-of-fold tables (predictions/truth.parquet): left out", path)
        if not runs:
            raise ConfigError(f"runs={name} names no run with out-of-fold tables (predictions/truth.parquet)")
        found |= dict.fromkeys(runs)
    return list(found)


def common_settings(folders: Sequence[Path]) -> tuple[DecodingSettings, int]:
    """Decoding and image size (network pixels) of runs of one experiment; logs what else differs between them.

    Raises:
        ConfigError: if a saved configuration is missing, or the runs do not decode alike.
    """
    configs = [_saved_config(folder) for folder in folders]
    flat = [_flat(config) for config in configs]
    for folder, other in zip(folders[1:], flat[1:], strict=True):
        keys = sorted(flat[0].keys() | other.keys())
        differing = [key for key in keys if flat[0].get(key) != other.get(key) and not _is_own(key)]
        listed = ", ".join(f"{key} ({flat[0].get(key)} / {other.get(key)})" for key in differing)
        if any(key == "data.image_size" or key.startswith("decoding.") for key in differing):
            raise ConfigError(f"{folders[0]} and {folder} do not decode alike: {listed}")
        if differing:
            log.warning("%s and %s differ in more than their fold: %s", folders[0], folder, listed)
    return build(configs[0].decoding), configs[0].data.image_size


def _is_own(key: str) -> bool:
    return any(key == own or key.startswith(f"{own}.") for own in _OWN_TO_A_RUN)


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
