"""Check a configuration before anything is built: missing values, unknown keys, wrong types, all at once."""

import inspect
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError

from rsna_det.config.compose import closest
from rsna_det.config.options import Component
from rsna_det.config.signatures import annotation_of, parameters_named
from rsna_det.config.targets import with_todays_targets
from rsna_det.errors import ConfigError

Options = TypeVar("Options")

_RESERVED = {"_target_", "_partial_", "_convert_", "_recursive_", "_args_"}
_ARBITRARY = ConfigDict(arbitrary_types_allowed=True)

_WHEN_MISSING = {
    "data.root": "data.root is not set: give the folder of the challenge's data, `data.root=<folder>`, "
    "or try the embedded synthetic data with `data=synthetic`",
    "checkpoints": "checkpoints is not set: give one or more, or globs in quotes, "
    "`checkpoints='runs/<experiment>/*/checkpoints/best.ckpt'`",
    "images": "images is not set: give a folder of DICOM files, a file or a glob in quotes, `images=<folder>`",
}


def check_config(config: DictConfig, options: type[Options]) -> Options:
    """Check every value against the type of its option or the signature of what it is handed to.

    Args:
        config: composed; Hydra's own node is left out.
        options: dataclass of :mod:`rsna_det.config.options`.

    Returns:
        The command's options, with interpolations resolved and ``~`` expanded in paths.

    Raises:
        ConfigError: naming every missing value, unknown key and wrong type at once.
    """
    return check_values(_resolved(config), options)


def check_values(plain: dict[str, Any], options: type[Options], *, components: bool = True) -> Options:
    """As :func:`check_config`, of plain values.

    Args:
        plain: the values, without placeholders.
        options: dataclass of :mod:`rsna_det.config.options`.
        components: whether the values of components are checked too, which imports their classes: not for values that
            may be a stranger's.

    Raises:
        ConfigError: as :func:`check_config`.
    """
    own = _component_problems(with_todays_targets(plain), "") if components else ()
    problems = [*_option_problems(plain, options, ""), *own]
    if problems:
        raise ConfigError("\n".join(problems))
    made: Options = _made(plain, options)
    return made


def path_option(config: DictConfig, key: str) -> Path:
    """A folder or file that a configuration names, where the rest of it is not checked yet.

    Raises:
        ConfigError: if the value is not a path.
    """
    value = OmegaConf.select(config, key)
    problems = list(_type_problems(value, Path, key))
    if problems:
        raise ConfigError(problems[0])
    return Path(value).expanduser()


def _resolved(config: DictConfig) -> dict[str, Any]:
    own = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    missing = sorted(OmegaConf.missing_keys(own))
    if missing:
        raise ConfigError(
            "\n".join(_WHEN_MISSING.get(key, f"{key} has no value: set it with `{key}=<value>`") for key in missing)
        )
    try:
        plain: Any = OmegaConf.to_container(own, resolve=True)
    except (MissingMandatoryValue, OmegaConfBaseException) as error:
        raise ConfigError(str(error).splitlines()[0]) from error
    return dict(plain)


def _option_problems(plain: object, options: Any, path: str) -> Iterator[str]:  # noqa: ANN401
    """Compare a node with the dataclass that it becomes."""
    if not isinstance(plain, dict):
        yield f"{path} is {plain!r}; expected {', '.join(field.name for field in fields(options))}"
        return
    known = {field.name: field for field in fields(options)}
    for key in plain:
        if key not in known:
            yield f"there is no option {_below(path, key)}{closest(str(key), known)}"
    for name, field in known.items():
        own = _below(path, name)
        if name not in plain:
            if field.default is MISSING and field.default_factory is MISSING:
                yield f"{own} is missing"
        else:
            yield from _value_problems(plain[name], field.type, own)


def _value_problems(value: object, kind: Any, path: str) -> Iterator[str]:  # noqa: ANN401
    if is_dataclass(kind):
        yield from _option_problems(value, kind, path)
        return
    yield from _type_problems(value, kind, path)
    if kind == Component and isinstance(value, dict) and "_target_" not in value:
        yield f"{path} names no class: choose one of its group, `{path}=<name>`"


def _made(plain: dict[str, Any], options: Any) -> Any:  # noqa: ANN401
    values = {}
    for field in fields(options):
        if field.name in plain:
            value = plain[field.name]
            values[field.name] = _made(value, field.type) if is_dataclass(field.type) else _as_type(value, field.type)
    return options(**values)


def _below(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)


def _component_problems(node: object, path: str) -> Iterator[str]:
    """Walk all nodes with a ``_target_``."""
    if isinstance(node, list):
        for i, child in enumerate(node):
            yield from _component_problems(child, f"{path}[{i}]")
    if not isinstance(node, dict):
        return
    for key, child in node.items():
        yield from _component_problems(child, _below(path, key))
    if "_target_" in node:
        yield from _target_problems(node, path)


def _target_problems(node: dict[Any, Any], path: str) -> Iterator[str]:
    target = node["_target_"]
    if not isinstance(target, str):
        yield f"{path}._target_ is {target!r}: expected the import path of a class or function"
        return
    try:
        parameters = parameters_named(target)
    except (ImportError, ValueError, AttributeError, HydraException) as error:
        yield f"{path}._target_ names {target}, which cannot be imported: {error}"
        return
    open_ended = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    for key, value in node.items():
        if key in _RESERVED:
            continue
        if key in parameters:
            # What is built from a node of its own has a type that only its class says.
            if not _holds_target(value):
                yield from _type_problems(value, annotation_of(target, key), f"{path}.{key}")
        elif not open_ended:
            yield f"{path}.{key} is not an option of {target}{closest(str(key), parameters)}"


def _type_problems(value: object, annotation: Any, path: str) -> Iterator[str]:  # noqa: ANN401
    """One problem if the value is not of the annotated type; annotations that pydantic cannot read are passed over."""
    if annotation is inspect.Parameter.empty:
        return
    if Path in _kinds(annotation) and value is not None and (not isinstance(value, str | Path) or value == ""):
        yield f"{path} is {value!r} ({type(value).__name__}): expected the path of a file or folder"
        return
    try:
        adapter = TypeAdapter(annotation, config=None if _has_own_config(annotation) else _ARBITRARY)
    except (PydanticSchemaGenerationError, PydanticUserError, NameError, TypeError):
        return
    try:
        adapter.validate_python(_as_type(value, annotation), strict=True)
    except ValidationError as error:
        said = dict.fromkeys(str(detail["msg"]) for detail in error.errors())
        expected = " or ".join(f"{text[0].lower()}{text[1:]}" for text in said)
        yield f"{path} is {value!r} ({type(value).__name__}): {expected}"


def _has_own_config(annotation: Any) -> bool:  # noqa: ANN401
    return hasattr(annotation, "__pydantic_config__") or hasattr(annotation, "model_config")


def _holds_target(value: object) -> bool:
    if isinstance(value, dict):
        return "_target_" in value or any(map(_holds_target, value.values()))
    return isinstance(value, list) and any(map(_holds_target, value))


def _kinds(annotation: Any) -> set[Any]:  # noqa: ANN401
    """The types of a union, without their parameters."""
    return {get_origin(kind) or kind for kind in (annotation, *get_args(annotation))}


def _as_type(value: object, annotation: Any) -> object:  # noqa: ANN401
    """YAML has neither tuples nor paths: a list or a text stands for one where one is wanted."""
    kinds = _kinds(annotation)
    if isinstance(value, list) and tuple in kinds and list not in kinds:
        return tuple(value)
    if isinstance(value, str) and Path in kinds and str not in kinds:
        return Path(value).expanduser()
    return value
