"""JSON files that this package wrote, read back; a damaged one is named."""

import json
from pathlib import Path
from typing import Any

from rsna_det.errors import DataError
from rsna_det.files.reading import bounded_bytes

LARGEST = 2**28
"""Bytes of a file that is read; a part of a prediction has a line for each image."""


def read_object(path: Path, *, remedy: str) -> dict[str, Any]:
    """The object in a JSON file.

    Args:
        path: of the file.
        remedy: what to do if it is damaged.

    Raises:
        MissingFileError, StorageError: if it cannot be read.
        DataError: if it is no JSON, or no object; the message names the file and the remedy.
    """
    content = bounded_bytes(path, largest=LARGEST, remedy=remedy)
    try:
        found = json.loads(content.decode("utf-8"), object_pairs_hook=_once)
    # A ValueError of whatever is no JSON or UTF-8, and of a whole number with thousands of digits.
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is damaged ({' '.join(str(error).split())}): {remedy}") from error
    if not isinstance(found, dict):
        raise DataError(f"{path} is damaged (it holds no object): {remedy}")
    return dict(found)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key occurs twice")
    return found
