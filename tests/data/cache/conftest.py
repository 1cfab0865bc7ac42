"""Radiographs that a test may change, and a record of what is decoded."""

import shutil
from pathlib import Path

import pytest

from rsna_det.data.cache import decoding_pool
from rsna_det.data.cache.decoding_pool import DecodingTask, decode
from rsna_det.data.layout import IMAGES_DIR


@pytest.fixture
def root(tmp_path: Path, synthetic_root: Path) -> Path:
    """Ten small radiographs that a test may change."""
    folder = tmp_path / "challenge"
    (folder / IMAGES_DIR).mkdir(parents=True)
    for path in sorted((synthetic_root / IMAGES_DIR).iterdir())[:10]:
        shutil.copy2(path, folder / IMAGES_DIR)
    return folder


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of the images that are decoded from now on, in this process."""
    ids: list[str] = []

    def spy(task: DecodingTask) -> object:
        ids.append(task.source.image_id)
        return decode(task)

    monkeypatch.setattr(decoding_pool, "decode", spy)
    return ids
