"""What of a finished run's folder is worth keeping elsewhere: the out-of-fold tables and the best checkpoint."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rsna_det.config.options import TrainOptions
from rsna_det.runs.folder import RunFolder

TABLES, MODEL = "out-of-fold", "model"

_LONGEST_NAME = 64


@dataclass(frozen=True, kw_only=True)
class RunArtifact:
    """Files of a run that belong together.

    Attributes:
        kind: ``out-of-fold`` or ``model``.
        label: experiment, fold and kind, of letters, digits, dots, dashes and underscores.
        files: by the path that each has in the run's folder.
        metadata: what is worth knowing without opening a file.
    """

    kind: str
    label: str
    files: Mapping[str, Path]
    metadata: Mapping[str, str | int | float | None]


def run_artifacts(options: TrainOptions) -> list[RunArtifact]:
    """The artifacts of a finished run, those that have files."""
    folder = RunFolder(options.run_dir)
    fold = int(options.data["fold"])
    best_epoch, best_map = _best(folder)
    metadata: dict[str, str | int | float | None] = {
        "experiment": options.name,
        "fold": fold,
        "seed": options.seed,
        "val/map_best": best_map,
        "epoch": best_epoch,
    }
    model = [folder.best_checkpoint, folder.resolved_config, folder.provenance_file]
    files = {
        TABLES: list(folder.tables.paths),
        MODEL: model if folder.best_checkpoint.is_file() else [],
    }
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", options.name)[:_LONGEST_NAME]
    return [
        RunArtifact(
            kind=kind,
            label=f"{name}-fold{fold}-{kind}",
            files={path.relative_to(folder.path).as_posix(): path for path in paths},
            metadata=metadata,
        )
        for kind, paths in files.items()
        if paths
    ]


def _best(folder: RunFolder) -> tuple[int | None, float | None]:
    """Epoch and score of the best checkpoint: the first of the best, as it is only replaced by a better one."""
    if not folder.metrics_file.is_file():
        return None, None
    table = folder.metrics()
    if "val/map_best" not in table or table["val/map_best"].isna().all():
        return None, None
    row = int(table["val/map_best"].argmax())
    return int(table["epoch"].iloc[row]), float(table["val/map_best"].iloc[row])
