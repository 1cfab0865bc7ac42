"""The tables of a run: what is written is read back, whole or not at all."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

from rsna_det.errors import DataError, MissingFileError
from rsna_det.evaluation.tables import (
    CANDIDATES_SCHEMA,
    IMAGES_SCHEMA,
    TRUTH_SCHEMA,
    RunTables,
    candidates_table,
    images_table,
    read_table,
    truth_table,
    write_table,
)
from rsna_det.structures import Candidates


def two_images() -> Candidates:
    """Two candidates in the first image, none in the second."""
    return Candidates(
        boxes=torch.tensor([[[1.0, 2, 3, 4], [5, 6, 7, 8.1]], [[0, 0, 0, 0], [0, 0, 0, 0]]]),
        scores=torch.tensor([[0.9, 0.1], [0, 0]]),
        mask=torch.tensor([[True, True], [False, False]]),
        counts_before_cap=torch.tensor([2, 0]),
    )


def test_candidates_come_back_bit_for_bit(tmp_path: Path) -> None:
    path = tmp_path / "new" / "epoch_00.candidates.parquet"
    write_table(candidates_table(image_ids=["b", "a"], batch=two_images()), path)
    frame = read_table(path, CANDIDATES_SCHEMA)
    assert frame["image_id"].tolist() == ["b", "b"]
    assert frame["y2"].to_numpy(np.float32).tolist() == np.float32([4, 8.1]).tolist()
    assert frame["score"].to_numpy(np.float32).tolist() == np.float32([0.9, 0.1]).tolist()


def test_an_epoch_without_any_candidate_is_a_table_without_rows(tmp_path: Path) -> None:
    nothing = Candidates(
        boxes=torch.zeros(1, 0, 4),
        scores=torch.zeros(1, 0),
        mask=torch.zeros(1, 0, dtype=torch.bool),
        counts_before_cap=torch.zeros(1, dtype=torch.long),
    )
    write_table(candidates_table(image_ids=["a"], batch=nothing), tmp_path / "t.parquet")
    assert len(read_table(tmp_path / "t.parquet", CANDIDATES_SCHEMA)) == 0


def test_probabilities_keep_the_order_of_the_categories(tmp_path: Path) -> None:
    probabilities = torch.tensor([[0.2, 0.3, 0.5], [0.6, 0.3, 0.1]])
    table = images_table(image_ids=["b", "a"], batch=two_images(), probabilities=probabilities)
    write_table(table, tmp_path / "t.parquet")
    frame = read_table(tmp_path / "t.parquet", IMAGES_SCHEMA).set_index("image_id")
    # The network's order: abnormal, normal, opacity.
    assert frame.loc["b", ["p_abnormal", "p_normal", "p_opacity"]].tolist() == pytest.approx([0.2, 0.3, 0.5])
    assert frame.loc["b", "candidates_before_cap"] == 2


def test_a_model_without_the_global_head_has_no_probabilities() -> None:
    table = images_table(image_ids=["b", "a"], batch=two_images(), probabilities=None)
    assert table["p_opacity"].null_count == 2


def test_the_truth_names_each_images_role(tmp_path: Path) -> None:
    box = np.float32([[1, 2, 30, 40]])
    images = pd.DataFrame(
        {
            "image_id": ["a", "b", "c"],
            "true_patient": ["p", "p", "q"],
            "fold": [1, 0, -1],
            "category": [2, 1, 0],
            "width": 64,
            "height": 48,
            "boxes": [box, box[:0], box[:0]],
        }
    )
    write_table(truth_table(images, val_fold=1), tmp_path / "truth.parquet")
    frame = read_table(tmp_path / "truth.parquet", TRUTH_SCHEMA)
    assert frame["role"].tolist() == ["val", "train", "test"]
    assert np.stack(frame["boxes"][0]).tolist() == box.tolist()
    assert len(frame["boxes"][1]) == 0


def test_a_missing_damaged_or_foreign_table_is_named(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    with pytest.raises(MissingFileError, match=r"t\.parquet"):
        read_table(path, IMAGES_SCHEMA)
    path.write_bytes(b"PAR1 but no more")
    with pytest.raises(DataError, match=r"t\.parquet is not a readable Parquet file"):
        read_table(path, IMAGES_SCHEMA)
    write_table(candidates_table(image_ids=["b", "a"], batch=two_images()), path)
    with pytest.raises(DataError, match=r"lacks the columns.*p_opacity"):
        read_table(path, IMAGES_SCHEMA)


def test_a_full_disk_leaves_the_old_table_and_no_rubbish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.parquet"
    table = candidates_table(image_ids=["b", "a"], batch=two_images())
    write_table(table, path)
    before = path.read_bytes()

    def fail(_: object, partial: Path, **__: object) -> None:
        partial.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq, "write_table", fail)
    with pytest.raises(OSError, match=r"t\.parquet could not be written.*No space left.*resume=last"):
        write_table(table, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_the_tables_of_a_run_are_written_and_read_by_their_epochs(tmp_path: Path) -> None:
    tables = RunTables(tmp_path / "new")
    assert (tables.epochs, tables.paths) == ((), ())
    candidates = candidates_table(image_ids=["b", "a"], batch=two_images())
    images = images_table(image_ids=["b", "a"], batch=two_images(), probabilities=None)
    for epoch in (11, 2):
        tables.write_epoch(epoch, candidates=candidates, images=images)
    assert tables.epochs == (2, 11)
    assert [path.name for path in tables.paths] == [
        f"epoch_{epoch}.{kind}.parquet" for epoch in ("02", "11") for kind in ("candidates", "images")
    ]
    assert tables.candidates(2)["score"].to_numpy(np.float32).tolist() == np.float32([0.9, 0.1]).tolist()
    assert tables.images(11)["candidates_before_cap"].tolist() == [2, 0]
    tables.images_path(2).unlink()
    assert tables.epochs == (11,)
    with pytest.raises(MissingFileError, match=r"truth\.parquet"):
        tables.truth()
