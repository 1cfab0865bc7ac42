"""The tables that a run leaves behind: candidates and images per epoch, and the truth. Schema, reading, writing."""

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

from rsna_det.files.atomic import whole_file
from rsna_det.structures import Candidates, Detections

CANDIDATES_SCHEMA = pa.schema(
    [
        ("image_id", pa.dictionary(pa.int32(), pa.string())),
        *((name, pa.float32()) for name in ("x1", "y1", "x2", "y2", "score")),
    ]
)
"""Boxes before NMS in source pixels: of each image in falling order of score."""

IMAGES_SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("p_abnormal", pa.float32()),
        ("p_normal", pa.float32()),
        ("p_opacity", pa.float32()),
        ("candidates_before_cap", pa.int32()),
    ]
)
"""What the network says of whole images; the probabilities are null for a model without the global head."""

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
"""Every image of a run: source pixels; ``role`` is ``train``, ``val`` or, for an image outside all folds, ``test``."""

_REMEDY = (
    "free some space, or start anew on another disk; what is finished is kept, a training goes on with `resume=last` "
    "and a prediction with the same command"
)


@dataclass(frozen=True, kw_only=True)
class CandidateRows:
    """Candidates of many images, image after image, each in falling order of score.

    Iterates over the images: boxes [candidates, 4] and scores [candidates] of each.

    Attributes:
        boxes: source pixels.
        scores: of the boxes.
        offsets: the candidates of image ``i`` are the rows from ``offsets[i]`` to ``offsets[i + 1]``.
    """

    boxes: Float[Tensor, "rows 4"]
    scores: Float[Tensor, " rows"]
    offsets: Int[Tensor, " images_and_one"]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        sizes = self.offsets.diff().tolist()
        return zip(torch.split(self.boxes, sizes), torch.split(self.scores, sizes), strict=True)


def candidates_path(folder: Path, epoch: int) -> Path:
    """Where an epoch's candidates lie in a run's ``predictions`` folder."""
    return folder / f"epoch_{epoch:02d}.candidates.parquet"


def images_path(folder: Path, epoch: int) -> Path:
    """Where an epoch's table of images lies in a run's ``predictions`` folder."""
    return folder / f"epoch_{epoch:02d}.images.parquet"


def candidates_table(*, image_ids: Sequence[str], batch: Candidates) -> pa.Table:
    """The candidates of a batch as rows of :data:`CANDIDATES_SCHEMA`."""
    mask = batch.mask.cpu().numpy()
    boxes = batch.boxes.float().cpu().numpy()[mask]
    columns = [boxes[:, i] for i in range(4)] + [batch.scores.float().cpu().numpy()[mask]]
    return _box_table(image_ids, mask.sum(axis=1), columns)


def detections_table(found: Mapping[str, Detections]) -> pa.Table:
    """The final boxes of images by id, as rows of :data:`CANDIDATES_SCHEMA`."""
    boxes = torch.cat([torch.zeros(0, 4), *(d.boxes.float().cpu() for d in found.values())]).numpy()
    scores = torch.cat([torch.zeros(0), *(d.scores.float().cpu() for d in found.values())]).numpy()
    counts = np.array([len(d.scores) for d in found.values()], dtype=np.int64)
    return _box_table(list(found), counts, [*boxes.T, scores])


def images_table(
    *, image_ids: Sequence[str], batch: Candidates, probabilities: Float[Tensor, "batch 3"] | None
) -> pa.Table:
    """What a batch's images are said to be, as rows of :data:`IMAGES_SCHEMA`."""
    if probabilities is None:
        classes = [pa.nulls(len(image_ids), pa.float32())] * 3
    else:
        classes = [pa.array(column, pa.float32()) for column in probabilities.float().cpu().numpy().T]
    counts = pa.array(batch.counts_before_cap.cpu().numpy(), pa.int32())
    return pa.Table.from_arrays([pa.array(list(image_ids), pa.string()), *classes, counts], schema=IMAGES_SCHEMA)


def truth_table(images: pd.DataFrame, *, val_fold: int) -> pa.Table:
    """The run's images and their labels as rows of :data:`TRUTH_SCHEMA`.

    Args:
        images: one row an image with ``image_id, true_patient, fold, category, width, height, boxes``.
        val_fold: the fold that the run validates on.
    """
    fold = images["fold"].to_numpy()
    role = np.select([fold == val_fold, fold < 0], ["val", "test"], "train")
    columns = images.assign(role=role, boxes=[boxes.tolist() for boxes in images["boxes"]])
    return pa.Table.from_pandas(columns[TRUTH_SCHEMA.names], schema=TRUTH_SCHEMA, preserve_index=False)


def write_table(table: pa.Table, path: Path) -> None:
    """Write a table so that the file is whole or not there.

    Raises:
        OSError: if it cannot be written (a full disk); the message names the file, and nothing half written stays.
    """
    with whole_file(path, remedy=_REMEDY) as partial:
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, partial, compression="zstd")


def read_table(path: Path, schema: pa.Schema) -> pd.DataFrame:
    """Read a table and hold it against its schema.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged or lacks columns.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no table {path}: was the run finished, and is this its folder?")
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} is not a readable parquet file ({error}): it is damaged, write it anew") from error
    missing = set(schema.names) - set(table.column_names)
    if missing:
        raise ValueError(f"{path} lacks the columns {sorted(missing)}; expected {schema.names}")
    try:
        frame: pd.DataFrame = table.select(schema.names).cast(schema).to_pandas()
    except pa.ArrowException as error:
        raise ValueError(f"{path} has other kinds of columns than it should ({error}): write it anew") from error
    return frame


def candidate_rows(frame: pd.DataFrame, image_ids: Sequence[str]) -> CandidateRows:
    """The candidates of some images, in the images' order; those of other images are left out.

    Args:
        frame: rows of :data:`CANDIDATES_SCHEMA`.
        image_ids: each once; one without rows has no candidates.

    Raises:
        ValueError: if an image's rows are not in falling order of score: the table is not one of this package.
    """
    ids = frame["image_id"].astype("category")
    wanted = pd.Index(image_ids).get_indexer(ids.cat.categories)
    owners = np.append(wanted, -1)[ids.cat.codes.to_numpy()]
    order = np.argsort(owners, kind="stable")
    order = order[np.count_nonzero(owners < 0) :]
    owners = owners[order]
    scores = frame["score"].to_numpy(np.float32)[order]
    rising = np.flatnonzero((np.diff(owners) == 0) & ~(np.diff(scores) <= 0))
    if len(rising):
        name = image_ids[owners[rising[0]]]
        raise ValueError(f"the candidates of {name} are not in falling order of score: write the table anew")
    boxes = np.stack([frame[name].to_numpy(np.float32)[order] for name in ("x1", "y1", "x2", "y2")], axis=1)
    offsets = np.searchsorted(owners, np.arange(len(image_ids) + 1))
    return CandidateRows(
        boxes=torch.from_numpy(boxes), scores=torch.from_numpy(scores), offsets=torch.from_numpy(offsets)
    )


def joined_rows(parts: Sequence[CandidateRows]) -> CandidateRows:
    """The candidates of several lists of images, one list after another."""
    sizes = torch.cat([part.offsets.diff() for part in parts])
    return CandidateRows(
        boxes=torch.cat([part.boxes for part in parts]),
        scores=torch.cat([part.scores for part in parts]),
        offsets=torch.cat([sizes.new_zeros(1), sizes.cumsum(dim=0)]),
    )


def _box_table(image_ids: Sequence[str], counts: Int[np.ndarray, " images"], columns: Sequence[np.ndarray]) -> pa.Table:
    """Rows of :data:`CANDIDATES_SCHEMA`, so many of each image."""
    numbers = np.repeat(np.arange(len(image_ids), dtype=np.int32), counts)
    ids = pa.DictionaryArray.from_arrays(pa.array(numbers), pa.array(list(image_ids), pa.string()))
    return pa.Table.from_arrays([ids, *map(pa.array, columns)], schema=CANDIDATES_SCHEMA)
