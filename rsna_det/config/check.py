"""Check a configuration before anything is built: missing values, unknown keys, wrong types, all at once."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any, Literal, get_args, get_origin

from hydra.errors import HydraException
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError

from rsna_det.config.compose import closest
from rsna_det.config.targets import with_todays_targets
from rsna_det.errors import ConfigError

RESERVED = {"_target_", "_partial_", "_convert_", "_recursive_", "_args_"}

TOP_LEVEL: dict[str, Any] = {
    "name": str,
    "study": str | None,
    "seed": int,
    "score_untrained": bool,
    "folds_only": bool,
    "sheets": bool,
    "sheet_image": str | None,
    "workers": int | None,
    "out": str,
    "checkpoints": str | list[str],
    "images": str | list[str],
    "operating_point": str | None,
    "cut": float | None,
    "nms_iou": float | None,
    "relative_cut": float | None,
    "size_rule": Literal["none", "percentile", "rescale"] | None,
    "size_scale": float | None,
    "rescale_factor": float | None,
    "batch_size": int,
    "memory_gb": float,
    "accelerator": Literal["auto", "cpu", "cuda"],
    "pictures": bool | int,
    "overwrite": bool,
    "runs": str | list[str] | None,
    "predictions": str | None,
    "labels": str | None,
    "patients_csv": str | None,
    "ids": str | None,
    "cut_grid": list[float] | None,
    "nms_ious": list[float],
    "epoch": int | None,
    "choose_nms_iou": bool,
    "save_operating_point": bool,
    "splits": int,
    "resamples": int,
    "figure": str,
    "radiographs": int,
    "evaluation": str | None,
}
"""Types of the values that belong to an entry point itself."""


def check_config(config: DictConfig) -> None:
    """Hold every value against the signature of what it will be handed to.

    Raises:
        ConfigError: naming every missing value, unknown key and wrong type at once.
    """
    findings = [_missing(key) for key in sorted(OmegaConf.missing_keys(config))]
    if not findings:
        try:
            plain = OmegaConf.to_container(config, resolve=True)
        except (MissingMandatoryValue, OmegaConfBaseException) as error:
            raise ConfigError(str(error).splitlines()[0]) from error
        findings = [*_top_level_findings(plain), *_findings(with_todays_targets(plain), "")]
    if findings:
        raise ConfigError("\n".join(findings))


def parameters_of(target: Callable[..., object]) -> dict[str, inspect.Parameter]:
    """The parameters of a function or class; a class that hands ``**options`` to its base takes the base's as well."""
    parameters = dict(inspect.signature(target).parameters)
    bases = target.__mro__[1:] if isinstance(target, type) else ()
    for base in bases:
        handed_on = [name for name, p in parameters.items() if p.kind is inspect.Parameter.VAR_KEYWORD]
        if not handed_on or not base.__module__.startswith("rsna_det"):
            break
        del parameters[handed_on[0]]
        parameters |= inspect.signature(base).parameters
    return parameters


def _top_level_findings(plain: object) -> Iterator[str]:
    for name, kind in TOP_LEVEL.items():
        if isinstance(plain, dict) and name in plain:
            yield from _type_findings(plain[name], kind, name)


_WHEN_MISSING = {
    "data.root": "data.root is not set: give the folder of the challenge's data, `data.root=<folder>`, "
    "or try the embedded synthetic data with `data=synthetic`",
    "checkpoints": "checkpoints is not set: give one or more, or globs in quotes, "
    "`checkpoints='runs/<experiment>/*/checkpoints/best.ckpt'`",
    "images": "images is not set: give a folder of DICOM files, a file or a glob in quotes, `images=<folder>`",
}


def _missing(key: str) -> str:
    return _WHEN_MISSING.get(key, f"{key} has no value: set it with `{key}=<value>`")


def _findings(node: object, path: str) -> Iterator[str]:
    """Walk all nodes with a ``_target_``."""
    if isinstance(node, list):
        for i, child in enumerate(node):
            yield from _findings(child, f"{path}[{i}]")
    if not isinstance(node, dict):
        return
    for key, child in node.items():
        yield from _findings(child, f"{path}.{key}" if path else str(key))
    if "_target_" in node:
        yield from _target_findings(node, path)


def _target_findings(node: dict[Any, Any], path: str) -> Iterator[str]:
    try:
        parameters = parameters_of(get_object(node["_target_"]))
    except (ImportError, ValueError, AttributeError, HydraException) as error:
        yield f"{path}._target_ names {node['_target_']}, which cannot be imported: {error}"
        return
    open_ended = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    for key, value in node.items():
        if key in RESERVED:
            continue
        if key in parameters:
            yield from _type_findings(value, parameters[key].annotation, f"{path}.{key}")
        elif not open_ended:
            yield f"{path}.{key} is not an option of {node['_target_']}{closest(str(key), parameters)}"


def _type_findings(value: object, annotation: Any, path: str) -> Iterator[str]:  # noqa: ANN401
    """One finding if the value is not of the annotated type; annotations that pydantic cannot read are passed over."""
    if annotation is inspect.Parameter.empty or _holds_target(value):
        return
    try:
        adapter = TypeAdapter(annotation, config=None if _has_own_config(annotation) else _ARBITRARY)
    except (PydanticSchemaGenerationError, PydanticUserError, NameError, TypeError):
        return
    try:
        adapter.validate_python(_as_annotated(value, annotation), strict=True)
    except ValidationError as error:
        expected = "; ".join(dict.fromkeys(str(detail["msg"]) for detail in error.errors()))
        yield f"{path} is {value!r} ({type(value).__name__}): {expected[0].lower()}{expected[1:]}"


_ARBITRARY = ConfigDict(arbitrary_types_allowed=True)


def _has_own_config(annotation: Any) -> bool:  # noqa: ANN401
    return hasattr(annotation, "__pydantic_config__") or hasattr(annotation, "model_config")


def _holds_target(value: object) -> bool:
    if isinstance(value, dict):
        return "_target_" in value or any(map(_holds_target, value.values()))
    return isinstance(value, list) and any(map(_holds_target, value))


def _as_annotated(value: object, annotation: Any) -> object:  # noqa: ANN401
    """YAML has no tuples: a list stands for one where one is wanted."""
    kinds = {get_origin(kind) or kind for kind in (annotation, *get_args(annotation))}
    return tuple(value) if isinstance(value, list) and tuple in kinds and list not in kinds else value
