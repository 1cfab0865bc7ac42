"""metrics.csv: one row an epoch, also over a stop."""

from pathlib import Path

import pandas as pd
import pytest

from rsna_det.errors import DataError
from rsna_det.training.epoch_table import EpochTable


def test_what_is_logged_of_an_epoch_ends_in_one_row(tmp_path: Path) -> None:
    table = EpochTable(path=str(tmp_path / "metrics.csv"))
    table.log_metrics({"step_loss": 3.0, "epoch": 0}, step=1)
    table.log_metrics({"val/map": 0.1, "epoch": 0}, step=5)
    table.log_metrics({"train/loss": 2.0, "epoch": 0}, step=5)
    table.log_metrics({"val/map": 0.2, "train/loss": 1.0, "epoch": 1}, step=10)
    written = pd.read_csv(tmp_path / "metrics.csv")
    assert written.columns.tolist() == ["epoch", "step", "train/loss", "val/map"]
    assert written.to_numpy().tolist() == [[0, 5, 2.0, 0.1], [1, 10, 1.0, 0.2]]


def test_a_resumed_run_keeps_finished_epochs_and_drops_later_ones(tmp_path: Path) -> None:
    path = str(tmp_path / "metrics.csv")
    first = EpochTable(path=path)
    for epoch in range(3):
        first.log_metrics({"val/map": 0.1 * epoch, "epoch": epoch}, step=epoch)
    again = EpochTable(path=path, first_epoch=2)
    assert sorted(again.rows) == [0, 1]
    again.log_metrics({"val/map": 0.7, "epoch": 2}, step=2)
    assert pd.read_csv(path)["val/map"].tolist() == [0.0, 0.1, 0.7]


def test_values_without_an_epoch_make_no_row(tmp_path: Path) -> None:
    table = EpochTable(path=str(tmp_path / "metrics.csv"))
    table.log_metrics({"hp_metric": 1.0}, step=0)
    assert not (tmp_path / "metrics.csv").exists()


@pytest.mark.parametrize("text", ["", "step,loss\n1,0.5\n"])
def test_a_damaged_table_is_named_with_the_remedy(text: str, tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=r"metrics\.csv is damaged .*: remove it, and the run resumes"):
        EpochTable(path=str(path), first_epoch=1)
