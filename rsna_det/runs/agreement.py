"""Which runs are named, and what their saved configurations agree on."""

import logging
from collections.abc import Iterator, Sequence
from typing import Any

from rsna_det.boxes.decoding import DecodingSettings
from rsna_det.config.options import TrainOptions, as_plain
from rsna_det.config.plain import shown_value
from rsna_det.config.roles import Role, flat_options, role_of
from rsna_det.errors import ConfigError, DataError
from rsna_det.files.paths import matching_paths
from rsna_det.runs.description import SIDE, read_decoding
from rsna_det.runs.folder import RunFolder

log = logging.getLogger(__name__)

_DECODING = ("data.image_size", "decoding.")
# Runs that differ in these are of two experiments; in these and the others below they can be joined, with a warning.
_OF_AN_EXPERIMENT = (Role.NAME, Role.METHOD)
_WORTH_SAYING = (*_OF_AN_EXPERIMENT, Role.TRAINING, Role.SOURCE)
_STUDY = "study"
_ANY_FOLDER = "run"


def named_runs(named: str | Sequence[str]) -> list[RunFolder]:
    """The run folders that names and globs stand for, each once, in order.

    What a glob finds counts if it has tables; what is named outright must be there.

    Raises:
        ConfigError: for a name or glob that finds folders, none of them a run's.
        MissingFileError: for one that finds nothing.
    """
    runs: dict[RunFolder, None] = {}
    for name in [named] if isinstance(named, str) and named else named:
        folders = [RunFolder(path) for path in matching_paths(name, option="runs")]
        with_tables = [folder for folder in folders if folder.tables.truth_path.is_file()]
        for folder in (folder for folder in folders if folder not in with_tables):
            log.warning("%s has no out-of-fold tables (%s): ignored", folder, folder.tables.truth_path)
        if not with_tables:
            raise ConfigError(f"runs={name} names no run with out-of-fold tables (predictions of a finished epoch)")
        runs |= dict.fromkeys(with_tables)
    if not runs:
        raise ConfigError("runs is empty: name one or more run folders, or globs in quotes")
    return list(runs)


def common_settings(folders: Sequence[RunFolder]) -> tuple[DecodingSettings, int]:
    """Decoding and image size (network pixels) of runs of one experiment; logs what else differs between them.

    Raises:
        ConfigError: if a saved configuration is missing, or the runs do not decode alike or are of two experiments.
    """
    options = folders[0].options()
    for folder, differing in _compared(folders):
        listed = ", ".join(differing.values())
        if any(key.startswith(_DECODING) for key in differing):
            raise ConfigError(f"{folders[0]} and {folder} do not decode alike: {listed}")
        experiment = [text for key, text in differing.items() if role_of(key) in _OF_AN_EXPERIMENT]
        if experiment:
            raise ConfigError(
                f"{folders[0]} and {folder} are of two experiments: they differ in {', '.join(experiment)}; "
                "name the runs of one experiment"
            )
        log.warning("%s and %s differ in more than their fold: %s", folders[0], folder, listed)
    return decoding_of(folders[0], options), image_size_of(folders[0], options)


def decoding_of(folder: RunFolder, options: TrainOptions) -> DecodingSettings:
    """The decoding settings of a run, from the numbers of its saved configuration: nothing that it names is built.

    Raises:
        ConfigError: if they are not the known numbers in their ranges; naming the file.
    """
    try:
        return read_decoding(options.decoding)
    except DataError as error:
        raise ConfigError(f"{folder.composed_config}: {error}: take it from a copy of the run") from error


def image_size_of(folder: RunFolder, options: TrainOptions) -> int:
    """Side of a run's network images, network pixels.

    Raises:
        ConfigError: if it is no whole number in its range; naming the file.
    """
    side = options.data.get("image_size")
    problem = SIDE.problem(side)
    if problem is not None or not isinstance(side, int):
        raise ConfigError(
            f"{folder.composed_config}: data.image_size is {shown_value(side)}: {problem}: take it from a copy of the "
            "run"
        )
    return side


def differences_in_words(folders: Sequence[RunFolder]) -> list[str]:
    """A sentence for each run whose options differ from those of the first in more than the fold and the machine.

    Raises:
        ConfigError: if a saved configuration is missing.
    """
    return [
        f"{folders[0]} and {folder} differ in more than their fold: {', '.join(differing.values())}."
        for folder, differing in _compared(folders)
    ]


def _compared(folders: Sequence[RunFolder]) -> Iterator[tuple[RunFolder, dict[str, str]]]:
    """The runs that differ from the first, with each option that differs and both its values in words."""
    first, *others = [_comparable(folder) for folder in folders]
    for folder, other in zip(folders[1:], others, strict=True):
        keys = [key for key in sorted(first.keys() | other.keys()) if _differ(first.get(key), other.get(key))]
        if keys:
            yield folder, {key: f"{key} ({first.get(key)} / {other.get(key)})" for key in keys}


def _differ(one: object, other: object) -> bool:
    """A damaged configuration may hold NaN, which differs from itself."""
    return one != other and repr(one) != repr(other)


def _comparable(folder: RunFolder) -> dict[str, Any]:
    """The options worth comparing, with the same place for every run."""
    plain = as_plain(folder.options(run_dir=_ANY_FOLDER))
    try:
        return {key: value for key, value in flat_options(plain) if key != _STUDY and role_of(key) in _WORTH_SAYING}
    except ConfigError as error:
        raise ConfigError(f"{folder.composed_config}: {error}") from error
