"""What each option of a training run decides: one table, from which every list of options in the package follows.

A study's hash, the comparison of runs, resuming and the dashboard all ask the same question of an option. The answer
stands here and nowhere else; a test demands a role for every option that a training run can have.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from rsna_det.errors import ConfigError


class Role(Enum):
    """What an option decides."""

    NAME = "what the run is called"
    METHOD = "what is trained on what: runs that differ are of different experiments"
    TRAINING = "how long and in which steps it is trained: runs that differ can be joined, with a warning"
    REPEAT = "which repeat of the same method it is: its fold, its seed"
    SOURCE = "which files are read: their content changes the result, their place does not"
    PLACE = "where files lie"
    MACHINE = "which devices and how many processes work"
    APPEARANCE = "what is logged, drawn and printed"

    @property
    def changes_result(self) -> bool:
        """Whether two runs that differ in such an option can differ in weights or tables."""
        return self in (Role.METHOD, Role.TRAINING, Role.REPEAT, Role.SOURCE)


@dataclass(frozen=True, kw_only=True)
class _Entry:
    role: Role
    is_file: bool = False


def _entries(role: Role, *keys: str, is_file: bool = False) -> dict[str, _Entry]:
    return dict.fromkeys(keys, _Entry(role=role, is_file=is_file))


# An option has the role of the longest key that it equals or lies below.
_ROLES: dict[str, _Entry] = {
    **_entries(Role.NAME, "name", "study"),
    **_entries(Role.METHOD, "encoder", "model", "augmentation", "loss", "decoding", "optimizer", "data"),
    **_entries(Role.METHOD, "encoder.weights", is_file=True),
    **_entries(Role.METHOD, "callbacks.encoder_freeze", "callbacks.average"),
    **_entries(Role.TRAINING, "trainer", "callbacks", "data.batch_size"),
    **_entries(Role.REPEAT, "seed", "data.seed", "data.fold", "callbacks.epoch_seed.seed"),
    **_entries(Role.SOURCE, "data.root"),
    **_entries(Role.SOURCE, "data.patients_csv", "data.folds_csv", "data.test_ids", is_file=True),
    **_entries(Role.PLACE, "run_dir", "resume", "paths", "data.cache_dir"),
    **_entries(Role.MACHINE, "data.num_workers", "trainer.accelerator", "trainer.devices", "trainer.num_nodes"),
    **_entries(Role.MACHINE, "trainer.strategy", "trainer.plugins", "trainer.benchmark", "callbacks.hardware"),
    **_entries(Role.APPEARANCE, "logger", "score_untrained", "callbacks.images", "callbacks.plan"),
    **_entries(Role.APPEARANCE, "trainer.enable_progress_bar", "trainer.enable_model_summary"),
    **_entries(Role.APPEARANCE, "trainer.log_every_n_steps"),
}

FILE_OPTIONS = tuple(key for key, entry in _ROLES.items() if entry.is_file)
"""Options that name one file, whose content counts and not its place."""


def role_of(key: str) -> Role:
    """The role of an option of a training run.

    Args:
        key: dotted, such as ``trainer.max_epochs``.

    Raises:
        ConfigError: for an option without a role.
    """
    parts = key.split(".")
    for length in range(len(parts), 0, -1):
        entry = _ROLES.get(".".join(parts[:length]))
        if entry is not None:
            return entry.role
    raise ConfigError(f"{key} is not an option of a training run: rsna_det/config/roles.py gives it no role")


def flat_options(node: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of a configuration with its dotted key."""
    for key, value in node.items():
        own = f"{path}.{key}" if path else str(key)
        if isinstance(value, dict) and value:
            yield from flat_options(value, own)
        else:
            yield own, value
