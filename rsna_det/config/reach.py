"""What of a saved configuration would reach beyond the run's folder: write elsewhere, send or fetch something.

Reading the data from where they lay at the first start is no reach, nor are the encoder's first weights: a run that
goes on has its own.
"""

import re
from collections.abc import Mapping
from pathlib import PurePath

RUN = "<run folder>"
"""Stands for the run's folder in the values looked at."""

_PLACES = ("dirpath", "folder", "path", "run_dir", "default_root_dir", "save_dir", "dir", "log_dir")
# Texts that may look like paths, and of which no file's name is made.
_FREE_TEXTS = ("monitor", "tags", "always", "group", "job_type")
_HAS_FOLDER = re.compile(r"[/\\]|^~|^\.\.$")
# What Lightning fills in is a metric's name and a short format; of attributes and items it would make texts.
_FILE_NAME = re.compile(r"(?!\.)(?:[\w=.+ -]|\{[A-Za-z][\w/-]*(?::0?\d{0,2}(?:\.\d{1,2})?[a-z%]?)?\}){1,255}", re.ASCII)
_DESTINATION = {"entity": (None,), "project": ("rsna-det",)}
_NOTHING = (None, False)


def beyond_run(key: str, filled: Mapping[str, object]) -> str | None:
    """What is wrong with a value, as the end of a sentence; None for nothing.

    Args:
        key: dotted.
        filled: all values by dotted key, placeholders filled in, with :data:`RUN` as the run's folder.
    """
    head, *below = key.split(".")
    if not below or head == "paths" or (head in ("data", "encoder") and len(below) == 1):
        return None
    value = filled[key]
    name = next((part for part in reversed(below) if not part.isdigit()), head)
    if name in ("pretrained", "weights"):
        return None if value in _NOTHING else "which would be fetched or opened"
    if name == "filename":
        plain = value is None or (isinstance(value, str) and _FILE_NAME.fullmatch(value))
        return None if plain else "which is no plain name of a file in the run's folder"
    if name in _PLACES or (isinstance(value, str) and name not in _FREE_TEXTS and _HAS_FOLDER.search(value)):
        return None if _is_within_run(value) else "outside the run's folder"
    return _sent(key, name, filled)


def _sent(key: str, name: str, filled: Mapping[str, object]) -> str | None:
    """W&B sends in one mode only; to whom is nobody's matter in the others."""
    mode = filled.get(f"{key.rpartition('.')[0]}.mode")
    if mode != "online":
        return None
    if name == "mode":
        return "which sends the run to a server"
    return "to which the run would be sent" if filled[key] not in _DESTINATION.get(name, (filled[key],)) else None


def _is_within_run(value: object) -> bool:
    if value is None:
        return True
    parts = PurePath(str(value)).parts
    return parts[:1] == (RUN,) and ".." not in parts
