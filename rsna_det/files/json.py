"""JSON files that this package wrote, read back; a damaged one is named."""

import json
from pathlib import Path
from typing import Any

from rsna_det.errors import DataError
from rsna_det.files.reading import readable


def read_object(path: Path, *, remedy: str) -> dict[str, Any]:
    """The object in a JSON file.

    Args:
        path: of the file.
        remedy: what to do if it is damaged.

    Raises:
        MissingFileError, StorageError: if it cannot be read.
        DataError: if it is no JSON, or no object; the message names the file and the remedy.
    """
    try:
        with readable(path):
            found = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is damaged ({error}): {remedy}") from error
    if not isinstance(found, dict):
        raise DataError(f"{path} is damaged (it holds no object): {remedy}")
    return dict(found)
