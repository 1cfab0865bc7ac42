"""The small JSON files of a run as strict models: written from them, and checked against them when they are read."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rsna_det.errors import DataError
from rsna_det.files.atomic import write_text
from rsna_det.files.json import read_object

Count: TypeAlias = Annotated[int, Field(ge=0, lt=2**53)]
Seconds: TypeAlias = Annotated[float, Field(ge=0, allow_inf_nan=False)]
"""Numbers of records; scores may be NaN, these may not."""

MAX_EPOCHS = "max_epochs"


class Record(BaseModel):
    """A record whose keys and types are known: anything else in its file is damage."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


_SHOWN = 5

AnyRecord = TypeVar("AnyRecord", bound=Record)


class Stop(Record):
    """Why training ended as configured.

    Attributes:
        by: ``max_epochs``, another option of the trainer, or the name of the callback that asked for it.
        limit: the option's value, as text; None for a callback.
        reason: in words.
    """

    by: str
    limit: str | None = None
    reason: str


class Result(Record):
    """``result.json``: what a finished run achieved.

    Attributes:
        epochs: trained in all starts together.
        seconds: of the last start's training.
        best_val_map: highest ``val/map_best`` of the run's best checkpoint; None if none was kept.
        metrics: of the last epoch, by name.
        stopped: why training ended; None in records of older versions, which ended with their last epoch.
    """

    epochs: Count
    seconds: Seconds
    best_val_map: float | None
    metrics: dict[str, float]
    stopped: Stop | None = None

    def ends(self, *, epochs: int, limits: Mapping[str, object] | None = None) -> bool:
        """Whether a run of so many epochs is finished, and not to be trained on.

        Args:
            epochs: how many it is to be trained for.
            limits: options of the trainer; a run that a limit ended goes on if that limit has changed. None to accept
                whatever ended it.
        """
        if self.epochs >= epochs:
            return True
        if self.stopped is None or self.stopped.by == MAX_EPOCHS:
            return False
        return self.stopped.limit is None or limits is None or str(limits.get(self.stopped.by)) == self.stopped.limit


class GitState(Record):
    """Commit of the checkout, and whether it had uncommitted changes."""

    commit: str
    dirty: bool


class Start(Record):
    """One start of a run, the first or one that resumed it.

    Attributes:
        started: time in UTC, ISO 8601.
        outcome: ``running`` (also of a killed process), ``finished``, or the error.
        host: name of the machine.
        pid: of the process.
        system: of the machine.
        python: version.
        command: words of the command line.
        environment: variables of the job scheduler.
        git: None without git or outside a checkout.
        packages: version by name.
        device: type, count and name of the devices; None until training begins.
        first_epoch: that this start trained, from 0; None until training begins.
        epoch_seconds: of each epoch with its validation.
        ended: time in UTC; None while running or after a kill.
        seconds: of the whole start.
    """

    started: str
    outcome: str
    host: str
    pid: Count
    system: str
    python: str
    command: list[str]
    environment: dict[str, str]
    git: GitState | None
    packages: dict[str, str]
    device: dict[str, str | int | float | bool | None] | None = None
    first_epoch: Count | None = None
    epoch_seconds: list[Seconds] = []
    ended: str | None = None
    seconds: Seconds | None = None


class ProvenanceRecord(Record):
    """``provenance.json``: what a run was made from.

    Attributes:
        seed: of the run.
        configuration: name of the file with the resolved configuration.
        data: fingerprint of labels, images and folds; None until the data are read.
        starts: of the run, in order.
    """

    seed: Annotated[int, Field(ge=-(2**63), lt=2**64)]
    configuration: str
    data: dict[str, str | int | float | bool | None] | None
    starts: list[Start]


def read_record(path: Path, kind: type[AnyRecord], *, remedy: str) -> AnyRecord:
    """Read a JSON file of this package.

    Args:
        path: of the file.
        kind: of the record.
        remedy: what to do if it is damaged.

    Raises:
        DataError: if it is no JSON, lacks a key, or holds unknown keys or other types; naming the file and the remedy.
        MissingFileError, StorageError: if it cannot be read.
    """
    found = read_object(path, remedy=remedy)
    try:
        return kind.model_validate(found)
    except ValidationError as error:
        raise DataError(f"{path} is damaged ({problems_of(error)}): {remedy}") from error


def write_record(path: Path, record: Record) -> None:
    """Write a record as JSON, whole or not at all; what is not known yet is left out.

    Raises:
        StorageError: if it cannot be written.
    """
    write_text(path, json.dumps(record.model_dump(exclude_unset=True, by_alias=True), indent=1) + "\n")


def problems_of(error: ValidationError) -> str:
    """What pydantic found, on one line, in plain words."""
    texts = [_in_words(".".join(map(str, found["loc"])), found) for found in error.errors(include_url=False)[:_SHOWN]]
    more = error.error_count() - len(texts)
    return "; ".join(" ".join(text.split())[:300] for text in texts) + (f"; and {more} more" if more else "")


def _in_words(key: str, found: Mapping[str, Any]) -> str:
    if found["type"] in ("missing", "missing_argument"):
        return f"it lacks {key}"
    if found["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"unknown key {key}"
    message = str(found["msg"])
    return f"{key or 'it'}: {message[0].lower()}{message[1:]}"
