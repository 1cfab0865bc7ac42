"""The run's table of metrics: one row per epoch, kept when the run resumes."""

import math
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from lightning_utilities.core.rank_zero import rank_zero_only
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers.logger import Logger

from rsna_det.errors import DataError
from rsna_det.files.atomic import whole_file
from rsna_det.files.tables import read_csv_text

_MOST = 10**9

STEP_LOSS = "step_loss"
"""What the progress bar shows after each step; no epoch's value."""


class EpochTable(Logger):
    """Writes everything logged for an epoch into one row of a CSV file.

    Lightning's own CSV logger writes two rows per epoch, and deletes the file when a run resumes. Values logged per
    step are left to other loggers.

    Args:
        path: of the CSV file.
        first_epoch: rows of an existing file from this epoch on are dropped: a resumed run writes them again.

    Raises:
        DataError: if an existing file is damaged.
        StorageError: if it cannot be read, or is a folder.
    """

    def __init__(self, *, path: str, first_epoch: int = 0) -> None:
        super().__init__()
        self.path = Path(path)
        self.rows: dict[int, dict[str, float]] = {}
        if self.path.exists():
            kept = read_epochs(self.path, remedy="remove it, and the run resumes without its earlier rows")
            kept = kept[kept["epoch"] < first_epoch]
            self.rows = {int(row["epoch"]): row for row in kept.to_dict("records")}  # type: ignore[misc]

    @property
    def name(self) -> str:
        """Required by Lightning."""
        return "epoch_table"

    @property
    def version(self) -> str:
        """Required by Lightning."""
        return ""

    @property
    def save_dir(self) -> str:
        """The run's folder."""
        return str(self.path.parent)

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Does nothing: the run's folder holds its configuration."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Add the values to their epoch's row and write the file.

        Args:
            metrics: values by name, with ``epoch``.
            step: number of optimizer steps so far.
        """
        values = {name: float(value) for name, value in metrics.items() if name not in {"epoch", STEP_LOSS}}
        if not values or "epoch" not in metrics:
            return
        epoch = int(metrics["epoch"])
        row = self.rows.setdefault(epoch, {"epoch": epoch})
        row.update(values)
        row["step"] = float(step) if step is not None else row.get("step", math.nan)
        self._write()

    def _write(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        table = pd.DataFrame([self.rows[epoch] for epoch in sorted(self.rows)])
        leading = ["epoch", "step"]
        table = table[leading + sorted(c for c in table.columns if c not in leading)].astype(
            dict.fromkeys(leading, "Int64")
        )
        with whole_file(self.path) as partial:
            table.to_csv(partial, index=False)


def read_epochs(path: Path, *, remedy: str, needed: Sequence[str] = ()) -> pd.DataFrame:
    """The table of a run's metrics: numbers, one row an epoch; NaN where an epoch has no value.

    Args:
        path: of the CSV file.
        remedy: what to do if it is damaged.
        needed: columns that it must have beside ``epoch``.

    Raises:
        MissingFileError, StorageError: if it cannot be read.
        DataError: if it is empty or damaged, or lacks a column; naming the file and the remedy.
    """
    table = read_csv_text(path, needed=["epoch", *needed], remedy=remedy)
    try:
        numbers = table.apply(lambda column: column.map(lambda cell: float(cell) if cell else math.nan)).astype(float)
    except ValueError as error:
        raise DataError(f"{path} is damaged ({error}): {remedy}") from error
    epochs, steps = numbers["epoch"], numbers.get("step", pd.Series(dtype=float)).dropna()
    whole = all((values.between(0, _MOST) & (values % 1 == 0)).all() for values in (epochs, steps))
    if numbers.empty:
        raise DataError(f"{path} is damaged (it has no rows): {remedy}")
    if not whole or epochs.duplicated().any():
        raise DataError(f"{path} is damaged (expected one row for each epoch, whole numbers from 0): {remedy}")
    found: pd.DataFrame = numbers.astype({"epoch": int})
    return found


class OwnMetrics(Callback):
    """Knows which of the logged values are the epoch's own: Lightning keeps those of the last epoch that validated."""

    def __init__(self) -> None:
        self._validated = -1

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Remember which epoch validates."""
        self._validated = trainer.current_epoch

    def metrics(self, trainer: Trainer) -> dict[str, float]:
        """What this epoch's training and its validation, if it has one, logged."""
        validated = self._validated == trainer.current_epoch
        return {
            name: float(value)
            for name, value in trainer.callback_metrics.items()
            if validated or not name.startswith("val/")
        }


class RowBeforeCheckpoint(OwnMetrics):
    """Completes an epoch's row before the epoch's last checkpoint is written.

    Lightning logs the training metrics afterwards: a run killed in between would resume without them.
    """

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Log what the epoch has; callbacks that write checkpoints run after all others."""
        for logger in trainer.loggers:
            if isinstance(logger, EpochTable):
                logger.log_metrics(self.metrics(trainer) | {"epoch": trainer.current_epoch})
