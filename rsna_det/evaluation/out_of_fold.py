"""The tables of an experiment's runs, one per fold, joined: each image predicted by a model that never saw it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from rsna_det.errors import DataError
from rsna_det.evaluation.candidate_rows import CandidateRows, candidate_rows, joined_rows
from rsna_det.evaluation.tables import RunTables


@dataclass(frozen=True, kw_only=True)
class OutOfFold:
    """The predictions of one or more runs on the images that they validate on.

    Attributes:
        tables: of the runs.
        images: one row an image, run after run, in the order of everything else: the columns of
            :data:`~rsna_det.evaluation.tables.TRUTH_SCHEMA` and ``run``, its run's number in ``tables``.
        epochs: that every run has tables of.
        partial_epochs: that only some runs have tables of; left out.
        missing_folds: that no run validates on.
    """

    tables: tuple[RunTables, ...]
    images: pd.DataFrame
    epochs: tuple[int, ...]
    partial_epochs: tuple[int, ...]
    missing_folds: tuple[int, ...]

    @property
    def truths(self) -> list[Float[Tensor, "_ 4"]]:
        """True boxes of each image, source pixels."""
        return true_boxes(self.images)

    def candidates(self, epoch: int) -> CandidateRows:
        """The candidates of every image at an epoch.

        Raises:
            MissingFileError: if a table is missing.
            DataError: if a run's tables are damaged, or not of exactly the images that it validates on.
        """
        return joined_rows([self._run_candidates(number, epoch) for number in range(len(self.tables))])

    def predicted(self, epoch: int) -> pd.DataFrame:
        """The predictions for whole images at an epoch: rows of :data:`~rsna_det.evaluation.tables.IMAGES_SCHEMA`.

        Raises:
            DataError: as :meth:`candidates`.
        """
        frames = [self._run_images(number, epoch) for number in range(len(self.tables))]
        return pd.concat(frames, ignore_index=True)

    def _run_candidates(self, number: int, epoch: int) -> CandidateRows:
        ids = self._run_images(number, epoch)["image_id"].tolist()
        table = self.tables[number].candidates(epoch)
        try:
            return candidate_rows(table, ids)
        except DataError as error:
            raise DataError(f"{self.tables[number].candidates_path(epoch)}: {error}") from error

    def _run_images(self, number: int, epoch: int) -> pd.DataFrame:
        frame = self.tables[number].images(epoch)
        expected = self.images.loc[self.images["run"] == number, "image_id"]
        _check_ids(self.tables[number].images_path(epoch), frame["image_id"], expected)
        return frame.set_index("image_id", drop=False).loc[expected.tolist()].reset_index(drop=True)


def open_runs(tables: Sequence[RunTables]) -> OutOfFold:
    """Join the runs of one experiment.

    Args:
        tables: of the runs, one per fold.

    Raises:
        MissingFileError: if a folder has no tables.
        DataError: if two runs validate on the same image, or differ in an image's patient, fold, category or boxes; if
            no epoch has both tables in all runs; if a table is damaged.
        ValueError: if there is no run.
    """
    if not tables:
        raise ValueError("expected the tables of one run or more, got none")
    folders = [own.folder for own in tables]
    truths = [own.truth() for own in tables]
    validated = [truth[truth["role"] == "val"].assign(run=number) for number, truth in enumerate(truths)]
    images = pd.concat(validated, ignore_index=True)
    if images.empty:
        raise DataError(f"no run validates on any image: {', '.join(map(str, folders))}")
    _check_once(images, folders)
    _check_labels(truths, folders)
    folds = {int(fold) for truth in truths for fold in truth["fold"].unique() if fold >= 0}
    every = [own.epochs for own in tables]
    epochs = _common_epochs(folders, every)
    return OutOfFold(
        tables=tuple(tables),
        images=images,
        epochs=epochs,
        partial_epochs=tuple(sorted({epoch for own in every for epoch in own} - set(epochs))),
        missing_folds=tuple(sorted(folds - set(images["fold"].tolist()))),
    )


def true_boxes(images: pd.DataFrame) -> list[Float[Tensor, "_ 4"]]:
    """The column ``boxes`` as tensors."""
    return [torch.tensor(np.array(list(boxes), dtype=np.float32)).reshape(-1, 4) for boxes in images["boxes"]]


def _check_once(images: pd.DataFrame, folders: Sequence[Path]) -> None:
    repeated = images[images["image_id"].duplicated(keep=False)]
    if repeated.empty:
        return
    name = repeated["image_id"].iloc[0]
    runs = sorted({str(folders[run]) for run in repeated["run"]})
    raise DataError(
        f"{repeated['image_id'].nunique()} images are validated more than once (the first: {name}), "
        f"by {', '.join(runs)}: name one run for each fold, all with the same folds"
    )


def _check_labels(truths: Sequence[pd.DataFrame], folders: Sequence[Path]) -> None:
    """Check each run's labels against those of all runs before it, on the images that they share."""
    known = _labels(truths[0]).assign(run=0)
    for number, truth in enumerate(truths[1:], start=1):
        labels = _labels(truth)
        one, other = known.align(labels, join="inner", axis=0)
        differ = one.index[one[other.columns].ne(other).any(axis=1).to_numpy()]
        if len(differ):
            earlier = folders[known.loc[differ[0], "run"]]
            raise DataError(
                f"{earlier} and {folders[number]} were trained with different labels, true patients or folds for "
                f"{len(differ)} images (the first: {differ[0]}): they are not folds of one experiment"
            )
        known = pd.concat([known, labels[~labels.index.isin(known.index)].assign(run=number)])


def _labels(truth: pd.DataFrame) -> pd.DataFrame:
    boxes = [str([list(map(float, box)) for box in boxes]) for boxes in truth["boxes"]]
    return truth.assign(boxes=boxes, category=truth["category"].fillna(-1)).set_index("image_id")[
        ["true_patient", "fold", "category", "boxes"]
    ]


def _common_epochs(folders: Sequence[Path], every: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    common = sorted(set(every[0]).intersection(*every[1:]))
    if not common:
        listed = "; ".join(f"{folder}: {list(e) or 'none'}" for folder, e in zip(folders, every, strict=True))
        raise DataError(f"no epoch has tables in every run ({listed}): train the runs for an epoch in common")
    return tuple(common)


def _check_ids(path: Path, ids: pd.Series, expected: pd.Series) -> None:
    if ids.is_unique and set(ids) == set(expected):
        return
    raise DataError(
        f"{path} has {ids.nunique()} images, {len(set(ids) & set(expected))} of them among the {len(expected)} images "
        "that the run validates on: a run with `trainer.limit_val_batches` (`debug=fast`) has no complete out-of-fold "
        "tables; otherwise train the run again"
    )
