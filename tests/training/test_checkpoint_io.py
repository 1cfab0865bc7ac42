"""A checkpoint is whole or not there."""

import random
import zipfile
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


def sealed(path: Path) -> bytes:
    """A checkpoint of a few kilobytes, as training writes it."""
    AtomicCheckpointIO().save_checkpoint({"epoch": 3, "state_dict": {"model.weight": torch.arange(500.0)}}, path)
    return path.read_bytes()


def test_every_bit_that_changes_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    sound = sealed(path)
    chance = random.Random(0)  # noqa: S311
    everywhere = [chance.randrange(8 * len(sound)) for _ in range(200)]
    in_the_end = range(8 * (len(sound) - 120), 8 * len(sound), 7)
    for bit in (*everywhere, *in_the_end):
        damaged = bytearray(sound)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"last\.ckpt is (damaged|not a checkpoint)"):
            read_checkpoint(path)
    path.write_bytes(sound)
    assert read_checkpoint(path)["epoch"] == 3


@pytest.mark.parametrize("cut", [1, 21, 80, 100, 400])
def test_bytes_that_are_missing_or_added_are_noticed(cut: int, tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    sound = sealed(path)
    for damaged in (sound[:-cut], sound[cut:], sound + bytes(cut), sound[:200] + bytes(cut) + sound[200:]):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"last\.ckpt is (damaged|not a checkpoint)"):
            read_checkpoint(path)


def test_one_without_a_digest_is_read_by_its_check_sums(tmp_path: Path) -> None:
    """As they were written before there was one."""
    path = tmp_path / "last.ckpt"
    torch.save({"state_dict": {"model.weight": torch.arange(500.0)}}, path)
    sound = path.read_bytes()
    assert torch.equal(read_checkpoint(path)["state_dict"]["model.weight"], torch.arange(500.0))
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("last/data/0").header_offset + 500
    for byte in range(start, start + 1000, 50):
        path.write_bytes(sound[:byte] + bytes([sound[byte] ^ 4]) + sound[byte + 1 :])
        with pytest.raises(DataError, match=r"last\.ckpt is damaged \(Bad CRC-32"):
            read_checkpoint(path)


def test_the_remedy_names_older_checkpoints_of_the_run(tmp_path: Path) -> None:
    for name in ("epoch_00.ckpt", "last.ckpt"):
        sealed(tmp_path / name)
    (tmp_path / "last.ckpt").write_bytes((tmp_path / "last.ckpt").read_bytes()[:-1])
    with pytest.raises(
        DataError, match=r"use another checkpoint of the run \(epoch_00\.ckpt in the same folder\); to resu"
    ):
        AtomicCheckpointIO().load_checkpoint(tmp_path / "last.ckpt")
