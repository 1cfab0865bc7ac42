"""Images -> folds for cross-validation: assigned here or read from a published file; and a report on them."""

from collections.abc import Collection
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Int
from sklearn.model_selection import StratifiedKFold

from rsna_det.data.labels.csv_tables import LabelError, LabelProblem, check_ids, read_table, report_rows
from rsna_det.data.labels.splitting import GroupFolds
from rsna_det.errors import DataError, InvalidValueError
from rsna_det.structures import CATEGORY_LABELS, Category

OUTSIDE = -1
"""The fold of an image that is kept out of training and validation."""


def with_folds(
    images: pd.DataFrame,
    *,
    num_folds: int,
    seed: int,
    folds_csv: Path | None = None,
    test_ids: Collection[str] = frozenset(),
    group_by_patient: bool = True,
) -> pd.DataFrame:
    """The images with a column ``fold``: 0 to ``num_folds`` - 1, or -1 for an image kept out of all folds.

    Args:
        images: the frame of :func:`rsna_det.data.labels.reading.read_labels`.
        num_folds: number of folds; a published file must have as many.
        seed: of the assignment.
        folds_csv: a published fold file, used in place of an assignment.
        test_ids: images kept out of all folds, whatever the fold file says of them (the paper's own test set is a
            part of the challenge's second-stage training set). Ids of other images are ignored.
        group_by_patient: keep all images of a true patient in one fold.

    Raises:
        InvalidValueError: folds that cannot be made.
        DataError: test ids of which no image is known, or a fold file that contradicts ``num_folds``.
        LabelError: everything that is wrong with the fold file, at once.
    """
    _check_numbers(num_folds=num_folds, seed=seed)
    outside = images["image_id"].isin(list(test_ids)).to_numpy()
    if test_ids and not outside.any():
        raise DataError(f"none of the {len(test_ids)} test ids is among the {len(images)} images; check data.test_ids")
    fold = np.full(len(images), OUTSIDE, dtype=np.int64)
    inside = images[~outside]
    if folds_csv is not None:
        fold[~outside] = read_folds(folds_csv, inside)
        _check_published(folds_csv, fold, num_folds=num_folds)
    else:
        fold[~outside] = assign_folds(inside, num_folds=num_folds, seed=seed, group_by_patient=group_by_patient)
    return images.assign(fold=fold)


def assign_folds(
    images: pd.DataFrame, *, num_folds: int, seed: int, group_by_patient: bool = True
) -> Int[np.ndarray, " images"]:
    """A fold for each image, with about the same share of each category in every fold.

    Args:
        images: the frame of :func:`rsna_det.data.labels.reading.read_labels`.
        num_folds: 2 or more.
        seed: the same images and seed give the same folds (with the same version of scikit-learn).
        group_by_patient: keep all images of a true patient in one fold.

    Raises:
        InvalidValueError: a category has fewer images (or patients) than there are folds.
    """
    _check_numbers(num_folds=num_folds, seed=seed)
    groups = images["true_patient" if group_by_patient else "image_id"]
    for category, members in groups.groupby(images["category"]):
        if members.nunique() < num_folds:
            label, noun = Category(category).label, "true patients" if group_by_patient else "images"
            found = f"{label!r} has {members.nunique()} {noun} in {len(images)} images, too few for {num_folds} folds"
            raise InvalidValueError(f"{found}; ask for fewer with data.num_folds, or give data.folds_csv")
    splitter = GroupFolds if group_by_patient else StratifiedKFold
    splits = splitter(n_splits=num_folds, shuffle=True, random_state=seed)
    fold = np.full(len(images), OUTSIDE, dtype=np.int64)
    split = splits.split(images["category"], images["category"], groups if group_by_patient else None)
    for index, (_, validation) in enumerate(split):
        fold[validation] = index
    _check_filled(fold, num_folds=num_folds, source="the assignment")
    return fold


def read_folds(path: Path, images: pd.DataFrame) -> Int[np.ndarray, " images"]:
    """The fold of each image in a published file with the columns ``patientId,fold`` (-1: outside all folds).

    Ids of other images are ignored: the file may cover more images than are here. A column ``class`` is compared with
    the images' own categories.

    Raises:
        MissingFileError, StorageError: the file cannot be read.
        LabelError: everything that is wrong with the file, at once, such as an image that it does not list.
    """
    table = read_table(path, ["patientId", "fold"], optional=["class"])
    numbers = pd.to_numeric(table["fold"], errors="coerce").astype(np.float64)
    table["number"] = numbers.where((numbers >= OUTSIDE) & (numbers % 1 == 0))
    problems = check_ids(path, table)
    problems += report_rows(
        path, table[table["number"].isna()], "image {patientId} has the fold {fold!r}, expected -1, 0, 1 ..."
    )
    problems += report_rows(path, table[table.duplicated("patientId")], "image {patientId} occurs twice")
    listed = table.drop_duplicates("patientId").set_index("patientId")
    missing = images[~images["image_id"].isin(listed.index)]["image_id"]
    remedy = "has no fold; add it, or keep it out of all folds with data.test_ids"
    problems += [LabelProblem(file=path, row=None, problem=f"image {image_id} {remedy}") for image_id in missing]
    if "class" in table:
        table["ours"] = table["patientId"].map(_labels(images))
        clash = table[table["ours"].notna() & (table["class"] != table["ours"])]
        problems += report_rows(path, clash, "image {patientId} is {class!r} here and {ours!r} in the labels")
    if problems:
        raise LabelError(problems)
    return images["image_id"].map(listed["number"]).to_numpy(np.int64)


def fold_report(images: pd.DataFrame) -> pd.DataFrame:
    """A row per fold, one for the images outside all folds if there are any, and a total row.

    Columns: ``fold`` (a text: the number, "outside" or "total"), ``images``, ``positives`` (images with boxes),
    ``boxes``, one per category label; ``shared_images`` and ``shared_positives``: those whose true patient also has
    images in another fold, so that validation leaks into training (an image outside is compared with all folds, one in
    a fold not with those outside); and the same in percent, ``_percent``.
    """
    count = images["boxes"].map(len)
    facts = pd.DataFrame({"fold": images["fold"], "images": 1, "positives": (count > 0).astype(int), "boxes": count})
    for category, label in CATEGORY_LABELS.items():
        facts[label] = (images["category"] == category).astype(int)
    facts["shared_images"] = _shared(images).astype(int)
    facts["shared_positives"] = facts["shared_images"] * facts["positives"]
    report = facts.groupby("fold").sum().sort_index(key=lambda fold: fold.where(fold != OUTSIDE, fold.max() + 1))
    report.index = report.index.map(lambda fold: "outside" if fold == OUTSIDE else str(fold))
    report.loc["total"] = report.sum()
    for name in ("images", "positives"):
        share = report[f"shared_{name}"] / report[name].where(report[name] > 0)
        report[f"shared_{name}_percent"] = (100 * share).fillna(0.0)
    return report.rename_axis("fold").reset_index()


def _shared(images: pd.DataFrame) -> pd.Series:
    """Whether an image's true patient has images in a fold other than its own."""
    inside = images[images["fold"] != OUTSIDE]
    in_folds = images["true_patient"].map(inside.groupby("true_patient").size()).fillna(0)
    in_own = inside.groupby(["true_patient", "fold"])["image_id"].transform("size").reindex(images.index).fillna(0)
    return in_folds > in_own


def _labels(images: pd.DataFrame) -> pd.Series:
    labels = images["category"].map(lambda value: Category(value).label)
    return pd.Series(labels.to_numpy(), index=images["image_id"].to_numpy(), dtype=object)


def _check_numbers(*, num_folds: int, seed: int) -> None:
    if num_folds < 2:
        raise InvalidValueError(f"data.num_folds is {num_folds}; expected 2 or more")
    if not 0 <= seed < 2**32:
        raise InvalidValueError(f"the seed of the folds is {seed}; expected 0 to 4294967295")


def _check_published(path: Path, fold: Int[np.ndarray, " images"], *, num_folds: int) -> None:
    if fold.max(initial=OUTSIDE) >= num_folds:
        raise DataError(f"{path} has folds up to {fold.max()}, data.num_folds is {num_folds}; they must agree")
    _check_filled(fold, num_folds=num_folds, source=str(path))


def _check_filled(fold: Int[np.ndarray, " images"], *, num_folds: int, source: str) -> None:
    empty = sorted(set(range(num_folds)) - set(fold.tolist()))
    if empty:
        raise InvalidValueError(
            f"{source} leaves no image for fold {empty}; data.num_folds is {num_folds}, ask for fewer"
        )
