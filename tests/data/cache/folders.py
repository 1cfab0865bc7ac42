"""Building and opening caches of small folders, and changing their files."""

import os
from pathlib import Path

import numpy as np
import pydicom

from rsna_det.data.cache.building import build_cache
from rsna_det.data.cache.opening import open_cache
from rsna_det.data.cache.pixels import PixelCache
from rsna_det.data.layout import IMAGES_DIR


def build(root: Path, tmp_path: Path, **options: object) -> PixelCache:
    return build_cache(**({"root": root, "cache_dir": tmp_path / "cache", "side": 32, "workers": 1} | options))


def opened(root: Path, tmp_path: Path) -> PixelCache | None:
    return open_cache(root=root, cache_dir=tmp_path / "cache", side=32)


def files_of(root: Path) -> list[Path]:
    return sorted((root / IMAGES_DIR).iterdir())


def partial_of(tmp_path: Path) -> Path:
    return next((tmp_path / "cache").glob("*.partial"))


def write_oblong(path: Path, pixels: np.ndarray) -> None:
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.PixelData = pixels.tobytes()
    dataset.save_as(path)


def change(path: Path) -> None:
    """Other content of the same size: the last byte of the patient's sex."""
    content = bytearray(path.read_bytes())
    place = content.index(b"CHEST")
    content[place : place + 5] = b"TORSO"
    path.write_bytes(content)
    os.utime(path, ns=(1, 1))
