"""Samples per second from the cache against decoding every time."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import pandas as pd

from benchmarks.measure import alternating_medians
from rsna_det.config.compose import build, compose_config
from rsna_det.data.cache.building import build_cache
from rsna_det.data.cache.pixels import DicomSource, PixelCache
from rsna_det.data.dataset import RadiographDataset
from rsna_det.data.dicom.reading import find_dicoms
from rsna_det.data.labels.reading import read_labels
from rsna_det.data.layout import IMAGES_DIR
from rsna_det.data.synthetic.writing import write_synthetic

IMAGES = 24
IMAGE_SIZE = 512


def samples_per_second(*, repeats: int) -> dict[str, tuple[float, float]]:
    """For each augmentation set: samples a second from the cache and straight from DICOM, in one thread."""
    cv2.setNumThreads(0)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "drawn"
        write_synthetic(root=root, num_images=IMAGES, side=1024, seed=0)
        cache = build_cache(root=root, cache_dir=Path(folder), side=IMAGE_SIZE, workers=1)
        dicom = DicomSource(paths=find_dicoms(root / IMAGES_DIR), side=IMAGE_SIZE)
        images = read_labels(root=root, sizes=cache.sizes).assign(fold=0)
        rates = {name: _rates(name, images, (cache, dicom), repeats) for name in ("none", "heavy")}
        return {name: (cached, decoded) for name, (cached, decoded) in rates.items()}


def _rates(
    name: str, images: pd.DataFrame, sources: Sequence[PixelCache | DicomSource], repeats: int
) -> tuple[float, ...]:
    """Samples a second from each source."""
    augmentation = build(compose_config("train", [f"augmentation={name}"]).augmentation)
    datasets = [
        RadiographDataset(images=images, pixels=source, image_size=IMAGE_SIZE, augmentation=augmentation)
        for source in sources
    ]
    works = [lambda d=dataset: [d[(i, i)] for i in range(IMAGES)] for dataset in datasets]
    return tuple(IMAGES / seconds for seconds in alternating_medians(works, repeats=repeats))


def milliseconds_a_sample(*, repeats: int, name: str = "heavy_customrot") -> float:
    """Milliseconds of one cached, augmented sample with its boxes, in one thread.

    Args:
        repeats: measured runs over all images.
        name: of the augmentation set.
    """
    cv2.setNumThreads(0)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "drawn"
        write_synthetic(root=root, num_images=IMAGES, side=1024, seed=0)
        cache = build_cache(root=root, cache_dir=Path(folder), side=IMAGE_SIZE, workers=1)
        images = read_labels(root=root, sizes=cache.sizes).assign(fold=0)
        (rate,) = _rates(name, images, (cache,), repeats)
        return 1000 / rate
