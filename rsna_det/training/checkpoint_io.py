"""Checkpoints: written whole or not at all, read without running any code in them."""

from pathlib import Path
from pickle import UnpicklingError  # only to name the file in the error: nothing is unpickled
from typing import Any
from zipfile import is_zipfile

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from rsna_det.errors import DataError, MissingFileError
from rsna_det.files.atomic import whole_file

_REMEDY = "free some space or set `paths.runs` to another disk, then resume with `resume=last`"
# In the messages of the RuntimeError that torch raises where the disk is full.
_FAILED_WRITE = ("PytorchStreamWriter", "inline_container", "iostream error")
# What torch raises on damaged files and on files of other kinds; some bytes make its unpickler raise a KeyError.
_UNREADABLE = (RuntimeError, EOFError, UnpicklingError, LookupError, AttributeError, TypeError, ValueError)


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes next to the checkpoint, then renames.

    Lightning writes into the system's temporary folder and copies from there to another disk: a run killed meanwhile
    leaves neither the old checkpoint nor the new one.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:  # noqa: ANN401
        """Write a checkpoint.

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


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint's content; its tensors stay on disk until they are used.

    Raises:
        MissingFileError: if there is no such file.
        DataError: if it is damaged, or would run code when it is read; the message names the file.
    """
    if not path.is_file():
        raise MissingFileError(f"there is no checkpoint {path}: check the path, or list those of the run in its folder")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except _UNREADABLE as error:
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        if isinstance(error, UnpicklingError) and is_zipfile(path):
            raise DataError(
                f"{path} holds Python objects, which could run code when read, and was not opened: use a checkpoint "
                "that rsna_det.train wrote"
            ) from error
        problem = f"is damaged ({first_line})" if is_zipfile(path) else "is not a checkpoint, or it is truncated"
        raise DataError(f"{path} {problem}: use another checkpoint of the run") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} is not a checkpoint: it holds a {type(content).__name__}")
    return content
