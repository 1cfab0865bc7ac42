"""Saved configurations are read as data, never as code.

A configuration may come from a stranger. Reading one imports nothing and looks nothing up; of its placeholders only
those of this package's conf/ are filled in. What may be *built* from one is what conf/ names, by exact import paths.
Whatever else it wants built or looked up, its owner says again on the command line.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from rsna_det.config.compose import CONF
from rsna_det.config.reach import RUN, beyond_run
from rsna_det.config.resolvers import OF_TWO_VALUES
from rsna_det.config.roles import flat_options
from rsna_det.config.targets import MOVED, todays_target
from rsna_det.errors import ConfigError, DataError
from rsna_det.files.yaml import plain_text

_TARGET = "_target_"
_IN_CONF = re.compile(r"^\s*(?:-\s+)?_target_:\s*([\w.]+)\s*(?:#.*)?$", re.MULTILINE)
# Not in conf/, and added to runs now and then; all of them take numbers and names of metrics.
_COMMON = (
    *(f"pytorch_lightning.callbacks.{name}" for name in ("EarlyStopping", "LearningRateMonitor", "Timer")),
    *(f"torch.optim.{name}" for name in ("AdamW", "SGD", "RAdam", "NAdam")),
)

_KEY = r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*"
_REFERENCE = re.compile(rf"\$\{{({_KEY})\}}")
_OF_TWO = re.compile(rf"\$\{{({'|'.join(OF_TWO_VALUES)}):\$\{{({_KEY})\}},\$\{{({_KEY})\}}\}}")
_PLACEHOLDER = "${"
_MOST_LOOKUPS = 100
_LONGEST = 10_000


class _NotPlainError(Exception):
    """A placeholder that is not filled in."""


@cache
def own_targets() -> frozenset[str]:
    """The import paths that a saved configuration may build: those in conf/, their older names, and a few common."""
    files = [path for path in CONF.rglob("*.yaml") if path.relative_to(CONF).parts[0] != "hydra"]
    named = {name for path in files for name in _IN_CONF.findall(path.read_text(encoding="utf-8"))}
    return frozenset({*named, *_COMMON, *(first for first, today in MOVED.items() if today in named)})


def read_saved(path: Path) -> DictConfig:
    """A saved configuration as it stands, with placeholders.

    Raises:
        ConfigError: if it cannot be read; naming the file.
    """
    remedy = "take it from a copy of the run"
    try:
        plain_text(path, remedy=remedy)
        config = OmegaConf.load(path)
    except DataError as error:
        raise ConfigError(str(error)) from error
    except (YAMLError, OmegaConfBaseException, ValueError, TypeError, LookupError, OSError, RecursionError) as error:
        raise ConfigError(f"{path} cannot be read ({' '.join(str(error).split())}): {remedy}") from error
    if not isinstance(config, DictConfig) or not all(isinstance(key, str) for key in config):
        raise ConfigError(f"{path} is not the configuration of a run")
    return config


def plain_values(config: DictConfig) -> dict[str, Any]:
    """All values as plain containers, references between them filled in; any other placeholder stays as text."""
    plain: Any = OmegaConf.to_container(config, resolve=False)
    filled: dict[str, Any] = _filled(plain, plain)
    return filled


def refused(config: DictConfig, *, confirmed: Collection[str], trained: bool = True) -> dict[str, str]:
    """What of a saved configuration must not be built, looked up, or reach beyond the run's folder, by dotted key.

    Args:
        config: with placeholders.
        confirmed: dotted keys whose values, and all below them, the command line gives as well.
        trained: whether the run is trained on; otherwise nothing is written, sent or fetched.
    """
    plain: Any = OmegaConf.to_container(config, resolve=False)
    relative = plain | {"run_dir": RUN}
    found = dict(_foreign(plain, relative, trained=trained))
    return {key: why for key, why in found.items() if not any(f"{key}.".startswith(f"{own}.") for own in confirmed)}


def _foreign(plain: Mapping[str, Any], root: Mapping[str, Any], *, trained: bool) -> Iterator[tuple[str, str]]:
    filled = {}
    for key, value in _leaves(plain):
        try:
            filled[key] = _value(value, root, [0])
        except _NotPlainError as error:
            yield key, f"{key} is {value!r}, {error}"
    for key, value in _leaves(plain):
        if key not in filled:
            continue
        if _TARGET in key.split(".") and not _is_own_target(key.rpartition(".")[2], value):
            yield key, f"{key} is {value!r}, which is not a part of this package that a run is made of"
        elif trained and (why := beyond_run(key, filled)):
            yield key, f"{key} is {value!r}, {why}"


def _is_own_target(name: str, value: object) -> bool:
    return name == _TARGET and isinstance(value, str) and todays_target(value) in own_targets()


def _leaves(plain: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every value with its dotted key; those of a list have its key and their number."""
    for key, value in flat_options(dict(plain)):
        if isinstance(value, list) and value:
            yield from _leaves_of_list(value, key)
        else:
            yield key, value


def _leaves_of_list(values: list[Any], key: str) -> Iterator[tuple[str, Any]]:
    for number, value in enumerate(values):
        own = f"{key}.{number}"
        if isinstance(value, list):
            yield from _leaves_of_list(value, own)
        elif isinstance(value, dict):
            yield from ((f"{own}.{below}", leaf) for below, leaf in _leaves(value))
        else:
            yield own, value


def _filled(node: Any, root: Mapping[str, Any]) -> Any:  # noqa: ANN401
    if isinstance(node, dict):
        return {key: _filled(value, root) for key, value in node.items()}
    if isinstance(node, list):
        return [_filled(value, root) for value in node]
    try:
        return _value(node, root, [0])
    except _NotPlainError:
        return node


def _value(value: Any, root: Mapping[str, Any], lookups: list[int]) -> Any:  # noqa: ANN401
    """A value with its references filled in; ``lookups`` counts them, since references may multiply."""
    if not isinstance(value, str) or _PLACEHOLDER not in value:
        return value
    of_two, reference = _OF_TWO.fullmatch(value), _REFERENCE.fullmatch(value)
    if of_two:
        return OF_TWO_VALUES[of_two[1]](*(_looked_up(key, root, lookups) for key in of_two.groups()[1:]))
    if reference:
        return _looked_up(reference[1], root, lookups)
    # OmegaConf reads a backslash before a placeholder in ways of its own.
    if _PLACEHOLDER in _REFERENCE.sub("", value) or f"\\{_PLACEHOLDER}" in value:
        raise _NotPlainError("which would be looked up or worked out anew")
    text = _REFERENCE.sub(lambda found: str(_looked_up(found[1], root, lookups)), value)
    if len(text) > _LONGEST:
        raise _NotPlainError("which grows without end")
    return text


def _looked_up(key: str, root: Mapping[str, Any], lookups: list[int]) -> Any:  # noqa: ANN401
    lookups[0] += 1
    if lookups[0] > _MOST_LOOKUPS:
        raise _NotPlainError("which refers to itself, or grows without end")
    node: Any = root
    for name in key.split("."):
        if not isinstance(node, dict) or name not in node:
            raise _NotPlainError(f"and there is no {key}")
        node = node[name]
    if isinstance(node, dict | list):
        raise _NotPlainError(f"and {key} is no single value")
    return _value(node, root, lookups)
