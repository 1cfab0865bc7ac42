"""The folder of a prediction: its files, whether it may be written, and the parts of an interrupted start."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import pyarrow as pa
from pydantic import Field

from rsna_det.data.dicom.limits import DEFAULT_LIMITS, Limits
from rsna_det.errors import DataError, InUseError
from rsna_det.evaluation.operating_point import OPERATING_POINT, OperatingPoint
from rsna_det.evaluation.tables import CANDIDATES_SCHEMA, IMAGES_SCHEMA, read_table, write_table
from rsna_det.files.atomic import write_text
from rsna_det.files.names import shown
from rsna_det.files.removal import clear_partial, clear_removed, remove_folder
from rsna_det.runs.records import Record, read_record, write_record

SUBMISSION = "submission.csv"
UNCHECKED = "submission.unchecked.csv"
"""The submission until it has been checked against the challenge's rules."""
DETECTIONS = "detections.parquet"
FILES, MEMBERS, PROBLEMS = "files.csv", "members.csv", "problems.csv"
PICTURES = "pictures"
PARTS = "parts"
"""Folder of an unfinished prediction's parts."""

MEAN, PERCENTILE, IMAGES = "mean.candidates", "percentile.candidates", "images"
"""Tables of a prediction, and of each of its parts."""
SCHEMAS = {MEAN: CANDIDATES_SCHEMA, PERCENTILE: CANDIDATES_SCHEMA, IMAGES: IMAGES_SCHEMA}

_ALL_FILES = (
    *(SUBMISSION, UNCHECKED, DETECTIONS, FILES, MEMBERS, PROBLEMS, OPERATING_POINT),
    *(f"{name}.parquet" for name in SCHEMAS),
)
_FINGERPRINT = "fingerprint.json"
_PART = ".part.json"
_REMEDY = "start the prediction anew with `overwrite=true`"


class Fingerprint(Record):
    """``fingerprint.json``: what a prediction depends on; parts are only reused if all of it is the same.

    Attributes:
        checkpoints: size and time of each file, by path.
        images: number and digest of the files; doubts about them that are accepted, if any are.
        operating_point: its values by name.
    """

    checkpoints: dict[str, list[int]]
    images: dict[str, int | str]
    operating_point: dict[str, Any] = Field(alias="operating point")

    @classmethod
    def of(
        cls,
        *,
        checkpoints: Iterable[Path],
        files: Mapping[str, Path],
        point: OperatingPoint,
        limits: Limits = DEFAULT_LIMITS,
    ) -> "Fingerprint":
        """The fingerprint of the files as they are now."""
        values = {
            "checkpoints": {shown(path.resolve()): _state(path) for path in checkpoints},
            "images": {"count": len(files), "digest": _digest(files), **_accepted(limits)},
            "operating point": asdict(point),
        }
        return cls.model_validate(values)

    def differences(self, other: "Fingerprint") -> list[str]:
        """What is not the same in another."""
        ours, theirs = self.model_dump(by_alias=True), other.model_dump(by_alias=True)
        return [name for name in ours if ours[name] != theirs[name]]


class _PartRecord(Record):
    """``<number>.part.json``: height and width of each image of a part in source pixels, and problems by image."""

    sizes: dict[str, Annotated[list[Annotated[int, Field(ge=1, lt=2**31)]], Field(min_length=2, max_length=2)]]
    problems: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Part:
    """The prediction of one chunk; its tables lie on disk.

    Attributes:
        stem: of its files.
        sizes: height and width of each image that could be read, source pixels.
        problems: what is wrong with each that could not.
    """

    stem: Path
    sizes: Mapping[str, tuple[int, int]]
    problems: Mapping[str, str]

    @property
    def number(self) -> int:
        """By which its files are named; numbers may be missing."""
        return int(self.stem.name)

    def read(self, name: str) -> pd.DataFrame:
        """One of its tables."""
        return read_table(_with_suffix(self.stem, name), SCHEMAS[name])


def is_finished(folder: Path) -> bool:
    """Whether the folder holds a complete prediction."""
    return (folder / SUBMISSION).is_file() and not (folder / PARTS).is_dir()


def check_not_finished(folder: Path) -> None:
    """Refuse to overwrite a prediction.

    Raises:
        InUseError: if the folder holds a finished one, or files of one without the parts needed to resume.
    """
    instead = "choose another `out`, or replace it with `overwrite=true`"
    if is_finished(folder):
        raise InUseError(f"{folder} holds a finished prediction: {instead}")
    left = [folder / name for name in (*_ALL_FILES, PICTURES) if (folder / name).exists()]
    if left and not (folder / PARTS / _FINGERPRINT).is_file():
        raise InUseError(f"{folder} holds files of another prediction ({left[0]}): {instead}")


def open_folder(folder: Path, *, wanted: Fingerprint, overwrite: bool) -> list[Part]:
    """Prepare the folder for a prediction.

    Args:
        folder: of the prediction.
        wanted: what the prediction depends on.
        overwrite: whether another prediction in it is removed.

    Returns:
        The parts that an interrupted start of the same prediction has finished.

    Raises:
        InUseError: if it holds another prediction.
        DataError: if what an interrupted start left there is damaged.
    """
    clear_removed(folder / PARTS)
    clear_partial(folder)
    if not overwrite:
        check_not_finished(folder)
    try:
        parts = _reusable_parts(folder, wanted)
    except (InUseError, DataError):
        if not overwrite:
            raise
        parts = None
    if parts is not None:
        return parts
    _remove(folder)
    (folder / PARTS).mkdir(parents=True)
    write_record(folder / PARTS / _FINGERPRINT, wanted)
    return []


def write_part(
    folder: Path,
    *,
    number: int,
    tables: Mapping[str, pa.Table],
    sizes: Mapping[str, tuple[int, int]],
    problems: Mapping[str, str],
) -> Part:
    """Write the prediction of one chunk; it counts once all of it is written.

    Raises:
        StorageError: if it cannot be written.
    """
    stem = folder / PARTS / f"{number:06d}"
    for name, table in tables.items():
        write_table(table, _with_suffix(stem, name))
    # On one line: a record's indentation would give each number a line of its own.
    write_text(stem.with_name(f"{stem.name}{_PART}"), json.dumps({"sizes": dict(sizes), "problems": dict(problems)}))
    return Part(stem=stem, sizes=sizes, problems=problems)


def _reusable_parts(folder: Path, wanted: Fingerprint) -> list[Part] | None:
    """The finished parts in the order of their images; None if no prediction was interrupted in the folder."""
    path = folder / PARTS / _FINGERPRINT
    if not path.is_file():
        return None
    differing = wanted.differences(read_record(path, Fingerprint, remedy=_REMEDY))
    if differing:
        raise InUseError(
            f"{folder} holds an unfinished prediction that differs in: {', '.join(differing)}; "
            "choose another `out`, or remove it with `overwrite=true`"
        )
    return [_read_part(path) for path in sorted((folder / PARTS).glob(f"*{_PART}"))]


def _read_part(path: Path) -> Part:
    record = read_record(path, _PartRecord, remedy=_REMEDY)
    sizes = {image_id: (height, width) for image_id, (height, width) in record.sizes.items()}
    return Part(stem=path.with_name(path.name.removesuffix(_PART)), sizes=sizes, problems=record.problems)


def _with_suffix(stem: Path, name: str) -> Path:
    return stem.with_name(f"{stem.name}.{name}.parquet")


def _remove(folder: Path) -> None:
    """What a prediction has written, and nothing else that may lie there."""
    for name in _ALL_FILES:
        (folder / name).unlink(missing_ok=True)
    for name in (PARTS, PICTURES):
        remove_folder(folder / name)


def _state(path: Path) -> list[int]:
    """Size and time of a file; empty if it is gone."""
    try:
        status = path.stat()
    except OSError:
        return []
    return [status.st_size, status.st_mtime_ns]


def _accepted(limits: Limits) -> dict[str, str]:
    return {"accepted": ", ".join(sorted(limits.accept))} if limits.accept else {}


def _digest(files: Mapping[str, Path]) -> str:
    lines = (json.dumps([image_id, os.path.realpath(path), _state(path)]) for image_id, path in files.items())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
