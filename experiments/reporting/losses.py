"""The losses of a study's runs, from their metrics.csv: curves, the epoch of the lowest, and the lowest compared.

The paper argues from losses where it gives no score: in figures 2, 3, 4 and 7, and in sections 4.2 and 4.4.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from experiments.reporting.curves import curves_figure, what_lines_are
from experiments.reporting.study_report import Part, StudyReport, Variant
from rsna_det.drawing.tables import Style, number
from rsna_det.errors import ConfigError
from rsna_det.runs.folder import RunFolder

LOSSES = {
    "box_class": "box classification",
    "box_regression": "box regression",
    "global_class": "global classification",
    "loss": "total",
}
"""Columns of metrics.csv without ``train/`` and ``val/``, and their names in tables."""

_SPLITS = {"val": "validation", "train": "training"}
_GAP = "gap: box regression minus global classification"
_TOTAL = "The total of a variant without the global output lacks that term: do not compare totals with and without it."
_SAME_IMAGES = (
    "A lowest loss is chosen and measured on the same images. Each fold has its own images, so compare variants within "
    "a fold. The folds do not repeat one experiment, so their spread is not a standard error."
)
_EPOCHS = Style(formats={"mean": partial(number, decimals=1)})
_DIFFERENCES = Style(headings={"difference, mean": "mean difference", "lower in": "runs with a lower loss"})


def read_losses(variants: Sequence[Variant]) -> pd.DataFrame:
    """All losses of all runs.

    Args:
        variants: whose runs have a ``metrics.csv``.

    Returns:
        Columns ``variant``, ``seed``, ``fold``, ``epoch`` (from 0), ``split`` (``val`` or ``train``), ``loss`` (a key
        of :data:`LOSSES`) and ``value``, NaN where a run has none: one row each.

    Raises:
        RsnaDetError: if a run's table or configuration is missing or damaged.
    """
    runs = [
        _read_run(folder).assign(variant=variant.name, seed=seed)
        for variant in variants
        for seed, folders in variant.seeds.items()
        for folder in folders
    ]
    return pd.concat(runs, ignore_index=True)


def loss_curves(report: StudyReport, variants: Sequence[Variant], folder: Path) -> Part:
    """Every loss over epochs, one colour per variant: the mean over runs, and each run as a thin line.

    Raises:
        RsnaDetError: as :func:`read_losses`.
    """
    losses = read_losses(variants)
    path = folder / f"{report.study}_losses.png"
    labels = {variant.name: report.label(variant.name) for variant in variants}
    titles = {split: {loss: f"{name}, {said}" for loss, name in LOSSES.items()} for split, said in _SPLITS.items()}
    losses["panel"] = [titles[split][loss] for split, loss in zip(losses["split"], losses["loss"], strict=True)]
    panels = [list(row.values()) for row in titles.values()]
    curves_figure(losses, labels=labels, panels=panels, title=report.title, path=path)
    runs = len(losses[["seed", "fold"]].drop_duplicates())
    fold_0 = ", thin line of fold 0" if runs > 1 else ""
    text = (
        f"{what_lines_are(runs)} Training losses are with augmentation and dropout, validation losses without. "
        'What the paper\'s figures call "validation loss" is, in its published code, the box regression loss of fold 0 '
        f"(here: first row, second panel{fold_0}). {_TOTAL}"
    )
    return Part(name=f"{report.study}_losses", title="Losses over epochs", text=text, figure=path)


def lowest_epochs(report: StudyReport, variants: Sequence[Variant], folder: Path, *, claim: str = "") -> Part:  # noqa: ARG001
    """The epoch at which each validation loss is lowest, for each fold and on average.

    Args:
        report: of the study.
        variants: its runs.
        folder: of the report.
        claim: the paper's, with its section; empty if it makes none.

    Raises:
        RsnaDetError: as :func:`read_losses`.
    """
    lowest = lowest_of_runs(read_losses(variants))
    rows = []
    for variant in variants:
        own = lowest[lowest["variant"] == variant.name]
        epochs = pd.DataFrame({loss: one.set_index(["seed", "fold"])["epoch"] for loss, one in own.groupby("loss")})
        epochs = epochs[list(LOSSES)]
        epochs[_GAP] = epochs["box_regression"] - epochs["global_class"]
        last = own.set_index("loss")["at_last"].groupby("loss").sum()
        rows += [
            {"variant": report.label(variant.name), "loss": LOSSES.get(str(name), str(name))}
            | _by_fold(epochs[name])
            | {"lowest at the last epoch": "" if name == _GAP else f"{last.get(name, 0):g} of {epochs[name].count()}"}
            for name in epochs.columns
        ]
    said = f"The paper: {claim}" if claim else "The paper makes no claim about this."
    text = (
        f"{said}\n\nEpochs count from 0. A gap of 0 means that box regression and global classification are best at "
        "the same epoch; a positive gap means that global classification is best earlier. A loss that is lowest at a "
        "run's last epoch may still fall: its epoch is a lower bound."
    )
    return Part(
        name=f"{report.study}_lowest_epochs",
        title="Epoch of the lowest validation loss",
        text=text,
        table=pd.DataFrame(rows),
        style=_EPOCHS,
    )


def lowest_losses(
    report: StudyReport,
    variants: Sequence[Variant],
    folder: Path,  # noqa: ARG001
    *,
    claim: str,
    caution: str = "",
) -> Part:
    """The lowest validation losses of classification and of regression, and their differences from the baseline.

    Args:
        report: of the study.
        variants: its runs.
        folder: of the report.
        claim: the paper's, with its section.
        caution: why this study's losses are not comparable, if they are not.

    Raises:
        RsnaDetError: as :func:`read_losses`, or if the baseline is missing.
    """
    if report.baseline not in {variant.name for variant in variants}:
        raise ConfigError(f"{report.study} has no variant {report.baseline}, the baseline of the others")
    lowest = lowest_of_runs(read_losses(variants))
    values = {key: own.set_index(["seed", "fold"])["value"] for key, own in lowest.groupby(["loss", "variant"])}
    rows = []
    for loss in (name for name in LOSSES if name != "loss"):
        for variant in variants:
            own, base = values[loss, variant.name], values[loss, report.baseline]
            row = {"loss": LOSSES[loss], "variant": report.label(variant.name)} | _by_fold(own)
            if variant.name != report.baseline:
                common = own.index.intersection(base.index)
                more = own[common] - base[common]
                row |= {f"difference, {name}": value for name, value in _by_fold(more).items()}
                row["lower in"] = _lower_in(more)
            rows.append(row)
    text = (
        f"The paper: {claim}\n\nThe lowest loss over the epochs of each run. Differences are from "
        f"{report.label(report.baseline)}, fold by fold; below 0 the variant is better. {_SAME_IMAGES}"
    )
    return Part(
        name=f"{report.study}_lowest_losses",
        title="Lowest validation losses",
        text=f"{text} {caution}".strip(),
        table=pd.DataFrame(rows),
        style=_DIFFERENCES,
    )


def lowest_of_runs(losses: pd.DataFrame) -> pd.DataFrame:
    """The epoch and value at which each validation loss of each run is lowest.

    Args:
        losses: of :func:`read_losses`.

    Returns:
        Columns ``variant``, ``seed``, ``fold``, ``loss``, ``epoch`` (the first of equal ones), ``value`` and
        ``at_last`` (whether that is the run's last epoch); NaN and False if a run has no such loss.
    """
    rows = []
    keys = ["variant", "seed", "fold", "loss"]
    for _, run in losses[losses["split"] == "val"].groupby(keys, sort=False):
        known = run.dropna(subset="value").sort_values(["value", "epoch"])
        best = known.head(1) if len(known) else run.head(1).assign(epoch=np.nan)
        at_last = bool(best["epoch"].iloc[0] == run["epoch"].max())
        rows.append(best[[*keys, "epoch", "value"]].assign(at_last=at_last))
    return pd.concat(rows, ignore_index=True)


def _read_run(folder: RunFolder) -> pd.DataFrame:
    """A run's losses, as in :func:`read_losses` without the variant and the seed."""
    options, metrics = folder.options(), folder.metrics(needed=["val/box_regression"])
    table = [
        pd.DataFrame(
            {
                "epoch": metrics["epoch"].astype(int),
                "split": split,
                "loss": name,
                "value": _column(metrics, f"{split}/{name}", has_global=bool(options.model["global_head"])),
            }
        )
        for split in _SPLITS
        for name in LOSSES
    ]
    return pd.concat(table, ignore_index=True).assign(fold=int(options.data["fold"]))


def _column(metrics: pd.DataFrame, name: str, *, has_global: bool) -> pd.Series:
    """A loss of each epoch; a run without the global output logs 0 for it, which is no value."""
    if name not in metrics or (name.endswith("global_class") and not has_global):
        return pd.Series(np.nan, index=metrics.index)
    return metrics[name].astype(float)


def _by_fold(values: pd.Series) -> dict[str, float]:
    """Mean over all runs, and over the seeds of each fold, of a series by seed and fold; NaN if any value is."""
    folds = values.groupby(level="fold").apply(lambda own: own.mean(skipna=False))
    return {"mean": float(values.mean(skipna=False))} | {f"fold {fold}": float(folds[fold]) for fold in folds.index}


def _lower_in(differences: pd.Series) -> str:
    known = differences.dropna()
    return f"{int((known < 0).sum())} of {len(known)}" if len(known) else "-"
