"""The id that W&B knows a run by: the same after it was resumed or moved, another after it was copied."""

import logging
import uuid
from collections.abc import Iterable
from pathlib import Path

from rsna_det.files.atomic import write_text
from rsna_det.runs.folder import RunFolder

log = logging.getLogger(__name__)


def leave_id_to_original(folder: RunFolder, homes: Iterable[Path]) -> None:
    """Forget the id of a run whose folder was copied: two runs would go on under one id. A moved run keeps its own.

    Args:
        folder: of the run.
        homes: the folders in which its checkpoints lay.
    """
    for original in (RunFolder(home.parent) for home in homes):
        elsewhere = original.path.resolve() != folder.path.resolve()
        if elsewhere and original.wandb_id.is_file() and folder.wandb_id.is_file():
            own = folder.wandb_id.read_text(encoding="utf-8")
            if original.wandb_id.read_text(encoding="utf-8") == own:
                log.warning("%s is a copy of %s: W&B gets it as a run of its own", folder, original)
                folder.wandb_id.unlink()


def run_id_of(folder: Path) -> str:
    """The id that W&B knows a run by; made when it is first asked for."""
    path = RunFolder(folder).wandb_id
    found = path.read_text(encoding="utf-8").strip() if path.is_file() else ""
    if not found:
        found = uuid.uuid4().hex[:12]
        folder.mkdir(parents=True, exist_ok=True)
        write_text(path, f"{found}\n")
    return found
