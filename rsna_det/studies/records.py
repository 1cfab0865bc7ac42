"""What a study writes of itself: one record for each start, one description for each run."""

from pathlib import Path
from typing import Annotated, Any, TypeAlias

import yaml
from pydantic import ConfigDict, Field, ValidationError

from rsna_det.errors import DataError
from rsna_det.files.atomic import write_text
from rsna_det.files.yaml import read_mapping
from rsna_det.runs.records import Count, Record, problems_of

_DESCRIPTION_REMEDY = "take the file from a copy of the run, or remove the run's folder and train it anew"


Hash: TypeAlias = Annotated[str, Field(pattern=r"^[0-9A-Za-z_-]{1,64}$")]
"""A run's hash: it names a folder, and may lead nowhere else."""


class PlannedRun(Record):
    """A run as a start planned it."""

    id: Hash
    overrides: list[str]
    epochs: Count


class Launch(Record):
    """``launches/<time>.json``: one start of a study."""

    model_config = ConfigDict(populate_by_name=True)

    started: str
    host: str
    pid: Count
    overrides: list[str]
    runs: list[PlannedRun] = Field(min_length=1, validation_alias="cells", serialization_alias="cells")


class RunDescription(Record):
    """``cell.yaml``: which run of its study a folder holds.

    Attributes:
        study: name.
        id: hash of ``options``.
        overrides: what the run was composed with.
        options: that can change the result, flat and resolved, files as hashes.
    """

    model_config = ConfigDict(populate_by_name=True)

    study: str
    id: Hash = Field(validation_alias="cell", serialization_alias="cell")
    overrides: list[str]
    options: dict[str, Any]


def write_description(path: Path, description: RunDescription) -> None:
    """Write a run's description.

    Raises:
        StorageError: if it cannot be written.
    """
    comment = "# The run's hash is that of everything under `options`.\n"
    write_text(path, comment + yaml.safe_dump(description.model_dump(by_alias=True), sort_keys=False))


def read_description(path: Path) -> RunDescription:
    """Read a run's description.

    Raises:
        MissingFileError, StorageError: if it cannot be read.
        DataError: if it is damaged; naming the file and the remedy.
    """
    try:
        return RunDescription.model_validate(read_mapping(path, remedy=_DESCRIPTION_REMEDY))
    except ValidationError as error:
        raise DataError(f"{path} does not describe a run ({problems_of(error)}): {_DESCRIPTION_REMEDY}") from error
