"""What makes two runs of a study the same: the hash of every option that can change a run's result."""

import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf

from rsna_det.config.roles import FILE_OPTIONS, flat_options, role_of
from rsna_det.config.targets import first_target, todays_target
from rsna_det.data.layout import CLASS_CSV, LABELS_CSV

_LEFT_OUT = object()


def run_id(config: DictConfig) -> str:
    """Ten hexadecimal digits, the same for every way of describing the same run.

    Args:
        config: composed; ``run_dir`` may be missing.
    """
    text = json.dumps(identity(config), sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=5).hexdigest()


def identity(config: DictConfig) -> dict[str, Any]:
    """All options that can change the result, flat and resolved, with files as hashes of their content."""
    part = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    OmegaConf.set_struct(part, value=False)
    part.run_dir = ""
    plain: Any = OmegaConf.to_container(part, resolve=True)
    kept = {key: value for key, value in flat_options(plain) if role_of(key).changes_result}
    values = kept | _contents(kept)
    return {key: _exact(key, _stable(key, value)) for key, value in values.items() if value is not _LEFT_OUT}


def _contents(kept: Mapping[str, Any]) -> dict[str, Any]:
    """In place of paths, what lies there; synthetic data are what their options say, written already or not."""
    from rsna_det.data.synthetic.datamodule import SyntheticDataModule

    root = Path(str(kept["data.root"])).expanduser()
    synthetic = issubclass(get_class(todays_target(kept["data._target_"])), SyntheticDataModule)
    found: dict[str, Any] = {"data.root": _LEFT_OUT if synthetic else _tables_digest(root)}
    for key in FILE_OPTIONS:
        path = Path(str(kept[key])).expanduser() if kept.get(key) is not None else None
        if path is None:
            continue
        if synthetic and path.is_relative_to(root):
            found[key] = str(path.relative_to(root))
        else:
            found[key] = file_digest(path)
    return found


def _tables_digest(root: Path) -> str:
    """Of the labels: they name every image."""
    return " ".join(file_digest(root / name) for name in (LABELS_CSV, CLASS_CSV))


def file_digest(path: Path) -> str:
    """Hash of a file's content, or its name if there is no such file: the run will say so."""
    if not path.is_file():
        return str(path)
    state = path.stat()
    return _digest(path.resolve(), state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=64)
def _digest(path: Path, mtime_ns: int, size: int) -> str:  # noqa: ARG001  # a changed file is read again
    from rsna_det.data.cache.index import digest

    return digest(path)


def _stable(key: str, value: Any) -> Any:  # noqa: ANN401
    """A class that moved to another module is the same class."""
    return first_target(value) if key.endswith("_target_") else value


def _exact(key: str, value: Any) -> Any:  # noqa: ANN401
    """``0`` and ``0.0`` are one number, but one batch (``1``) is not all batches (``1.0``)."""
    if isinstance(value, list):
        return [_exact(key, item) for item in value]
    counts_or_shares = key.startswith("trainer.") and key != "trainer.gradient_clip_val"
    if isinstance(value, float) and value.is_integer() and not counts_or_shares:
        return int(value)
    return value


# conf/sweep/base.yaml names the folder of a study's run with it.
OmegaConf.register_new_resolver("run_id", lambda *, _root_: run_id(_root_), replace=True)
