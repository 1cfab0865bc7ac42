"""Seconds from the start of the data to the first batch, on a warm cache of as many radiographs as the challenge has.

The radiographs are links to one file and the cache's pixels a hole in a sparse file: what is measured is finding files,
reading index and labels, checking, and making folds.
"""

import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from rsna_det.config.compose import build, compose_config
from rsna_det.data.cache.array_file import cache_bytes, header
from rsna_det.data.cache.index import INDEX_FILE, PIXELS_FILE, Entry, cache_folder, digest, find_sources, write_index
from rsna_det.data.layout import CLASS_CSV, IMAGES_DIR, LABELS_CSV
from rsna_det.data.synthetic.writing import write_synthetic

IMAGES = 26_684
SIDE = 512
SOURCE_SIDE = 64
CLASSES = ("Lung Opacity", "Normal", "No Lung Opacity / Not Normal")


def seconds_to_first_batch(*, images: int = IMAGES, workers: int = 2) -> dict[str, float]:
    """Seconds of each stage, and of all: building the data module, setup, the first batch.

    Args:
        images: radiographs of the simulated challenge.
        workers: processes that load.
    """
    with tempfile.TemporaryDirectory() as name:
        root = simulated_challenge(Path(name), images=images)
        simulated_cache(root, cache_dir=Path(name) / "cache")
        return _timed(root, cache_dir=Path(name) / "cache", workers=workers)


def simulated_challenge(folder: Path, *, images: int) -> Path:
    """A folder in the challenge's layout: labels of so many images, and files that are links to one."""
    write_synthetic(root=folder / "one", num_images=4, side=SOURCE_SIDE, seed=0)
    one = next((folder / "one" / IMAGES_DIR).glob("*.dcm"))
    root = folder / "challenge"
    (root / IMAGES_DIR).mkdir(parents=True)
    ids = [f"{number:08d}-simulated" for number in range(images)]
    for image_id in ids:
        (root / IMAGES_DIR / f"{image_id}.dcm").symlink_to(one)
    kinds = np.random.default_rng(0).choice(3, size=images, p=(0.225, 0.332, 0.443))
    rows = pd.DataFrame({"patientId": ids, "kind": kinds})
    # A positive has two boxes.
    rows = rows.loc[rows.index.repeat(np.where(kinds == 0, 2, 1))]
    second = rows.index.duplicated()
    box = rows["kind"] == 0
    rows = rows.assign(x=np.where(second, 40.0, 8.0), y=10.0, width=16.0, height=24.0, Target=box.astype(int))
    rows.loc[~box, ["x", "y", "width", "height"]] = np.nan
    columns = ["patientId", "x", "y", "width", "height", "Target"]
    rows[columns].to_csv(root / LABELS_CSV, index=False)
    classes = rows.assign(**{"class": rows["kind"].map(dict(enumerate(CLASSES)))})
    classes[["patientId", "class"]].to_csv(root / CLASS_CSV, index=False)
    return root


def simulated_cache(root: Path, *, cache_dir: Path) -> None:
    """A finished cache of the radiographs below ``root``, all of them black."""
    sources = find_sources(root)
    folder = cache_folder(root=root, cache_dir=cache_dir, side=SIDE, sources=sources)
    folder.mkdir(parents=True)
    with (folder / PIXELS_FILE).open("wb") as file:
        file.write(header(num_images=len(sources), side=SIDE))
        file.truncate(cache_bytes(num_images=len(sources), side=SIDE))
    content, black = digest(sources[0].path), zlib.crc32(bytes(SIDE * SIDE))
    entries = [
        Entry(
            image_id=source.image_id,
            row=row,
            height=SOURCE_SIDE,
            width=SOURCE_SIDE,
            file_size=source.file_size,
            mtime_ns=source.mtime_ns,
            digest=content,
            pixels_crc32=black,
        )
        for row, source in enumerate(sources)
    ]
    write_index(folder / INDEX_FILE, entries)


def _timed(root: Path, *, cache_dir: Path, workers: int) -> dict[str, float]:
    options = [f"data.root={root}", f"data.cache_dir={cache_dir}", f"data.num_workers={workers}"]
    config = compose_config("train", options)
    times: dict[str, float] = {}

    def timed(what: str, work: Callable[[], object]) -> object:
        started = time.perf_counter()
        result = work()
        times[what] = time.perf_counter() - started
        return result

    augmentation = build(config.augmentation)
    data = timed("build", lambda: build(config.data, augmentation=augmentation))
    timed("setup", data.setup)  # type: ignore[attr-defined]
    timed("plan", data.plan)  # type: ignore[attr-defined]
    timed("boxes", lambda: data.train_boxes)  # type: ignore[attr-defined]
    timed("first batch", lambda: next(iter(data.train_dataloader())))  # type: ignore[attr-defined]
    return times | {"all": sum(times.values())}
