"""The data of a run in a few hashes: two runs with the same ones saw the same images, labels and folds."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from rsna_det.data.cache.index import digest, find_sources
from rsna_det.data.layout import CLASS_CSV, LABELS_CSV


def fingerprint(*, root: Path, images: pd.DataFrame, tables: Mapping[str, Path | None]) -> dict[str, str | int]:
    """Hashes of the label tables, of the images' names and sizes, and of which image is in which fold.

    Args:
        root: folder in the challenge's layout.
        images: with the columns ``image_id`` and ``fold``.
        tables: further files that the run's images depend on, by name; None for none.

    Raises:
        MissingFileError, StorageError: a file cannot be read.
    """
    sources = [[source.image_id, source.file_size] for source in find_sources(root)]
    folds = sorted(zip(images["image_id"].astype(str), images["fold"].astype(int).tolist(), strict=True))
    found: dict[str, str | int] = {"images": len(sources), "image_files": _hash(sources), "folds": _hash(folds)}
    found |= {name: digest(root / name) for name in (LABELS_CSV, CLASS_CSV)}
    return found | {name: digest(path) for name, path in tables.items() if path is not None}


def _hash(value: object) -> str:
    return hashlib.blake2b(json.dumps(value).encode(), digest_size=20).hexdigest()
