"""Writes a checkpoint so that it is whole or not there."""

from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO


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
        partial = target.with_name(f"{target.name}.partial")
        try:
            torch.save(checkpoint, partial)
            partial.replace(target)
        except (OSError, RuntimeError) as error:
            partial.unlink(missing_ok=True)
            raise OSError(
                f"{target} could not be written ({error}): free some space or set `paths.runs` to another disk, "
                "then go on with `resume=last`"
            ) from error
