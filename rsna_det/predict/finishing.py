"""The end of a prediction: parts joined, detections and submission written."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa

from rsna_det.evaluation.candidate_rows import candidate_rows
from rsna_det.evaluation.operating_point import OPERATING_POINT, OperatingPoint, image_detections, write_operating_point
from rsna_det.evaluation.submission import validate_submission, write_submission
from rsna_det.evaluation.tables import CANDIDATES_SCHEMA, detections_table, read_table, write_table
from rsna_det.files.names import shown
from rsna_det.files.removal import remove_folder
from rsna_det.files.tables import write_csv_rows
from rsna_det.predict.ensemble_point import uses_percentiles
from rsna_det.predict.folder import (
    DETECTIONS,
    FILES,
    IMAGES,
    MEAN,
    MEMBERS,
    PARTS,
    PERCENTILE,
    PROBLEMS,
    SCHEMAS,
    SUBMISSION,
    UNCHECKED,
    Part,
)
from rsna_det.structures import Detections


def finish(
    folder: Path,
    *,
    parts: Sequence[Part],
    files: Mapping[str, Path],
    point: OperatingPoint,
    members: Sequence[Mapping[str, object]],
    undrawn: Mapping[str, str],
) -> dict[str, Detections]:
    """Join the parts, write all files of a prediction, and remove the parts.

    Args:
        folder: of the prediction.
        parts: of all images.
        files: image id -> file.
        point: how detections are made of candidates.
        members: rows of ``members.csv``.
        undrawn: why an image that could be read has no picture, for ``problems.csv``.

    Returns:
        The boxes of every image, none for an image that could not be read.

    Raises:
        StorageError: if something cannot be written.
        DataError: if the submission breaks one of the challenge's rules; it then stays under another name.
    """
    sizes = {image_id: size for part in parts for image_id, size in part.sizes.items()}
    problems = {image_id: problem for part in parts for image_id, problem in part.problems.items()} | dict(undrawn)
    for name in [MEAN, PERCENTILE, IMAGES] if len(members) > 1 else [MEAN, IMAGES]:
        write_table(_joined(parts, name), folder / f"{name}.parquet")
    chosen = candidates_name(point, members=len(members))
    found = detections_of(read_table(folder / f"{chosen}.parquet", CANDIDATES_SCHEMA), list(files), point)
    write_csv_rows(folder / FILES, ["image_id", "path", "width", "height", "boxes"], _file_rows(files, sizes, found))
    rows = [(image_id, files[image_id], problem) for image_id, problem in sorted(problems.items())]
    write_csv_rows(folder / PROBLEMS, ["image_id", "path", "problem"], rows)
    write_csv_rows(folder / MEMBERS, list(members[0]), [row.values() for row in members])
    evidence = {"members": [shown(str(row["path"])) for row in members], "used": chosen}
    write_operating_point(point, folder / OPERATING_POINT, evidence=evidence)
    write_table(detections_table(found), folder / DETECTIONS)
    _submit(folder, found, sizes)
    remove_folder(folder / PARTS)
    return found


def candidates_name(point: OperatingPoint, *, members: int) -> str:
    """The table of candidates from which an operating point's detections are made."""
    return PERCENTILE if uses_percentiles(point, members=members) else MEAN


def detections_of(candidates: pd.DataFrame, image_ids: Sequence[str], point: OperatingPoint) -> dict[str, Detections]:
    """The final boxes of each image, source pixels."""
    return dict(zip(image_ids, image_detections(candidate_rows(candidates, image_ids), point), strict=True))


def _joined(parts: Sequence[Part], name: str) -> pa.Table:
    """One table of all parts."""
    frames = [part.read(name).astype({"image_id": str}) for part in parts if part.sizes]
    if not frames:
        return SCHEMAS[name].empty_table()
    return pa.Table.from_pandas(pd.concat(frames), schema=SCHEMAS[name], preserve_index=False)


def _file_rows(
    files: Mapping[str, Path], sizes: Mapping[str, tuple[int, int]], found: Mapping[str, Detections]
) -> list[tuple[object, ...]]:
    """Image id, path, width, height and number of boxes of every file."""
    return [(i, path, *(sizes[i][::-1] if i in sizes else ("", "")), len(found[i].scores)) for i, path in files.items()]


def _submit(folder: Path, found: Mapping[str, Detections], sizes: Mapping[str, tuple[int, int]]) -> None:
    """Write the submission, which gets its name once it keeps the challenge's rules."""
    unchecked = folder / UNCHECKED
    write_submission(found, unchecked)
    validate_submission(unchecked, expected_ids=list(found), sizes=sizes)
    unchecked.replace(folder / SUBMISSION)
