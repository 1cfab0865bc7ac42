"""Finished cells of a study -> variants, compared honestly."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from omegaconf import DictConfig, OmegaConf

from experiments.reporting.study_report import StudyReport, Variant
from rsna_det.config import ConfigError
from rsna_det.evaluation.comparison import compare, conclusion, honest_shares
from rsna_det.evaluation.out_of_fold import OutOfFold, open_runs
from rsna_det.evaluation.selection import honest_selection, patient_halves
from rsna_det.evaluation.thresholds import score_grid
from rsna_det.evaluation.uncertainty import ImageShares
from rsna_det.run_folders import common_settings
from rsna_det.studies import launched_study

SPLITS, RESAMPLES, SEED = 20, 2000, 0
"""Of the honest selection and of the bootstrap."""


@dataclass(frozen=True, kw_only=True)
class Scored:
    """A variant's honest score, image by image.

    Attributes:
        shares: mean over its seeds.
        images: of the tables, in the order of the shares.
        cuts: lowest and highest that the honest selection chose.
        epochs: likewise.
    """

    shares: ImageShares
    images: pd.DataFrame
    cuts: tuple[float, float]
    epochs: tuple[int, int]


def finished_variants(report: StudyReport, places: Sequence[str]) -> list[Variant]:
    """The variants of a study as it was last started.

    Args:
        report: of the study.
        places: overrides of where studies are.

    Raises:
        ConfigError: if the study was never started, two of its cells differ in something else, or a cell is not
            finished; the message lists those.
    """
    study = launched_study(report.study, places)
    states = [(cell, cell.state) for cell in study.cells]
    unfinished = [f"  {c.id} {s.state} ({study.label(c)}) {s.detail}" for c, s in states if s.state != "finished"]
    if unfinished:
        raise ConfigError(
            f"{len(unfinished)} of the {len(states)} cells of {report.study} are not finished; the command that "
            "started it trains what is missing:\n" + "\n".join(unfinished)
        )
    found: dict[str, dict[int, dict[int, Path]]] = {}
    for cell in study.cells:
        config = run_config(cell.folder)
        value = str(_plain(OmegaConf.select(config, report.option)))
        folds = found.setdefault(value, {}).setdefault(config.seed, {})
        twin = folds.setdefault(config.data.fold, cell.folder)
        if twin != cell.folder:
            raise ConfigError(
                f"{twin} and {cell.folder} have the same {report.option}, seed and fold: they differ in something "
                "else, start the study with one value of that"
            )
    return [
        Variant(name=value, seeds={seed: tuple(folds[f] for f in sorted(folds)) for seed, folds in seeds.items()})
        for value, seeds in found.items()
    ]


def study_table(report: StudyReport, variants: Sequence[Variant]) -> tuple[pd.DataFrame, str]:
    """One row a variant, and what the rows say.

    Raises:
        ConfigError: if the baseline is missing, or variants were not validated on the same images.
        ValueError: if a run's tables are damaged.
    """
    if report.baseline not in {variant.name for variant in variants}:
        raise ConfigError(f"{report.study} has no variant {report.baseline}, which the others are held against")
    scored = {variant.name: score(variant) for variant in variants}
    images = scored[report.baseline].images
    for name, other in scored.items():
        if other.images["image_id"].tolist() != images["image_id"].tolist():
            raise ConfigError(
                f"{name} and {report.baseline} were not validated on the same images: train all folds of both"
            )
    table = compare(
        {name: one.shares for name, one in scored.items()},
        baseline=report.baseline,
        true_patients=images["true_patient"].tolist(),
        resamples=RESAMPLES,
        seed=SEED,
    )
    seeds = {variant.name: len(variant.seeds) for variant in variants}
    sentences = conclusion(table, baseline=report.baseline, images=len(images), seeds=min(seeds.values()))
    for fold in sorted(images["fold"].unique()):
        own = (images["fold"] == fold).to_numpy()
        table[f"fold {fold}"] = [one.shares.sums[own].sum() / one.shares.counts[own].sum() for one in scored.values()]
    table["seeds"] = [seeds[name] for name in table["variant"]]
    table["cut"] = [f"{one.cuts[0]:g} to {one.cuts[1]:g}" for one in scored.values()]
    table["epoch"] = [f"{one.epochs[0]} to {one.epochs[1]}" for one in scored.values()]
    table["paper"] = [report.paper.get(name, np.nan) for name in table["variant"]]
    table["variant"] = [report.label(name) for name in table["variant"]]
    return table, sentences


def score(variant: Variant) -> Scored:
    """Choose epoch and cut honestly for each seed, and average what comes of each image."""
    parts = [_score_seed(folders) for folders in variant.seeds.values()]
    ids = parts[0].images["image_id"].tolist()
    if any(part.images["image_id"].tolist() != ids for part in parts):
        raise ConfigError(f"the seeds of {variant.name} were not validated on the same images: train all folds of each")
    return Scored(
        shares=ImageShares.mean([part.shares for part in parts]),
        images=parts[0].images,
        cuts=(min(part.cuts[0] for part in parts), max(part.cuts[1] for part in parts)),
        epochs=(min(part.epochs[0] for part in parts), max(part.epochs[1] for part in parts)),
    )


def _score_seed(folders: Sequence[Path]) -> Scored:
    decoding, _ = common_settings(folders)
    joined: OutOfFold = open_runs(folders)
    halves = patient_halves(joined.images["true_patient"].tolist(), splits=SPLITS, seed=SEED)
    numbers = {"relative_cut": decoding.relative_cut, "rescale_factor": 1.0}
    grid = score_grid(
        epochs=((epoch, joined.candidates(epoch)) for epoch in joined.epochs),
        truths=joined.truths,
        groups=halves,
        cuts=decoding.cuts,
        nms_ious=[decoding.nms_iou],
        **numbers,
    )
    chosen = honest_selection(grid)
    return Scored(
        shares=honest_shares(grid=grid, halves=halves, candidates=joined.candidates, truths=joined.truths, **numbers),
        images=joined.images,
        cuts=(chosen["cut"].min(), chosen["cut"].max()),
        epochs=(chosen["epoch"].min(), chosen["epoch"].max()),
    )


def run_config(folder: Path) -> DictConfig:
    """A run's configuration as it was composed.

    Raises:
        ConfigError: if the folder has none.
        FileNotFoundError: likewise.
    """
    config = OmegaConf.load(folder / ".hydra" / "config.yaml")
    if not isinstance(config, DictConfig):
        raise ConfigError(f"{folder} has no configuration of a run")
    return config


def _plain(value: Any) -> Any:  # noqa: ANN401
    return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
