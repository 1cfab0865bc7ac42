"""The tables of a run: candidates and images of every epoch, and the ground truth; schemas, files, reading, writing."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from jaxtyping import Float, Int
from torch import Tensor

from rsna_det.errors import DataError, MissingFileError, StorageError
from rsna_det.files.atomic import whole_file
from rsna_det.structures import Candidates, Detections

CANDIDATES_SCHEMA = pa.schema(
    [
        ("image_id", pa.dictionary(pa.int32(), pa.string())),
        *((name, pa.float32()) for name in ("x1", "y1", "x2", "y2", "score")),
    ]
)
"""Boxes before NMS in source pixels, of each image by descending score."""

IMAGES_SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("p_abnormal", pa.float32()),
        ("p_normal", pa.float32()),
        ("p_opacity", pa.float32()),
        ("candidates_before_cap", pa.int32()),
    ]
)
"""Predictions for whole images; the probabilities are null without the global head."""

TRUTH_SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("true_patient", pa.string()),
        ("fold", pa.int32()),
        ("role", pa.string()),
        ("category", pa.int32()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("boxes", pa.list_(pa.list_(pa.float32(), 4))),
    ]
)
"""Every image of a run, in source pixels; ``role`` is ``train``, ``val`` or, outside all folds, ``test``."""

_ROLES = ("train", "val", "test")
_MAY_BE_EMPTY = frozenset({"p_abnormal", "p_normal", "p_opacity", "category"})
_EDGES, _SIDE, _MANY = (-1e7, 1e7), (0, 1e6), (0, 2**31)
# A softmax in float32 may end a little above 1.
_RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("x1", "y1", "x2", "y2"), _EDGES),
    **dict.fromkeys(("score", "p_abnormal", "p_normal", "p_opacity"), (0, 1.0001)),
    **dict.fromkeys(("width", "height"), _SIDE),
    "candidates_before_cap": _MANY,
    "fold": (-1, 1e6),
    "category": (-1, 2),
}
_MOST_ROWS = 10**8
_LONGEST = 200
# What pyarrow raises on damaged files: its own errors are of these kinds as well.
_UNREADABLE = (
    pa.ArrowException,
    OSError,
    ValueError,
    LookupError,
    TypeError,
    ArithmeticError,
    MemoryError,
    SystemError,
)
_MAKE_AGAIN = "train the run or predict again"
_CANDIDATES, _IMAGES = ".candidates.parquet", ".images.parquet"
_REMEDY = (
    "free some space, or start again on another disk; what is finished is kept: a training resumes with `resume=last`, "
    "a prediction with the same command"
)


@dataclass(frozen=True)
class RunTables:
    """The tables of one run: the names of their files, reading and writing.

    Attributes:
        folder: of the tables.
    """

    folder: Path

    @property
    def truth_path(self) -> Path:
        """The file of the run's images and labels."""
        return self.folder / "truth.parquet"

    def candidates_path(self, epoch: int) -> Path:
        """The file of an epoch's candidates."""
        return self.folder / f"epoch_{epoch:02d}{_CANDIDATES}"

    def images_path(self, epoch: int) -> Path:
        """The file of an epoch's predictions for whole images."""
        return self.folder / f"epoch_{epoch:02d}{_IMAGES}"

    @property
    def epochs(self) -> tuple[int, ...]:
        """The epochs that have both tables, ascending; an interrupted epoch may have only one of them."""
        names = (re.fullmatch(rf"epoch_(\d+){re.escape(_CANDIDATES)}", path.name) for path in self.paths)
        epochs = sorted({int(name[1]) for name in names if name})
        return tuple(epoch for epoch in epochs if self.images_path(epoch).is_file())

    @property
    def paths(self) -> tuple[Path, ...]:
        """All table files there are, by name."""
        return tuple(sorted(self.folder.glob("*.parquet")))

    def truth(self) -> pd.DataFrame:
        """Rows of :data:`TRUTH_SCHEMA`; errors as of :func:`read_table`."""
        return read_table(self.truth_path, TRUTH_SCHEMA)

    def candidates(self, epoch: int) -> pd.DataFrame:
        """Rows of :data:`CANDIDATES_SCHEMA`; errors as of :func:`read_table`."""
        return read_table(self.candidates_path(epoch), CANDIDATES_SCHEMA)

    def images(self, epoch: int) -> pd.DataFrame:
        """Rows of :data:`IMAGES_SCHEMA`; errors as of :func:`read_table`."""
        return read_table(self.images_path(epoch), IMAGES_SCHEMA)

    def write_truth(self, table: pa.Table) -> None:
        """Write the truth; errors as of :func:`write_table`."""
        write_table(table, self.truth_path)

    def write_epoch(self, epoch: int, *, candidates: pa.Table, images: pa.Table) -> None:
        """Write both tables of an epoch; errors as of :func:`write_table`."""
        write_table(candidates, self.candidates_path(epoch))
        write_table(images, self.images_path(epoch))


def candidates_table(*, image_ids: Sequence[str], batch: Candidates) -> pa.Table:
    """The candidates of a batch as rows of :data:`CANDIDATES_SCHEMA`."""
    mask = batch.mask.cpu().numpy()
    boxes = batch.boxes.float().cpu().numpy()[mask]
    columns = [boxes[:, i] for i in range(4)] + [batch.scores.float().cpu().numpy()[mask]]
    return _box_table(image_ids, mask.sum(axis=1), columns)


def detections_table(detections: Mapping[str, Detections]) -> pa.Table:
    """The final boxes of images by id, as rows of :data:`CANDIDATES_SCHEMA`."""
    boxes = torch.cat([torch.zeros(0, 4), *(d.boxes.float().cpu() for d in detections.values())]).numpy()
    scores = torch.cat([torch.zeros(0), *(d.scores.float().cpu() for d in detections.values())]).numpy()
    counts = np.array([len(d.scores) for d in detections.values()], dtype=np.int64)
    return _box_table(list(detections), counts, [*boxes.T, scores])


def images_table(
    *, image_ids: Sequence[str], batch: Candidates, probabilities: Float[Tensor, "batch 3"] | None
) -> pa.Table:
    """The predictions for a batch's whole images as rows of :data:`IMAGES_SCHEMA`."""
    if probabilities is None:
        classes = [pa.nulls(len(image_ids), pa.float32())] * 3
    else:
        classes = [pa.array(column, pa.float32()) for column in probabilities.float().cpu().numpy().T]
    counts = pa.array(batch.counts_before_cap.cpu().numpy(), pa.int32())
    return pa.Table.from_arrays([pa.array(list(image_ids), pa.string()), *classes, counts], schema=IMAGES_SCHEMA)


def truth_table(images: pd.DataFrame, *, val_fold: int) -> pa.Table:
    """The run's images and their labels as rows of :data:`TRUTH_SCHEMA`.

    Args:
        images: one row per image with ``image_id, true_patient, fold, category, width, height, boxes``.
        val_fold: the fold that the run validates on.
    """
    fold = images["fold"].to_numpy()
    role = np.select([fold == val_fold, fold < 0], ["val", "test"], "train")
    columns = images.assign(role=role, boxes=[boxes.tolist() for boxes in images["boxes"]])
    return pa.Table.from_pandas(columns[TRUTH_SCHEMA.names], schema=TRUTH_SCHEMA, preserve_index=False)


def write_table(table: pa.Table, path: Path) -> None:
    """Write a table, whole or not at all.

    Raises:
        StorageError: if it cannot be written (a full disk); the message names the file.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{path} could not be written ({error}): {_REMEDY}") from error
    with whole_file(path, remedy=_REMEDY) as partial:
        pq.write_table(table, partial, compression="zstd", write_page_checksum=True)


def read_table(path: Path, schema: pa.Schema) -> pd.DataFrame:
    """Read a table and check it against its schema.

    Raises:
        MissingFileError: if there is no such file.
        DataError: if it is damaged, lacks columns, or has values that no such table has; naming file and remedy.
    """
    if not path.is_file():
        raise MissingFileError(f"there is no table {path}: is this the folder of a run that finished an epoch?")
    try:
        frame = _read_columns(path, schema)
    except _UNREADABLE as error:
        if isinstance(error, DataError):
            raise
        reason = " ".join(str(error).split())[:_LONGEST]
        raise DataError(f"{path} is not a readable Parquet file ({reason}): {_MAKE_AGAIN}") from error
    problem = next(_wrong_values(frame), None)
    if problem is not None:
        raise DataError(f"{path} is damaged ({problem}): {_MAKE_AGAIN}")
    return frame


def _read_columns(path: Path, schema: pa.Schema) -> pd.DataFrame:
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        names, rows = file.schema_arrow.names, file.metadata.num_rows
        missing = set(schema.names) - set(names)
        if missing:
            raise DataError(f"{path} lacks the columns {sorted(missing)}; expected {schema.names}: {_MAKE_AGAIN}")
        if len(set(names)) < len(names) or not 0 <= rows <= _MOST_ROWS:
            raise DataError(
                f"{path} is damaged ({rows} rows of the columns {names}; expected each column once, and up to "
                f"{_MOST_ROWS:,} rows): {_MAKE_AGAIN}"
            )
        table = file.read(columns=schema.names).select(schema.names)
    try:
        frame: pd.DataFrame = table.cast(schema).to_pandas()
    except pa.ArrowException as error:
        raise DataError(f"{path} has columns of other types than expected ({error}): {_MAKE_AGAIN}") from error
    return frame


def _wrong_values(frame: pd.DataFrame) -> Iterator[str]:
    """Values that no table of a run has."""
    for name in frame.columns:
        empty = frame[name].isna()
        if name not in _MAY_BE_EMPTY and empty.any():
            yield f"{name} is empty or NaN in {int(empty.sum())} of its {len(frame)} rows"
        if name in _RANGES:
            low, high = _RANGES[name]
            outside = ~frame[name].between(low, high) & ~empty
            if outside.any():
                yield f"{name} is {frame.loc[outside, name].iloc[0]}; expected {low:g} to {high:g}"
    yield from _wrong_labels(frame)


def _wrong_labels(frame: pd.DataFrame) -> Iterator[str]:
    if "role" in frame:
        other = frame.loc[~frame["role"].isin(_ROLES), "role"]
        if len(other):
            yield f"role is {str(other.iloc[0])[:_LONGEST]!r}; expected one of {', '.join(_ROLES)}"
    if "boxes" in frame:
        boxes = [row for image in frame["boxes"] for row in image]
        if any(row is None for row in boxes) or not np.isfinite(np.array(boxes, np.float64)).all():
            yield "a true box has edges that are not finite"


def _box_table(image_ids: Sequence[str], counts: Int[np.ndarray, " images"], columns: Sequence[np.ndarray]) -> pa.Table:
    """Rows of :data:`CANDIDATES_SCHEMA`, ``counts`` of each image."""
    numbers = np.repeat(np.arange(len(image_ids), dtype=np.int32), counts)
    ids = pa.DictionaryArray.from_arrays(pa.array(numbers), pa.array(list(image_ids), pa.string()))
    return pa.Table.from_arrays([ids, *map(pa.array, columns)], schema=CANDIDATES_SCHEMA)
