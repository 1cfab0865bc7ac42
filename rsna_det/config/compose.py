"""Compose a configuration from conf/ and the command line, and build what it describes."""

import difflib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import ConfigCompositionException, HydraException, InstantiationException, OverrideParseException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rsna_det.config.targets import with_todays_targets
from rsna_det.errors import ConfigError


def conf_folder(package: Path) -> Path:
    """The folder of the configurations: inside the package in a wheel, beside it in a checkout.

    Args:
        package: folder of ``rsna_det``.

    Raises:
        RuntimeError: if there is neither.
    """
    # What another package may have left beside an installed one is not ours: inside comes first.
    found = next((folder for folder in (package / "conf", package.parent / "conf") if folder.is_dir()), None)
    if found is None:
        raise RuntimeError(f"{package} is installed without its configurations (conf/): install rsna-det again")
    return found


_HYDRAS_FOLDERS = ("hydra.run.dir", "hydra.sweep.dir")

CONF = conf_folder(Path(__file__).resolve().parents[1])


def compose_config(name: str, overrides: Sequence[str]) -> DictConfig:
    """Compose a primary configuration.

    Args:
        name: of the file in conf/, without suffix.
        overrides: in Hydra's syntax.

    Raises:
        ConfigError: for an unknown key, group or choice; with the choices or the closest keys.
    """
    # Within a command Hydra is initialised already, with the same folder.
    running = GlobalHydra.instance().is_initialized()
    initialized = nullcontext() if running else initialize_config_dir(str(CONF), version_base="1.3")
    with initialized, composing(name, overrides):
        return compose(name, overrides=list(overrides))


@contextmanager
def composing(name: str, overrides: Sequence[str]) -> Iterator[None]:
    """Turn what Hydra says of a command line into a message with the remedy; Hydra must be initialised.

    Args:
        name: of the primary configuration.
        overrides: that are composed within the block.

    Raises:
        ConfigError: in place of Hydra's errors.
    """
    try:
        yield
    except OverrideParseException as error:
        raise _unreadable(error) from error
    except (ConfigCompositionException, HydraException, OmegaConfBaseException) as error:
        raise ConfigError(_with_suggestions(name, overrides, error)) from error


def parse_override(text: str) -> Override:
    """One override in Hydra's syntax.

    Raises:
        ConfigError: if it cannot be read.
    """
    try:
        (override,) = OverridesParser.create().parse_overrides([text])
    except OverrideParseException as error:
        raise _unreadable(error) from error
    return override


def _unreadable(error: OverrideParseException) -> ConfigError:
    return ConfigError(
        f"the override {error.override!r} cannot be read: {error}\nQuote a value with brackets, commas, `=` or `~` "
        "twice, for the shell and for Hydra: \"checkpoints='epoch_0[67].ckpt'\""
    )


def build(node: DictConfig | Mapping[str, Any], **parts: object) -> Any:  # noqa: ANN401
    """Call a component's ``_target_`` with its values, as plain containers, and with parts that were built before.

    Parts are handed over as they are: Hydra itself would turn a dataclass among them into a configuration. A target
    that has moved since the component was written is found at its new place.

    Args:
        node: with ``_target_``.
        parts: further keyword arguments.

    Raises:
        ConfigError: for values that the target does not take, beside what it raises itself.
    """
    make = build_partial(node)
    try:
        inspect.signature(make).bind(**parts)
    except TypeError as error:
        raise ConfigError(f"{node['_target_']} cannot be built from its options: {error}") from error
    return make(**parts)


def build_partial(node: DictConfig | Mapping[str, Any]) -> Callable[..., Any]:
    """A function that calls a component's ``_target_`` with its values and further arguments.

    Raises:
        ConfigError: for a target that cannot be imported, beside what components within it raise.
    """
    plain = OmegaConf.to_container(node, resolve=True) if isinstance(node, DictConfig) else dict(node)
    try:
        make: Callable[..., Any] = instantiate(
            OmegaConf.create(with_todays_targets(plain)), _partial_=True, _convert_="all"
        )
    except InstantiationException as error:
        cause = cause_of(error)
        if isinstance(cause, InstantiationException):
            raise ConfigError(str(cause)) from error
        raise cause from None
    return make


def cause_of(error: BaseException) -> BaseException:
    """What a constructor raised, out of Hydra's wrapping."""
    while isinstance(error, InstantiationException) and error.__cause__ is not None:
        error = error.__cause__
    return error


def closest(name: str, names: Mapping[str, object] | Sequence[str]) -> str:
    """The end of an error's sentence: the names most like one that does not exist, or all of them."""
    close = difflib.get_close_matches(name, list(names), n=3, cutoff=0.5)
    return f"; the closest: {', '.join(close)}" if close else f"; it takes: {', '.join(names)}"


def _with_suggestions(name: str, overrides: Sequence[str], error: Exception) -> str:
    """Hydra's message, and the closest keys for each override that names none."""
    messages = [_in_hydras_words(error)]
    if error.__cause__ is not None and _in_hydras_words(error.__cause__) not in str(error):
        messages.append(_in_hydras_words(error.__cause__))
    try:
        base = compose(name, overrides=[o for o in overrides if override_key(o) in _group_names()])
    except (HydraException, OmegaConfBaseException):
        return "\n".join(messages)
    known = list(_keys(OmegaConf.to_container(base, resolve=False), ""))
    for override in overrides:
        key = override_key(override)
        if not override.startswith(("+", "~", "hydra")) and key not in known and key not in _group_names():
            messages.append(
                f"there is no option {key}{closest(key, [*known, *_group_names()])}; one that a class takes and "
                f"conf/ does not name is added with a plus, `+{override}`"
            )
    return "\n".join(messages)


def _in_hydras_words(error: BaseException) -> str:
    """The message, without what OmegaConf adds of its own objects (``full_key``, ``object_type``)."""
    lines = [line for line in str(error).splitlines() if not line.strip().startswith(("full_key", "object_type"))]
    return "\n".join(lines)


def override_key(override: str) -> str:
    """What an override changes: its key without Hydra's marks and package."""
    return override.partition("=")[0].lstrip("+~").partition("@")[0]


def asked_for(arguments: Sequence[str], key: str) -> str | None:
    """The value that a command line gives an option last, unquoted; None if it gives none, or ``null``."""
    given = [argument for argument in arguments if argument.startswith(f"{key}=")]
    text = given[-1].partition("=")[2] if given else ""
    if text in {"", "null"}:
        return None
    try:
        value = parse_override(given[-1]).value()
    except ConfigError:
        # A path with signs that Hydra has a meaning for.
        return text
    return value if isinstance(value, str) else text


def with_home(argument: str) -> str:
    """An override of one of Hydra's own folders, with the home folder in place of ``~``; any other as it is."""
    if override_key(argument) not in _HYDRAS_FOLDERS:
        return argument
    value = asked_for([argument], override_key(argument)) or ""
    return f"{override_key(argument)}='{Path(value).expanduser()}'" if value.startswith("~") else argument


def _group_names() -> set[str]:
    return {path.name for path in CONF.iterdir() if path.is_dir()}


def _keys(node: object, path: str) -> Iterator[str]:
    if isinstance(node, dict):
        for key, child in node.items():
            own = f"{path}.{key}" if path else str(key)
            yield own
            yield from _keys(child, own)
