"""Options that folders and files of a run are named after: plain names, which lead out of no folder."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rsna_det.config.compose import override_key, parse_override
from rsna_det.config.roles import flat_options
from rsna_det.errors import ConfigError

_NAMES = ("name", "study")
_FILE_NAME = "filename"
_PLAIN = re.compile(r"[\w+-][\w.+ -]{0,199}(/[\w+-][\w.+ -]{0,199})*")
_LEADS_AWAY = re.compile(r"^[/~]|(^|[/\\])\.\.([/\\]|$)|\0")


def check_names(config: DictConfig) -> None:
    """Refuse a composed run whose names would lead out of the folder of runs, of studies, or of its checkpoints.

    Raises:
        ConfigError: naming the option and what it takes.
    """
    for key in _NAMES:
        try:
            _check(key, OmegaConf.select(config, key))
        except OmegaConfBaseException:
            # A placeholder that is wrong is reported with all other values.
            continue
    callbacks: Any = OmegaConf.to_container(config.callbacks, resolve=False)
    for key, value in flat_options(callbacks or {}, "callbacks"):
        if key.rpartition(".")[2] == _FILE_NAME and isinstance(value, str) and _LEADS_AWAY.search(value):
            raise ConfigError(f"{key}={value!r} leads out of the folder of the checkpoints: give a name within it")


def check_names_of_sweep(overrides: Sequence[str]) -> None:
    """As :func:`check_names`, of a command line whose options may have several values, before it is composed."""
    for override in overrides:
        if override_key(override) in _NAMES:
            for value in _values(override):
                _check(override_key(override), value)


def _values(override: str) -> Iterator[object]:
    parsed = parse_override(override)
    if not parsed.is_sweep_override():
        yield parsed.value()
        return
    try:
        yield from (str(value).strip("'\"") for value in parsed.sweep_string_iterator())
    except HydraException as error:
        raise ConfigError(f"the override {override!r} cannot be read: {error}") from error


def _check(key: str, value: object) -> None:
    # Of another type it is refused with the other values.
    if isinstance(value, str) and "${" not in value and not _PLAIN.fullmatch(value):
        raise ConfigError(
            f"{key}={value!r} is no name for a folder: give letters, digits, `_-.+` and spaces, with no dot at its "
            "beginning; a slash makes a folder in a folder"
        )
