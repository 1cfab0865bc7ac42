"""Going on with a run: its saved configuration, in which only trainer and logger options may change."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rsna_det.config.check import check_config
from rsna_det.config.compose import closest, compose_config, override_key
from rsna_det.errors import ConfigError
from rsna_det.files.json_files import read_object

RESULT = "result.json"
CHANGEABLE = ("trainer", "logger")
LOCATING = ("experiment", "paths.runs")
DEVICES = ("accelerator", "devices", "num_nodes", "strategy")


def requested(arguments: Sequence[str]) -> bool:
    """Whether the command line asks for a run to go on."""
    return any(_is_resume(argument) for argument in arguments)


def saved_run(arguments: Sequence[str]) -> DictConfig:
    """The saved configuration of the run that ``resume=`` names, with the changes that the command line asks for.

    ``resume=last`` takes the run started last among those with a checkpoint, of one experiment if ``experiment=`` is
    given, in ``paths.runs``.

    Raises:
        ConfigError: if there is no such run, it has no checkpoint, or something else is to be changed.
    """
    value = next(argument for argument in arguments if _is_resume(argument)).partition("=")[2]
    others = [argument for argument in arguments if not _is_resume(argument)]
    folder = _last_run(others) if value == "last" else Path(value)
    config = _saved_config(folder)
    epochs = config.trainer.max_epochs
    # Groups first: a single value is meant to hold in the group that is chosen with it.
    for override in sorted(others, key=lambda override: "." in override_key(override)):
        if override_key(override) not in LOCATING:
            _change(config, override)
    config.run_dir = str(folder)
    check_config(config)
    if config.trainer.max_epochs > epochs and "one_cycle" in config.optimizer.scheduler._target_:
        raise ConfigError(
            f"the run's one-cycle schedule ends after its {epochs} epochs and cannot be made longer: "
            f"start a new run with trainer.max_epochs={config.trainer.max_epochs}"
        )
    return config


def is_finished(config: DictConfig) -> bool:
    """Whether the run has been trained for as many epochs as it is asked for."""
    found = read_result(Path(config.run_dir))
    return found is not None and found["epochs"] >= config.trainer.max_epochs


def read_result(folder: Path) -> dict[str, Any] | None:
    """What a run wrote when it was finished; None if it is not.

    Raises:
        ValueError: if the file is damaged.
    """
    path = folder / RESULT
    remedy = "remove it, and the run goes on from its last checkpoint"
    return read_object(path, needed=["epochs"], remedy=remedy) if path.is_file() else None


def _is_resume(argument: str) -> bool:
    return argument.startswith("resume=") and argument not in {"resume=null", "resume="}


def _last_run(overrides: Sequence[str]) -> Path:
    located = compose_config("train", [o for o in overrides if override_key(o) in LOCATING])
    runs = Path(located.paths.runs)
    if any(override_key(override) == "experiment" for override in overrides):
        runs = runs / located.name
    with_checkpoint = [
        path.parent.parent
        for path in runs.glob("**/.hydra/config.yaml")
        if (path.parent.parent / "checkpoints" / "last.ckpt").is_file()
    ]
    if not with_checkpoint:
        raise ConfigError(f"there is no run with a checkpoint in {runs}: name its folder with `resume=<run folder>`")
    return max(with_checkpoint, key=lambda folder: (folder / ".hydra" / "config.yaml").stat().st_mtime)


def _saved_config(folder: Path) -> DictConfig:
    path = folder / ".hydra" / "config.yaml"
    if not path.is_file():
        raise ConfigError(f"{folder} is not the folder of a run: there is no {path}")
    if not (folder / "checkpoints" / "last.ckpt").is_file():
        raise ConfigError(f"{folder} has no checkpoints/last.ckpt: the run ended before its first epoch, start it anew")
    config = OmegaConf.load(path)
    if not isinstance(config, DictConfig):
        raise ConfigError(f"{path} is not the configuration of a run")
    OmegaConf.set_struct(config, value=True)
    return config


def _change_group(config: DictConfig, key: str, chosen: DictConfig) -> None:
    """Take the loggers of another group; of another trainer only its devices, the run's length and precision stay."""
    if key == "logger":
        OmegaConf.update(config, key, chosen, merge=False, force_add=True)
        return
    for name in DEVICES:
        config.trainer[name] = chosen[name]


def _change(config: DictConfig, override: str) -> None:
    """Apply one override: a whole group anew, or one value of the saved configuration."""
    key = override_key(override)
    if key.split(".")[0] not in CHANGEABLE:
        raise ConfigError(
            f"{override!r} cannot be changed in a run that goes on, only trainer and logger options can: "
            "start a new run for it"
        )
    if override.startswith("~"):
        raise ConfigError(f"{override!r}: choose another group instead, such as logger=csv")
    if "." not in key:
        _change_group(config, key, compose_config("train", [override])[key])
        return
    parsed = OverridesParser.create().parse_override(override)
    try:
        OmegaConf.update(config, key, parsed.value(), force_add=parsed.is_add())
    except OmegaConfBaseException as error:
        parent = OmegaConf.select(config, key.rpartition(".")[0])
        known = [str(name) for name in parent] if isinstance(parent, DictConfig) else []
        raise ConfigError(f"there is no option {key}{closest(key.rpartition('.')[2], known)}") from error
