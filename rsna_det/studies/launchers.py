"""Hydra's sweeper and launchers: which runs a command line makes, and whether the launcher can start them."""

import os
from collections.abc import Sequence
from importlib import metadata
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from rsna_det.config.compose import CONF, compose_config, composing, override_key, parse_override
from rsna_det.errors import ResourceError

PLUGINS = {"ray": "hydra-ray-launcher", "slurm": "hydra-submitit-launcher"}
"""Values of ``hydra/launcher``, and the package that each needs."""


def sweep_overrides(overrides: Sequence[str]) -> list[list[str]]:
    """The overrides of each run of a sweep: the product of the study's parameters and of the command line's.

    Args:
        overrides: with ``sweep=<study>``; some with several values, separated by commas.

    Raises:
        ConfigError: for an override that does not fit.
    """
    params: Any = OmegaConf.to_container(_hydra_node(overrides).sweeper.params, resolve=True)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        batch = _product([*(f"{key}={value}" for key, value in params.items()), *overrides])
    return [[text for text in job if not text.startswith("hydra")] for job in batch]


def _product(overrides: Sequence[str]) -> list[list[str]]:
    """What Hydra's basic sweeper makes of overrides with several values; Hydra must be initialised.

    Hydra offers this in an internal class only: a test pins what it does.
    """
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    with composing("train", overrides):
        (batch,) = BasicSweeper.split_arguments(parser.parse_overrides(list(overrides)), max_batch_size=None)
    return [list(job) for job in batch]


def check_launcher(overrides: Sequence[str]) -> None:
    """Refuse a launcher whose plugin is not installed, or that would wait for GPUs that do not exist.

    Raises:
        ResourceError: with the remedy.
    """
    chosen = [override.partition("=")[2] for override in overrides if override_key(override) == "hydra/launcher"]
    for name in (name for name in chosen if name in PLUGINS):
        try:
            metadata.version(PLUGINS[name])
        except metadata.PackageNotFoundError as error:
            raise ResourceError(f"hydra/launcher={name} needs a plugin: pip install 'rsna-det[{name}]'") from error
    if chosen[-1:] == ["ray"]:
        _check_ray(_hydra_node(overrides).launcher.ray)


def _check_ray(options: DictConfig) -> None:
    import torch

    elsewhere = options.init.address is not None or "RAY_ADDRESS" in os.environ
    if options.remote.num_gpus and options.init.num_gpus is None and not elsewhere and not torch.cuda.is_available():
        raise ResourceError(
            "hydra/launcher=ray gives each job a GPU and this machine has none, so it would wait for ever: leave it "
            "out, name a cluster with hydra.launcher.ray.init.address=<address>, or ask for none with "
            "hydra.launcher.ray.remote.num_gpus=0"
        )


def _hydra_node(overrides: Sequence[str]) -> DictConfig:
    """Hydra's own part of the configuration, without the options that have several values."""
    single = [text for text in overrides if not parse_override(text).is_sweep_override()]
    # Its errors name the closest options.
    compose_config("train", single)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        node: DictConfig = compose("train", single, return_hydra_config=True).hydra
        return node
