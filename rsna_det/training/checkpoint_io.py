"""Checkpoints: written whole or not at all, with their digest; read without running any code in them.

A checkpoint ends with the digest of its bytes, which is compared whenever it is read. Those that were written before
there was one are read by the check sums of their records.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path, PurePath
from pickle import UnpicklingError  # only to name the file in the error: nothing is unpickled
from typing import Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO
from torch import Tensor

from rsna_det.errors import DataError, MissingFileError
from rsna_det.files.atomic import whole_file
from rsna_det.files.reading import readable
from rsna_det.files.seal import check_seal, looks_like_zip, seal
from rsna_det.files.torch_archive import HoldsObjectsError, check_archive
from rsna_det.models.weights import first_not_finite

NETWORK = "model."
"""Before the names of the network's weights, of all weights in a checkpoint."""

_REMEDY = "free some space or set `paths.runs` to another disk, then resume with `resume=last`"
_OUR_OWN = "use a checkpoint that rsna_det.train wrote"
# In the messages of the RuntimeError that torch raises where the disk is full.
_FAILED_WRITE = ("PytorchStreamWriter", "inline_container", "iostream error")
# What torch raises on damaged files and on files of other kinds; some bytes make its unpickler raise a KeyError.
_UNREADABLE = (
    *(RuntimeError, EOFError, UnpicklingError, LookupError, AttributeError, TypeError, ValueError),
    *(ArithmeticError, AssertionError, MemoryError),
)
PATHS_IN_STATES = ("best_model_path", "kth_best_model_path", "last_model_path")
"""Keys of a ModelCheckpoint's state that hold the path of a file."""
_STATES_OF_PATHS = (*PATHS_IN_STATES, "dirpath", "best_k_models")


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes next to the checkpoint, then renames.

    Lightning writes into the system's temporary folder and copies from there to another disk: a run killed meanwhile
    leaves neither the old checkpoint nor the new one.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:  # noqa: ANN401
        """Write a checkpoint and its digest.

        Raises:
            StorageError: if it cannot be written (a full disk); the old checkpoint stays.
        """
        del storage_options
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(target, remedy=_REMEDY) as partial:
            try:
                torch.save(checkpoint, partial)
            except RuntimeError as error:
                if not any(sign in str(error) for sign in _FAILED_WRITE):
                    raise
                # whole_file names the checkpoint and the remedy.
                raise OSError(str(error).partition("\n")[0]) from error
            seal(partial)

    def load_checkpoint(self, path: str | Path, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401
        """Read a checkpoint to resume from, without running any code in it, whatever else is asked for.

        Raises:
            MissingFileError: if there is no such file.
            DataError: as :func:`read_checkpoint`; or if its weights are not finite, or it names files elsewhere.
        """
        del arguments, options
        content = read_checkpoint(Path(path))
        network_weights(Path(path), content)
        _check_paths(Path(path), content)
        return content


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint's content; its tensors stay on disk until they are used.

    Raises:
        MissingFileError: if there is no such file.
        StorageError: if it cannot be read.
        DataError: if it is damaged, or would run code or inflate when it is read; the message names the file and the
            other checkpoints of its run.
    """
    if not path.is_file():
        raise MissingFileError(f"there is no checkpoint {path}: check the path, or list those of the run in its folder")
    with readable(path):
        state = path.stat()
        _check_file(path, state.st_mtime_ns, state.st_size, state.st_ino)
        content = _loaded(path)
    if type(content) is not dict or not all(type(key) is str for key in content):
        raise DataError(f"{path} is not a checkpoint: it holds a {type(content).__name__}")
    return content


def network_weights(path: Path, content: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights of a checkpoint's network by name.

    Args:
        path: of the checkpoint.
        content: of :func:`read_checkpoint`.

    Raises:
        DataError: if there are none, or one is no plain tensor, is larger than the file, or holds NaN or infinity.
    """
    state = content.get("state_dict")
    if not isinstance(state, dict):
        raise DataError(f"{path} is not a checkpoint that rsna_det.train wrote (it has no state_dict): {_OUR_OWN}")
    weights = {name: value for name, value in state.items() if str(name).startswith(NETWORK)}
    problem = next(_wrong_weights(weights, path.stat().st_size), None)
    if problem is not None:
        raise DataError(f"{path}: {problem}: {_another(path)}")
    return {name.removeprefix(NETWORK): value for name, value in weights.items()}


@lru_cache(maxsize=256)
def _check_file(path: Path, mtime_ns: int, size: int, inode: int) -> None:  # noqa: ARG001  # a changed file is read again
    """Refuse a file that is damaged or more than data; what passed is not read again for each member's turn."""
    if not looks_like_zip(path):
        raise DataError(f"{path} is not a checkpoint, or it is truncated: {_another(path)}")
    try:
        check_archive(path, every_byte=not check_seal(path))
    except HoldsObjectsError as error:
        raise DataError(f"{error}, which could run code when read, and was not opened: {_OUR_OWN}") from error
    except DataError as error:
        raise DataError(f"{error}: {_another(path)}") from error


def _loaded(path: Path) -> Any:  # noqa: ANN401
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except _UNREADABLE as error:
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{path} is damaged ({first_line}): {_another(path)}") from error


def _wrong_weights(weights: Mapping[str, Any], file_size: int) -> Iterator[str]:
    if not weights:
        yield "it has no weights of a network"
    odd = next((name for name, value in weights.items() if not _is_plain(value)), None)
    if odd is not None:
        yield f"{odd} is no plain tensor"
        return
    # A tensor may repeat the few bytes that it has.
    if sum(value.numel() * value.element_size() for value in weights.values()) > file_size:
        yield "its weights are larger than the file"
        return
    name = first_not_finite(weights)
    if name is not None:
        yield f"the weights {name} hold NaN or infinity, and predict nothing"


def _is_plain(value: object) -> bool:
    if type(value) not in (Tensor, torch.nn.Parameter) or not isinstance(value, Tensor):
        return False
    return (
        value.layout is torch.strided and value.device.type == "cpu" and not (value.is_quantized or value.is_complex())
    )


def _check_paths(path: Path, content: Mapping[str, Any]) -> None:
    """Refuse paths that lead upwards: Lightning removes the checkpoints that it replaces."""
    states = content.get("callbacks")
    for state in states.values() if isinstance(states, dict) else ():
        for name in _STATES_OF_PATHS if isinstance(state, dict) else ():
            value = state.get(name)
            for place in value if isinstance(value, dict) else [value]:
                if isinstance(place, str) and ".." in PurePath(place).parts:
                    raise DataError(f"{path} names a file elsewhere ({name}: {place[:200]!r}): {_OUR_OWN}")


def _another(path: Path) -> str:
    """The remedy for a damaged checkpoint: the others of its run, the newest first."""
    others = [other for other in path.parent.glob("*.ckpt") if other.name != path.name and other.is_file()]
    named = ", ".join(other.name for other in sorted(others, key=lambda other: -other.stat().st_mtime)[:3])
    found = f" ({named} in the same folder)" if named else ""
    return f"use another checkpoint of the run{found}; to resume from an older one, copy it to last.ckpt"
