"""Tables as CSV files and in Markdown."""

from pathlib import Path

import pandas as pd
import pytest

from rsna_det.errors import StorageError
from rsna_det.files.tables import markdown_table, write_csv

TABLE = pd.DataFrame({"fold": ["0", "total"], "mean_map": [0.25, float("nan")], "images": [3.0, 1e6]})


def test_a_csv_has_the_columns_and_no_index(tmp_path: Path) -> None:
    write_csv(TABLE, tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text() == "fold,mean_map,images\n0,0.25,3.0\ntotal,,1000000.0\n"


def test_a_csv_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"nowhere/a\.csv could not be written .*free some space"):
        write_csv(TABLE, tmp_path / "nowhere" / "a.csv")
    assert list(tmp_path.iterdir()) == []


def test_markdown_has_four_places_and_a_dash_for_what_is_missing() -> None:
    assert markdown_table(TABLE) == (
        "| fold | mean map | images |\n| --- | --- | --- |\n| 0 | 0.2500 | 3 |\n| total | - | 1e+06 |"
    )
