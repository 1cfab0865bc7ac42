"""A checkpoint is whole or not there."""

from pathlib import Path
from unittest.mock import Mock

import pytest
import torch

from rsna_det.errors import DataError, MissingFileError
from rsna_det.training.checkpoint_io import AtomicCheckpointIO, read_checkpoint


def test_what_is_written_is_read_back_and_nothing_else_stays(tmp_path: Path) -> None:
    path = tmp_path / "new" / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"epoch": 3}, path)
    assert torch.load(path, weights_only=True) == {"epoch": 3}
    assert [p.name for p in path.parent.iterdir()] == ["last.ckpt"]


@pytest.mark.parametrize(
    "failure",
    [
        OSError(28, "No space left on device"),
        # As torch says it where the disk is full.
        RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 704 vs 598"),
    ],
)
def test_a_full_disk_keeps_the_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"epoch": 3}, path)

    def fail(_: object, partial: Path) -> None:
        partial.write_bytes(b"half")
        raise failure

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match=r"last\.ckpt could not be written.*resume=last"):
        AtomicCheckpointIO().save_checkpoint({"epoch": 4}, path)
    assert torch.load(path, weights_only=True) == {"epoch": 3}
    assert list(tmp_path.iterdir()) == [path]


def test_another_error_of_torch_is_not_called_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "save", Mock(side_effect=RuntimeError("CUDA error: an illegal memory access")))
    with pytest.raises(RuntimeError, match="illegal memory access"):
        AtomicCheckpointIO().save_checkpoint({"epoch": 4}, tmp_path / "last.ckpt")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_checkpoint_is_named_and_nothing_in_it_is_run(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    with pytest.raises(MissingFileError, match=r"last\.ckpt"):
        read_checkpoint(path)
    path.write_text("not a checkpoint")
    with pytest.raises(DataError, match=r"last\.ckpt is not a checkpoint, or it is truncated"):
        read_checkpoint(path)
    torch.save({"epoch": 3}, path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"last\.ckpt is not a checkpoint, or it is truncated"):
        read_checkpoint(path)
    torch.save({"epoch": 3, "path": tmp_path}, path)
    with pytest.raises(DataError, match=r"last\.ckpt holds Python objects"):
        read_checkpoint(path)
    torch.save([1, 2], path)
    with pytest.raises(DataError, match="it holds a list"):
        read_checkpoint(path)
    torch.save({"epoch": 3}, path)
    assert read_checkpoint(path) == {"epoch": 3}
