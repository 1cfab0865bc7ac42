"""A disk that fills up at any write of a run: file and remedy are named, and the first error is the one told."""

import errno
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rsna_det.drawing.boxes import BoxedImage
from rsna_det.errors import StorageError
from rsna_det.runs import session
from rsna_det.runs.folder import RunFolder
from rsna_det.runs.resume import saved_run
from rsna_det.runs.session import run
from rsna_det.structures import Detections
from rsna_det.studies.worker import RunFailedError, work_on
from rsna_det.training.callbacks import DetectionImages
from tests.short_runs import TRAINING_WARNINGS, composed, options_of

pytestmark = TRAINING_WARNINGS

FILES = ["epoch_00.candidates.parquet", "epoch_00.png", "last.ckpt", "result.json"]


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """From the first rename to a file of that name on, no rename succeeds."""

    def fill(*names: str) -> None:
        is_full = False
        replace = Path.replace

        def refused(self: Path, target: Path) -> Path:
            nonlocal is_full
            is_full = is_full or Path(target).name in names
            if is_full:
                raise OSError(errno.ENOSPC, "No space left on device")
            return replace(self, target)

        monkeypatch.setattr(Path, "replace", refused)

    return fill


@pytest.mark.parametrize("name", FILES)
def test_the_file_and_the_remedy_are_named_and_resuming_ends_the_run(
    name: str, full: Callable[..., None], synthetic_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    options = options_of(synthetic_root, folder, "callbacks=default", "callbacks.images.count=1")
    full(name)
    with pytest.raises(StorageError, match=rf"{name} could not be written .*No space left on device.*: "):
        run(options)
    monkeypatch.undo()
    last = RunFolder(folder).last_checkpoint
    run(saved_run([f"resume={folder}"]) if last.is_file() else options, checkpoint=last if last.is_file() else None)
    assert json.loads((folder / "result.json").read_text())["metrics"]["val/map"] >= 0
    assert not list(folder.rglob("*.partial"))


def test_the_first_error_is_told(
    full: Callable[..., None], synthetic_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record of how the run ended cannot be written either, nor can the study's."""

    def fail(*_: object, **__: object) -> None:
        full("provenance.json", "config.yaml", "failed.txt")
        raise ZeroDivisionError("the first error")

    monkeypatch.setattr(session, "_fit", fail)
    with pytest.raises(ZeroDivisionError, match="the first error"):
        run(options_of(synthetic_root, tmp_path / "run"))
    monkeypatch.undo()
    config = composed(synthetic_root, tmp_path / "cell", "sweep=negatives")
    with pytest.raises(RunFailedError, match="the first error"):
        work_on(config, overrides=[], train=fail)
    assert not (tmp_path / "cell" / "failed.txt").exists()


def test_a_picture_that_cannot_be_written_leaves_no_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(self: object, file: Path, **_: object) -> None:
        Path(file).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", half)
    images = DetectionImages(folder=str(tmp_path), count=1, columns=1, side=16)
    none = Detections(boxes=torch.zeros(0, 4), scores=torch.zeros(0))
    shown = BoxedImage(
        image=np.zeros((16, 16), dtype=np.uint8), detections=none, truths=np.zeros((0, 4), np.float32), caption="none"
    )
    with pytest.raises(StorageError, match=r"epoch_00\.png could not be written"):
        images._write_sheet([shown], tmp_path / "epoch_00.png")
    assert list(tmp_path.iterdir()) == []
