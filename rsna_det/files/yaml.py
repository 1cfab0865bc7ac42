"""YAML files that this package wrote, read back as plain data; a damaged one is named."""

from pathlib import Path
from typing import Any

import yaml

from rsna_det.errors import DataError
from rsna_det.files.reading import bounded_bytes

LARGEST = 2**22
_DEEPEST = 50
# Beside its own errors, PyYAML lets through whatever its constructors raise on a date or number that is none.
_UNREADABLE = (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)


def read_mapping(path: Path, *, remedy: str) -> dict[str, Any]:
    """The mapping in a YAML file.

    Args:
        path: of the file.
        remedy: what to do if it is damaged.

    Raises:
        MissingFileError, StorageError: if it cannot be read.
        DataError: if it is no YAML, no mapping of names, or makes itself larger by aliases; naming file and remedy.
    """
    try:
        found = yaml.safe_load(plain_text(path, remedy=remedy))
    except _UNREADABLE as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} is damaged ({_on_one_line(error)}): {remedy}") from error
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise DataError(f"{path} is damaged (it holds no mapping of names): {remedy}")
    return found


def plain_text(path: Path, *, remedy: str) -> str:
    """The text of a YAML file without aliases, deep nesting and tags, which a loader would run or expand.

    Raises:
        MissingFileError, StorageError: if it cannot be read.
        DataError: otherwise; naming the file and the remedy.
    """
    content = bounded_bytes(path, largest=LARGEST, remedy=remedy)
    try:
        text = content.decode("utf-8")
        problem = _odd_event(text)
    except _UNREADABLE as error:
        problem = _on_one_line(error)
    if problem is not None:
        raise DataError(f"{path} is damaged ({problem}): {remedy}")
    return text


def _odd_event(text: str) -> str | None:
    """What a file of plain data does not have."""
    depth = 0
    for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            return f"it is nested more than {_DEEPEST} deep"
        if isinstance(event, yaml.AliasEvent):
            return "it holds an alias"
        if getattr(event, "tag", None) is not None:
            return f"it holds the tag {str(getattr(event, 'tag', ''))[:50]}"
    return None


def _on_one_line(error: Exception) -> str:
    return " ".join((str(error) or type(error).__name__).split())[:300]
