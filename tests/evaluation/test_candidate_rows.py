"""Candidates of some images out of an epoch's table, and tables damaged on the disk."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from rsna_det.errors import DataError
from rsna_det.evaluation.candidate_rows import candidate_rows
from rsna_det.evaluation.tables import CANDIDATES_SCHEMA, read_table, write_table


def frame(entries: Sequence[tuple[str, float]]) -> pd.DataFrame:
    """Rows of a candidates table: the box of row i starts at x = i."""
    corners = {"x1": range(len(entries)), "y1": 0, "x2": [i + 1 for i in range(len(entries))], "y2": 1}
    table = pd.DataFrame({"image_id": [name for name, _ in entries], **corners, "score": [s for _, s in entries]})
    return table.astype({"image_id": "category", **dict.fromkeys(["x1", "y1", "x2", "y2", "score"], "float32")})


@pytest.mark.parametrize("entries", [[("b", 0.5), ("b", 0.5), ("a", 1.0), ("a", 0.25)], [], [("z", 0.5), ("z", 0.75)]])
def test_candidates_in_the_images_order(entries: list[tuple[str, float]]) -> None:
    names = ["a", "none", "b"]
    found = candidate_rows(frame(entries), names)
    assert len(found) == 3
    for name, (boxes, scores) in zip(names, found, strict=True):
        assert scores.tolist() == [score for entry, score in entries if entry == name]
        assert boxes[:, 0].tolist() == [row for row, (entry, _) in enumerate(entries) if entry == name]
    assert len(candidate_rows(frame(entries), [])) == 0


def test_rows_of_several_images_may_be_mixed() -> None:
    found = candidate_rows(frame([("a", 0.9), ("b", 1.0), ("a", 0.5), ("b", 0.25)]), ["b", "a"])
    assert [boxes[:, 0].tolist() for boxes, _ in found] == [[1, 3], [0, 2]]


@pytest.mark.parametrize("entries", [[("a", 0.5), ("a", 0.75)], [("b", 1.0), ("a", 0.5), ("b", 0.25), ("a", 0.75)]])
def test_rows_out_of_order_are_refused(entries: list[tuple[str, float]]) -> None:
    with pytest.raises(DataError, match="candidates of a are not sorted"):
        candidate_rows(frame(entries), ["b", "a"])


def test_a_table_damaged_anywhere_is_named_or_read(tmp_path: Path) -> None:
    path = tmp_path / "epoch_00.candidates.parquet"
    rows = frame([("a", 0.9), ("a", 0.5), ("b", 1.0)])
    write_table(pa.Table.from_pandas(rows, schema=CANDIDATES_SCHEMA, preserve_index=False), path)
    whole, wrong = path.read_bytes(), {}
    for start in range(4, len(whole), len(whole) // 40):
        path.write_bytes(whole[:start] + bytes(255 - byte for byte in whole[start : start + 8]) + whole[start + 8 :])
        try:
            read_table(path, CANDIDATES_SCHEMA)
        except Exception as error:  # noqa: BLE001
            if not isinstance(error, ValueError) or path.name not in str(error):
                wrong[start] = repr(error)
    assert not wrong
