"""Resuming a run: its saved configuration, in which only trainer and logger options may change."""

from collections.abc import Sequence
from pathlib import Path

from hydra.utils import get_method
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rsna_det.config.check import check_config, path_option
from rsna_det.config.compose import asked_for, closest, compose_config, override_key, parse_override
from rsna_det.config.options import TrainOptions
from rsna_det.config.roles import Role, role_of
from rsna_det.errors import ConfigError
from rsna_det.runs.folder import RunFolder
from rsna_det.training.schedules import one_cycle

_CHANGEABLE = ("trainer", "logger")
# Overrides that say which run is meant by `resume=last`.
_LOCATING = ("experiment", "paths.runs")


def saved_run(arguments: Sequence[str]) -> TrainOptions:
    """The saved options of the run that ``resume=`` names, with the changes that the command line asks for.

    ``resume=last`` takes the run started last among those with a checkpoint, of one experiment if ``experiment=`` is
    given, in ``paths.runs``.

    Raises:
        ConfigError: if there is no such run, it has no checkpoint, or something else is to be changed.
    """
    value = str(asked_for(arguments, "resume"))
    others = [argument for argument in arguments if not argument.startswith("resume=")]
    folder = _last_run(others) if value == "last" else RunFolder(Path(value).expanduser())
    epochs = folder.options().trainer["max_epochs"]
    config = folder.config()
    if not folder.last_checkpoint.is_file():
        raise ConfigError(f"{folder.last_checkpoint} is missing: the run ended before its first epoch, start a new one")
    # Groups first: a single value is meant to hold in the group that is chosen with it.
    for override in sorted(others, key=lambda override: "." in override_key(override)):
        if override_key(override) not in _LOCATING:
            _change(config, override)
    options = check_config(config, TrainOptions)
    longer = options.trainer["max_epochs"]
    if longer > epochs and get_method(options.optimizer.scheduler["_target_"]) is one_cycle:
        raise ConfigError(
            f"the run's one-cycle schedule ends after its {epochs} epochs and cannot be made longer: "
            f"start a new run with trainer.max_epochs={longer}"
        )
    return options


def _last_run(overrides: Sequence[str]) -> RunFolder:
    located = compose_config("train", [o for o in overrides if override_key(o) in _LOCATING])
    runs = path_option(located, "paths.runs")
    if any(override_key(override) == "experiment" for override in overrides):
        runs = runs / located.name
    folders = [RunFolder(path.parent.parent) for path in runs.glob("**/.hydra/config.yaml")]
    with_checkpoint = [folder for folder in folders if folder.last_checkpoint.is_file()]
    if not with_checkpoint:
        raise ConfigError(f"there is no run with a checkpoint in {runs}: name its folder with `resume=<run folder>`")
    return max(with_checkpoint, key=lambda folder: folder.composed_config.stat().st_mtime)


def _change(config: DictConfig, override: str) -> None:
    """Apply one override: a whole group anew, or one value of the saved configuration."""
    key = override_key(override)
    if key.split(".")[0] not in _CHANGEABLE:
        raise ConfigError(
            f"{override!r} cannot be changed when a run is resumed, only trainer and logger options can: "
            "start a new run for it"
        )
    if override.startswith("~"):
        raise ConfigError(f"{override!r}: choose another group instead, such as logger=csv")
    if "." not in key:
        _change_group(config, key, compose_config("train", [override])[key])
        return
    parsed = parse_override(override)
    try:
        OmegaConf.update(config, key, parsed.value(), force_add=parsed.is_add())
    except OmegaConfBaseException as error:
        parent = OmegaConf.select(config, key.rpartition(".")[0])
        known = [str(name) for name in parent] if isinstance(parent, DictConfig) else []
        raise ConfigError(f"there is no option {key}{closest(key.rpartition('.')[2], known)}") from error


def _change_group(config: DictConfig, key: str, chosen: DictConfig) -> None:
    """Take the loggers of another group; of another trainer only its devices: length and precision stay."""
    if key == "logger":
        OmegaConf.update(config, key, chosen, merge=False, force_add=True)
        return
    for name in map(str, chosen):
        if role_of(f"{key}.{name}") is Role.MACHINE:
            config.trainer[name] = chosen[name]
