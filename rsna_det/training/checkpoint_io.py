"""Writes a checkpoint so that it is whole or not there, and reads it without running any code in it."""

from pathlib import Path
from pickle import UnpicklingError  # only to name the file in the error: nothing is unpickled
from typing import Any
from zipfile import is_zipfile

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from rsna_det.files.atomic import whole_file

_REMEDY = "free some space or set `paths.runs` to another disk, then go on with `resume=last`"
# What torch raises on files of other kinds; its unpickler fails on some bytes by a mere KeyError.
_UNREADABLE = (RuntimeError, EOFError, UnpicklingError, LookupError, AttributeError, TypeError, ValueError)


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the checkpoint and renames.

    Lightning writes into the machine's temporary folder first: from there to another disk a file is copied, and a run
    that is killed meanwhile leaves neither the old checkpoint nor the new one.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:  # noqa: ANN401
        """Write a checkpoint.

        Raises:
            OSError: if it cannot be written (a full disk); what was there before stays.
        """
        del storage_options
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(target, remedy=_REMEDY) as partial:
            try:
                torch.save(checkpoint, partial)
            except RuntimeError as error:
                # So torch tells of a disk that is full.
                raise OSError(error) from error


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint's content; its tensors stay on disk until they are used.

    Raises:
        FileNotFoundError: if there is no such file.
        OSError: if it is damaged, or would run code when it is read; the message names the file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint {path}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except _UNREADABLE as error:
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        if isinstance(error, UnpicklingError) and is_zipfile(path):
            raise OSError(
                f"{path} holds Python objects, which run code when they are read, and is not opened: "
                "use a checkpoint that rsna_det.train wrote"
            ) from error
        raise OSError(f"{path} is damaged ({first_line}): replace it by another checkpoint of the run") from error
    if not isinstance(content, dict):
        raise OSError(f"{path} is not a checkpoint: it holds a {type(content).__name__}")
    return content
