"""A checkpoint is whole or not there."""

from pathlib import Path

import pytest
import torch

from rsna_det.training.checkpoint_io import AtomicCheckpointIO


def test_what_is_written_is_read_back_and_nothing_else_stays(tmp_path: Path) -> None:
    path = tmp_path / "new" / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"epoch": 3}, path)
    assert torch.load(path, weights_only=True) == {"epoch": 3}
    assert [p.name for p in path.parent.iterdir()] == ["last.ckpt"]


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), RuntimeError("file write failed")])
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
