"""What of a finished run's folder is worth keeping elsewhere: the out-of-fold tables, the best checkpoint."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from omegaconf import DictConfig

from rsna_det.evaluation.tables import RunTables
from rsna_det.runs.provenance import CONFIG, FILE

METRICS = "metrics.csv"
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


def run_artifacts(config: DictConfig) -> list[RunArtifact]:
    """The artifacts of a run, those of which there are files.

    Args:
        config: of a finished run, with ``run_dir``.
    """
    folder = Path(config.run_dir)
    best_epoch, best_map = _best(folder / METRICS)
    metadata: dict[str, str | int | float | None] = {
        "experiment": str(config.name),
        "fold": int(config.data.fold),
        "seed": int(config.seed),
        "val/map_best": best_map,
        "epoch": best_epoch,
    }
    best = folder / "checkpoints" / "best.ckpt"
    found = {
        TABLES: RunTables(folder / "predictions").paths,
        MODEL: [best, *(folder / name for name in (CONFIG, FILE))] if best.is_file() else [],
    }
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", str(config.name))[:_LONGEST_NAME]
    return [
        RunArtifact(
            kind=kind,
            label=f"{name}-fold{config.data.fold}-{kind}",
            files={path.relative_to(folder).as_posix(): path for path in paths},
            metadata=metadata,
        )
        for kind, paths in found.items()
        if paths
    ]


def _best(metrics: Path) -> tuple[int | None, float | None]:
    """Epoch and score of the best checkpoint: the first of the best, as it is only replaced by a better one."""
    table = pd.read_csv(metrics) if metrics.is_file() else pd.DataFrame()
    if "val/map_best" not in table or table["val/map_best"].isna().all():
        return None, None
    row = int(table["val/map_best"].argmax())
    return int(table["epoch"].iloc[row]), float(table["val/map_best"].iloc[row])
