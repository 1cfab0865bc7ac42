"""What an output folder holds already: no command writes over the results of another, or of its own earlier run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from rsna_det.config.saved import read_saved
from rsna_det.errors import ConfigError, DataError, InUseError, MissingFileError, RsnaDetError, StorageError
from rsna_det.files.atomic import FREE_SPACE, write_text
from rsna_det.files.yaml import read_mapping

RECORD = ".hydra"
"""Folder with the configuration of what a folder holds."""

TRAIN, PREDICT, EVALUATE, PREPARE, STUDY = "train", "predict", "evaluate", "prepare", "study"

UNKNOWN = "another program"
"""Stands for the command of a record that is none of this package's."""

MARKS: Mapping[str, Sequence[str]] = {
    TRAIN: (
        *("provenance.json", "result.json", "metrics.csv", "cell.yaml", "failed.txt", "wandb_id", "wandb"),
        *("checkpoints/*.ckpt", "predictions/*.parquet", "images/epoch_*.png", "config.yaml", "hpc_ckpt_*.ckpt"),
    ),
    PREDICT: (
        *("parts", "pictures", "submission.csv", "submission.unchecked.csv", "detections.parquet", "files.csv"),
        *("members.csv", "problems.csv", "*.candidates.parquet", "images.parquet"),
    ),
    EVALUATE: ("report.json", "report.md", "grid.csv", "selection.csv", "capped_images.csv", "figure_8_*.png"),
    PREPARE: ("folds.csv", "folds_grouped.csv", "folds_ungrouped.csv", "folds_published.csv"),
    STUDY: ("launches",),
}
"""Files and folders by which the results of each command are known, though its record may be lost."""

_IN_WORDS = {
    TRAIN: "a training run",
    PREDICT: "a prediction",
    EVALUATE: "an evaluation",
    PREPARE: "what a preparation has written",
    STUDY: "a study",
    UNKNOWN: "what another program has written",
}
# Where something goes, and whether something is replaced there, makes it no other run.
_PLACES = ("run_dir", "out", "overwrite", "resume")
_OTHER = "choose another folder, or move it away"


def check_free(folder: Path, *, command: str, config: DictConfig | None = None, remedy: str = _OTHER) -> None:
    """Refuse a folder that holds the results of another command, or of another run of this one.

    The same command with the same options resumes what it began in the folder.

    Args:
        folder: of the output, there or not.
        command: that is to write into it.
        config: its options, composed; None for a command that tells its own runs apart.
        remedy: what to do instead.

    Raises:
        InUseError: naming what was found.
        StorageError: if the folder cannot be read.
    """
    found = results_in(folder)
    recorded = command_of(folder)
    if recorded is not None:
        found.setdefault(recorded, folder / RECORD)
    for owner, path in found.items():
        if owner != command:
            raise InUseError(f"{folder} holds {_IN_WORDS[owner]} ({path}): {remedy}")
    if found and config is not None and not holds_same(folder, config):
        path = next(iter(found.values()))
        raise InUseError(f"{folder} holds {_IN_WORDS[command]} of other options ({path}): {remedy}")


def results_in(folder: Path) -> dict[str, Path]:
    """The commands whose results a folder holds, each with a file or folder that shows it.

    Raises:
        StorageError: if the folder cannot be read.
    """
    try:
        there = {command: next(_marks(folder, marks), None) for command, marks in MARKS.items()}
    except OSError as error:
        raise StorageError(f"{folder} cannot be read ({error.strerror or error}): {FREE_SPACE}") from error
    return {command: path for command, path in there.items() if path is not None}


def _marks(folder: Path, marks: Sequence[str]) -> Any:  # noqa: ANN401
    return (path for mark in marks for path in sorted(folder.glob(mark)))


def command_of(folder: Path) -> str | None:
    """The command that a folder's record is of, read as data; None without a record.

    A record of runs that a study started has no part of Hydra's. One that names no command of this package, or cannot
    be read, is :data:`UNKNOWN`'s.
    """
    if not (folder / RECORD).is_dir():
        return None
    try:
        node: object = read_mapping(folder / RECORD / "hydra.yaml", remedy=_OTHER)
    except MissingFileError:
        return TRAIN
    except (DataError, StorageError):
        return UNKNOWN
    for key in ("hydra", "job", "name"):
        node = node.get(key) if isinstance(node, dict) else None
    return node if isinstance(node, str) and node in MARKS else UNKNOWN


def write_record(folder: Path, config: DictConfig, *, hydra: DictConfig | None, overrides: Sequence[str]) -> None:
    """Write the configuration as Hydra does, each file whole or not at all.

    Args:
        folder: of the output.
        config: as composed, interpolations and all.
        hydra: Hydra's own part, as the key ``hydra``; None to leave it out.
        overrides: what it was composed with.

    Raises:
        StorageError: if it cannot be written.
    """
    texts = {"config.yaml": config, "hydra.yaml": hydra, "overrides.yaml": OmegaConf.create(list(overrides))}
    record = folder / RECORD
    # A new record gets its name once it is whole: half of one would be that of another run.
    saved = record if record.is_dir() else record.with_name(f"{RECORD}.partial")
    try:
        saved.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            if text is not None:
                write_text(saved / name, OmegaConf.to_yaml(text))
        saved.replace(record)
    except RsnaDetError:
        raise
    except OSError as error:
        raise StorageError(f"{record} cannot be written ({error.strerror or error}): {FREE_SPACE}") from error


def holds_same(folder: Path, config: DictConfig) -> bool:
    """Whether a folder's record has the same options, wherever either lies."""
    try:
        return _options(read_saved(folder / RECORD / "config.yaml")) == _options(config)
    except (ConfigError, MissingFileError, StorageError):
        # A record that is missing or damaged is none of anything.
        return False


def _options(config: DictConfig) -> dict[str, Any]:
    own = OmegaConf.masked_copy(config, [key for key in map(str, config) if key not in (*_PLACES, "hydra")])
    plain: Any = OmegaConf.to_container(own, resolve=False)
    return dict(plain)
