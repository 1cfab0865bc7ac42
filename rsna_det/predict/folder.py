"""A folder of predictions: finished parts of a run that was killed, and in the end its tables and the submission."""

import csv
import hashlib
import json
import logging
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import torch

from rsna_det.evaluation.candidate_rows import candidate_rows
from rsna_det.evaluation.operating_point import OPERATING_POINT, OperatingPoint, image_detections, write_operating_point
from rsna_det.evaluation.submission import validate_submission, write_submission
from rsna_det.evaluation.tables import CANDIDATES_SCHEMA, IMAGES_SCHEMA, detections_table, read_table, write_table
from rsna_det.files.atomic import whole_file, write_text
from rsna_det.structures import Detections

log = logging.getLogger(__name__)

SUBMISSION = "submission.csv"
# Until it has been held against the challenge's rules.
_UNCHECKED = "submission.unchecked.csv"
MEAN, PERCENTILE, IMAGES = "mean.candidates", "percentile.candidates", "images"
DETECTIONS = "detections.parquet"
SCHEMAS = {MEAN: CANDIDATES_SCHEMA, PERCENTILE: CANDIDATES_SCHEMA, IMAGES: IMAGES_SCHEMA}
FILES = "files.csv"
PICTURES = "pictures"
_PARTS = "parts"
_FINGERPRINT = "fingerprint.json"
MEMBERS = "members.csv"
_TABLES = (FILES, MEMBERS, "problems.csv", DETECTIONS, OPERATING_POINT, *(f"{name}.parquet" for name in SCHEMAS))


@dataclass(frozen=True, kw_only=True)
class Part:
    """What is known of the images of one chunk, beside its tables on disk.

    Attributes:
        stem: of its files.
        sizes: height and width of each image that could be read, source pixels.
        problems: what is wrong with each that could not.
    """

    stem: Path
    sizes: Mapping[str, tuple[int, int]]
    problems: Mapping[str, str]

    def read(self, name: str) -> pd.DataFrame:
        """One of its tables."""
        return read_table(_with_suffix(self.stem, name), SCHEMAS[name])


def is_finished(folder: Path) -> bool:
    """Whether a prediction lies in the folder, complete."""
    return (folder / SUBMISSION).is_file() and not (folder / _PARTS).is_dir()


def check_not_finished(folder: Path) -> None:
    """Refuse to write over a prediction.

    Raises:
        FileExistsError: if one lies in the folder.
    """
    if is_finished(folder):
        raise FileExistsError(
            f"{folder} holds a finished prediction: choose another `out`, or write over it with `overwrite=true`"
        )


def fingerprint(
    *, checkpoints: Iterable[Path], files: Mapping[str, Path], point: OperatingPoint
) -> dict[str, dict[str, Any]]:
    """What a prediction depends on; parts are only used again where all of it is the same."""
    return {
        "checkpoints": {str(path.resolve()): _state(path) for path in checkpoints},
        "images": {"count": len(files), "digest": _digest(files)},
        "operating point": asdict(point),
    }


def open_folder(folder: Path, *, wanted: Mapping[str, Any], overwrite: bool) -> list[Part]:
    """Make the folder ready for a prediction.

    Args:
        folder: of the prediction.
        wanted: its :func:`fingerprint`.
        overwrite: whether another prediction in it is removed.

    Returns:
        The parts that an earlier run of the same prediction has finished.

    Raises:
        FileExistsError: if another prediction lies in it.
    """
    if not overwrite:
        check_not_finished(folder)
    saved = folder / _PARTS / _FINGERPRINT
    if saved.is_file():
        found = json.loads(saved.read_text(encoding="utf-8"))
        differing = [name for name in wanted if found.get(name) != wanted[name]]
        if not differing:
            return [_read_part(path) for path in sorted((folder / _PARTS).glob("*.part.json"))]
        if not overwrite:
            raise FileExistsError(
                f"{folder} holds an unfinished prediction that differs in: {', '.join(differing)}; "
                "choose another `out`, or remove it with `overwrite=true`"
            )
    _remove(folder)
    (folder / _PARTS).mkdir(parents=True)
    write_text(saved, json.dumps(wanted, indent=1))
    return []


def write_part(
    folder: Path,
    *,
    number: int,
    tables: Mapping[str, pa.Table],
    sizes: Mapping[str, tuple[int, int]],
    problems: Mapping[str, str],
) -> Part:
    """Write what was found in one chunk; it counts once all of it is written.

    Raises:
        OSError: if it cannot be written.
    """
    stem = folder / _PARTS / f"{number:06d}"
    for name, table in tables.items():
        write_table(table, _with_suffix(stem, name))
    text = json.dumps({"sizes": dict(sizes), "problems": dict(problems)})
    write_text(stem.with_name(f"{stem.name}.part.json"), text)
    return Part(stem=stem, sizes=sizes, problems=problems)


def finish(
    folder: Path,
    *,
    parts: Sequence[Part],
    files: Mapping[str, Path],
    point: OperatingPoint,
    members: Sequence[Mapping[str, object]],
    undrawn: Mapping[str, str],
) -> dict[str, Detections]:
    """Put the parts together, write everything that a prediction promises, and remove the parts.

    Args:
        folder: of the prediction.
        parts: of all images.
        files: image id -> file.
        point: how detections are made.
        members: a row each for ``members.csv``.
        undrawn: why an image that could be read has no picture, for ``problems.csv``.

    Returns:
        The boxes of every image, none for one that could not be read.

    Raises:
        OSError: if something cannot be written.
        ValueError: if the submission breaks one of the challenge's rules; it then keeps a name of its own.
    """
    sizes = {image_id: size for part in parts for image_id, size in part.sizes.items()}
    problems = {image_id: problem for part in parts for image_id, problem in part.problems.items()}
    names = [MEAN, PERCENTILE, IMAGES] if len(members) > 1 else [MEAN, IMAGES]
    for name in names:
        write_table(_joined(parts, name), folder / f"{name}.parquet")
    chosen = candidates_name(point, members=len(members))
    found = detections_of(read_table(folder / f"{chosen}.parquet", CANDIDATES_SCHEMA), list(sizes), point)
    nothing = Detections(boxes=torch.zeros(0, 4), scores=torch.zeros(0))
    found = {image_id: found.get(image_id, nothing) for image_id in files}
    rows = [(i, path, *(sizes[i][::-1] if i in sizes else ("", "")), len(found[i].scores)) for i, path in files.items()]
    _write_csv(folder / FILES, ["image_id", "path", "width", "height", "boxes"], rows)
    _write_csv(
        folder / "problems.csv",
        ["image_id", "path", "problem"],
        [(i, files[i], p) for i, p in sorted((problems | dict(undrawn)).items())],
    )
    _write_csv(folder / MEMBERS, list(members[0]), [row.values() for row in members])
    write_operating_point(
        point, folder / OPERATING_POINT, evidence={"members": [str(row["path"]) for row in members], "used": chosen}
    )
    write_table(detections_table(found), folder / DETECTIONS)
    unchecked = folder / _UNCHECKED
    write_submission(found, unchecked)
    validate_submission(unchecked, expected_ids=list(files), sizes=sizes)
    unchecked.replace(folder / SUBMISSION)
    shutil.rmtree(folder / _PARTS)
    return found


def candidates_name(point: OperatingPoint, *, members: int) -> str:
    """The table of candidates that an operating point's detections are made of."""
    return PERCENTILE if point.size_rule == "percentile" and members > 1 else MEAN


def detections_of(candidates: pd.DataFrame, image_ids: Sequence[str], point: OperatingPoint) -> dict[str, Detections]:
    """The final boxes of each image, source pixels."""
    return dict(zip(image_ids, image_detections(candidate_rows(candidates, image_ids), point), strict=True))


def _joined(parts: Sequence[Part], name: str) -> pa.Table:
    frames = [part.read(name) for part in parts if part.sizes]
    columns = pd.concat([frame.astype({"image_id": str}) for frame in frames]) if frames else None
    if columns is None:
        return SCHEMAS[name].empty_table()
    return pa.Table.from_pandas(columns, schema=SCHEMAS[name], preserve_index=False)


def _read_part(path: Path) -> Part:
    content = json.loads(path.read_text(encoding="utf-8"))
    sizes = {image_id: (height, width) for image_id, (height, width) in content["sizes"].items()}
    return Part(stem=path.with_name(path.name.removesuffix(".part.json")), sizes=sizes, problems=content["problems"])


def _with_suffix(stem: Path, name: str) -> Path:
    return stem.with_name(f"{stem.name}.{name}.parquet")


def _remove(folder: Path) -> None:
    """What a prediction has written, and nothing else that may lie there."""
    for name in (SUBMISSION, _UNCHECKED, *_TABLES):
        (folder / name).unlink(missing_ok=True)
    for name in (_PARTS, PICTURES):
        if (folder / name).is_dir():
            shutil.rmtree(folder / name)


def _state(path: Path) -> list[int]:
    """Size and time of a file; of one that is gone nothing."""
    try:
        status = path.stat()
    except OSError:
        return []
    return [status.st_size, status.st_mtime_ns]


def _digest(files: Mapping[str, Path]) -> str:
    lines = (json.dumps([image_id, str(path.resolve()), _state(path)]) for image_id, path in files.items())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Iterable[object]]) -> None:
    with whole_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
