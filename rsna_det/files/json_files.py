"""JSON that this package wrote, read back: what is damaged is named."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def read_object(path: Path, *, needed: Sequence[str], remedy: str) -> dict[str, Any]:
    """An object of a JSON file.

    Args:
        path: of the file.
        needed: keys that it must have, one or more.
        remedy: what to do if it is damaged.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is no JSON, no object, or lacks a key; the message names the file and the remedy.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}): {remedy}") from error
    lacking = [name for name in needed if not isinstance(found, dict) or name not in found]
    if lacking:
        raise ValueError(f"{path} is damaged (it lacks {', '.join(lacking)}): {remedy}")
    return dict(found)
