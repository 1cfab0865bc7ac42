"""Import paths in configurations: what moved keeps its first name in study hashes and still loads from old files.

A study's hash and every saved configuration and checkpoint hold import paths. A class that moves to another module gets
a line in :data:`MOVED`; then finished runs keep their hashes, and old files build the class at its new place.
"""

from collections.abc import Callable
from typing import Any

MOVED = {
    "rsna_det.data.augmentation.Augmentation": "rsna_det.data.augmentation.presets.Augmentation",
    "rsna_det.data.synthetic_datamodule.SyntheticDataModule": "rsna_det.data.synthetic.datamodule.SyntheticDataModule",
    "rsna_det.tracking.wandb_logger": "rsna_det.runs.tracking.wandb_logger",
}
"""First import path -> today's."""

_FIRST = {today: first for first, today in MOVED.items()}


def with_todays_targets(node: Any) -> Any:  # noqa: ANN401
    """A plain container whose ``_target_`` values are import paths that exist today."""
    return _with_targets(node, todays_target)


def todays_target(target: str) -> str:
    """The import path where a target is today."""
    return MOVED.get(target, target)


def first_target(target: str) -> str:
    """The import path under which a target was first published: the one that hashes hold."""
    return _FIRST.get(target, target)


def _with_targets(node: Any, rename: Callable[[str], str]) -> Any:  # noqa: ANN401
    if isinstance(node, dict):
        return {
            key: rename(value) if key == "_target_" and isinstance(value, str) else _with_targets(value, rename)
            for key, value in node.items()
        }
    return [_with_targets(item, rename) for item in node] if isinstance(node, list) else node
