"""Resuming a run: its saved configuration, in which only trainer and logger options may change."""

import shlex
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rsna_det.boxes.decoding import DecodingSettings
from rsna_det.config.check import check_config, path_option
from rsna_det.config.compose import asked_for, closest, compose_config, override_key, parse_override
from rsna_det.config.options import TrainOptions
from rsna_det.config.roles import Role, flat_options, role_of
from rsna_det.config.saved import refused
from rsna_det.config.targets import todays_target
from rsna_det.data.synthetic.datamodule import SyntheticDataModule
from rsna_det.data.synthetic.writing import is_drawn
from rsna_det.errors import ConfigError
from rsna_det.runs.agreement import decoding_of, image_size_of
from rsna_det.runs.description import BACKBONE_OPTIONS
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
    others = [argument for argument in arguments if override_key(argument) != "resume"]
    folder = _last_run(others) if value == "last" else RunFolder(Path(value).expanduser())
    config = folder.config()
    epochs = _epochs(config)
    if not folder.last_checkpoint.is_file():
        raise ConfigError(f"{folder.last_checkpoint} is missing: the run ended before its first epoch, start a new one")
    # Groups first: a single value is meant to hold in the group that is chosen with it.
    confirmed = {override_key(override) for override in others if _says_the_same(config, override)}
    for override in sorted(others, key=lambda override: "." in override_key(override)):
        if override_key(override) not in (*_LOCATING, *confirmed):
            _change(config, override)
    said_again = [override_key(override) for override in others]
    options = buildable(folder, config, said_again=said_again)
    longer = options.trainer["max_epochs"]
    reads_data = not folder.is_finished(epochs=longer, limits=options.trainer)
    if reads_data and not {"data.root", "paths.synthetic"} & set(said_again):
        _check_drawn(folder, options)
    if isinstance(epochs, int) and longer > epochs and get_object(options.optimizer.scheduler["_target_"]) is one_cycle:
        raise ConfigError(
            f"the run's one-cycle schedule ends after its {epochs} epochs and cannot be made longer: "
            f"start a new run with trainer.max_epochs={longer}"
        )
    return options


def buildable(
    folder: RunFolder, config: DictConfig, *, said_again: Collection[str] = (), trained: bool = True
) -> TrainOptions:
    """The options of a saved configuration, checked, if all that they build is what conf/ names.

    Args:
        folder: of the run.
        config: its configuration, with changes.
        said_again: dotted keys that the command line gives as well: these may be anything.
        trained: whether the run is trained on; otherwise only its network is built, without weights.

    Raises:
        ConfigError: naming what is refused, and how its owner says it again; or as
            :func:`~rsna_det.config.check.check_config`.
    """
    # A group that is chosen anew holds only what conf/ does; it says nothing of the values that stay.
    confirmed = [key for key in said_again if "." in key]
    foreign = refused(config, confirmed=confirmed, trained=trained)
    foreign |= {} if "encoder.options" in confirmed else _unknown_encoder_options(config, confirmed)
    if foreign:
        again = " ".join(dict.fromkeys(_said_again(config, key) for key in foreign))
        raise ConfigError(
            f"{folder.composed_config}: {'; '.join(foreign.values())}. A configuration of a stranger is code: if you "
            f"wrote it yourself, say it again, `python -m rsna_det.train resume={folder} {again}`"
        )
    try:
        options = check_config(config, TrainOptions)
    except ConfigError as error:
        raise ConfigError(f"{folder.composed_config}: {error}") from error
    _check_numbers(folder, options)
    return options


def _unknown_encoder_options(config: DictConfig, confirmed: Collection[str]) -> dict[str, str]:
    """Arguments of timm's that may name files and addresses, as of a checkpoint's description."""
    plain: Any = OmegaConf.to_container(config, resolve=False)
    encoder = plain.get("encoder")
    options = encoder.get("options") if isinstance(encoder, dict) else None
    return {
        key: f"{key} is {value!r}, an argument of timm's that may name files and addresses"
        for name, value in (options.items() if isinstance(options, dict) else ())
        if name not in BACKBONE_OPTIONS.optional and (key := f"encoder.options.{name}") not in confirmed
    }


def _check_numbers(folder: RunFolder, options: TrainOptions) -> None:
    """Refuse what a checkpoint's description would be refused for later."""
    image_size_of(folder, options)
    if get_object(todays_target(str(options.decoding["_target_"]))) is DecodingSettings:
        decoding_of(folder, options)


def _check_drawn(folder: RunFolder, options: TrainOptions) -> None:
    """Refuse to draw where a saved configuration says: resuming only reads the data."""
    data = options.data
    if get_object(todays_target(str(data["_target_"]))) is not SyntheticDataModule:
        return
    root = Path(data["root"]).expanduser()
    if not is_drawn(root=root, num_images=data["num_images"], side=data["source_side"], seed=data["data_seed"]):
        raise ConfigError(
            f"{folder.composed_config}: data.root is {data['root']}, where the run's synthetic radiographs no longer "
            "are, and resuming draws none where a saved configuration says: put them back, or to have them drawn "
            f"there say so, `python -m rsna_det.train resume={folder} {_said_again(folder.config(), 'data.root')}`"
        )


def _epochs(config: DictConfig) -> object:
    """The saved number of epochs; None for a damaged one, which is named later with all that is wrong."""
    try:
        return OmegaConf.select(config, "trainer.max_epochs")
    except OmegaConfBaseException:
        return None


def _says_the_same(config: DictConfig, override: str) -> bool:
    """Whether an override gives a value that the saved configuration has already, placeholders as they stand."""
    key = override_key(override)
    if "." not in key or override.startswith("~"):
        return False
    plain: Any = OmegaConf.to_container(config, resolve=False)
    saved = dict(flat_options(plain))
    return key in saved and saved[key] == parse_override(override).value()


def _said_again(config: DictConfig, key: str) -> str:
    """What the command line says to confirm a saved value; of one in a list only the list's name."""
    plain: Any = OmegaConf.to_container(config, resolve=False)
    values = dict(flat_options(plain))
    if key in values:
        return shlex.quote(f"{key}={'null' if values[key] is None else values[key]}")
    outer = max((name for name in values if key.startswith(f"{name}.")), key=len, default=key)
    return f"{outer}=<its value>"


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
        _change_group(config, key, compose_config("train", [override]))
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
        OmegaConf.update(config, key, chosen.logger, merge=False, force_add=True)
        return
    for part in ("trainer", "callbacks"):
        for name in map(str, chosen[part]):
            if role_of(f"{part}.{name}") is Role.MACHINE:
                OmegaConf.update(config, f"{part}.{name}", chosen[part][name], merge=False, force_add=True)
