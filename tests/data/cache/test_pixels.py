"""Sources of pixels: the cache and the files give the same."""

import pickle
import shutil
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest

from rsna_det.data.cache.building import build_cache
from rsna_det.data.cache.index import find_sources
from rsna_det.data.cache.pixels import DicomSource, PixelSource
from rsna_det.data.dicom.reading import find_dicoms
from rsna_det.data.layout import IMAGES_DIR
from rsna_det.errors import MissingFileError
from tests.data.cache.folders import build, files_of, write_oblong


def test_cache_and_files_give_the_same_pixels(root: Path, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, size=(40, 60), dtype=np.uint8)
    write_oblong(files_of(root)[3], pixels)
    cache: PixelSource = build(root, tmp_path)
    files: PixelSource = DicomSource(paths=find_dicoms(root / IMAGES_DIR), side=32)
    assert cache.sizes == files.sizes
    assert cache.sizes[files_of(root)[3].stem] == (40, 60)
    assert cache.side == files.side == 32
    assert len(cache.sizes) == 10
    for image_id in files.sizes:
        np.testing.assert_array_equal(cache.read(image_id), files.read(image_id))
    # The oblong one, 40 high and 60 wide, fills 32 * 40 / 60 = 21.3 rows.
    assert cache.read(files_of(root)[3].stem)[22:].max() == 0
    assert cache.read(files_of(root)[3].stem)[:21].min(axis=1).max() > 0


def test_reads_are_read_only_views(root: Path, tmp_path: Path) -> None:
    cache = build(root, tmp_path)
    image_id = files_of(root)[0].stem
    view = cache.read(image_id)
    assert (view.shape, view.dtype, view.flags.writeable, view.flags.owndata) == ((32, 32), np.uint8, False, False)
    assert image_id in cache
    assert "nobody" not in cache
    with pytest.raises(KeyError, match=r"no image 'nobody' among 10"):
        cache.read("nobody")
    with pytest.raises(KeyError, match="no DICOM file for image 'nobody' among 0"):
        DicomSource(paths={}, side=32).read("nobody")


def test_a_worker_gets_the_cache_without_its_pixels(root: Path, tmp_path: Path) -> None:
    cache = build(root, tmp_path)
    before = {image_id: cache.read(image_id).copy() for image_id in cache.sizes}
    content = pickle.dumps(cache)
    assert len(content) < 10 * 200 < 10 * 32 * 32
    copy = pickle.loads(content)  # noqa: S301 (our own bytes)
    for image_id, pixels in before.items():
        np.testing.assert_array_equal(copy.read(image_id), pixels)


def test_real_radiographs(real_data: Path, tmp_path: Path) -> None:
    root = tmp_path / "real"
    (root / IMAGES_DIR).mkdir(parents=True)
    for path in sorted((real_data / IMAGES_DIR).iterdir())[:4]:
        (root / IMAGES_DIR / path.name).symlink_to(path)
    cache = build_cache(root=root, cache_dir=tmp_path / "cache", side=256, workers=1)
    assert len(find_sources(root)) == 4
    for path in files_of(root):
        frame = next(pydicom.encaps.generate_frames(pydicom.dcmread(path).PixelData, number_of_frames=1))
        plain = cv2.imdecode(np.frombuffer(frame, np.uint8), cv2.IMREAD_GRAYSCALE)
        expected = plain.reshape(256, 4, 256, 4).mean(axis=(1, 3))
        assert np.abs(cache.read(path.stem) - expected).max() <= 0.51
        assert cache.sizes[path.stem] == (1024, 1024)


def test_a_cache_that_was_removed_is_named(root: Path, tmp_path: Path) -> None:
    cache = build(root, tmp_path)
    shutil.rmtree(cache.file.parent)
    with pytest.raises(
        MissingFileError, match=r"pixels\.npy: there is no such file; the cache was removed: run .*prepare"
    ):
        cache.read(files_of(root)[0].stem)
