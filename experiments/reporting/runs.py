"""Finished runs of a study -> variants, compared with epoch and score threshold chosen honestly."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from experiments.reporting.study_report import StudyReport, Variant
from rsna_det.config.options import TrainOptions, as_plain
from rsna_det.errors import ConfigError
from rsna_det.evaluation.grid import score_grid
from rsna_det.evaluation.operating_report import units_in_words
from rsna_det.evaluation.out_of_fold import OutOfFold, open_runs
from rsna_det.evaluation.selection import honest_selection, patient_halves
from rsna_det.evaluation.statistics.bootstrap import ImageContributions
from rsna_det.evaluation.statistics.comparison import Comparison, compare, honest_contributions
from rsna_det.evaluation.statistics.conclusion import conclusion
from rsna_det.files.tables import markdown_text
from rsna_det.runs.agreement import common_settings
from rsna_det.runs.folder import RunFolder
from rsna_det.studies.plan import launched_study

SPLITS, RESAMPLES, SEED = 20, 2000, 0
"""Of the honest selection and of the bootstrap."""


@dataclass(frozen=True, kw_only=True)
class ScoredSeed:
    """The honest score of one seed, image by image.

    Attributes:
        folders: of its runs.
        contributions: of the images to the score.
        joined: the tables of its runs.
        chosen: epoch and score threshold that the honest selection chose on each half of each split.
    """

    folders: tuple[RunFolder, ...]
    contributions: ImageContributions
    joined: OutOfFold
    chosen: pd.DataFrame


@dataclass(frozen=True, kw_only=True)
class StudyResult:
    """A finished study, compared.

    Attributes:
        table: one row per variant, by its label: score, the paper's score, difference, folds, seeds, and the range of
            chosen score thresholds and epochs.
        sentences: what follows from the rows, and what does not.
        variants: with their runs.
        scored: by the variant's label, its seeds in order.
        images: of the validation, the same for all: the columns of the truth table.
    """

    table: pd.DataFrame
    sentences: str
    variants: Sequence[Variant]
    scored: Mapping[str, Sequence[ScoredSeed]]
    images: pd.DataFrame


def finished_variants(report: StudyReport, places: Sequence[str]) -> list[Variant]:
    """The variants of a study as it was last started.

    Args:
        report: of the study.
        places: overrides of where studies are.

    Raises:
        RsnaDetError: if the study was never started, runs are not finished (the message lists them) or damaged, or two
            runs of one variant, seed and fold differ in another option.
    """
    study = launched_study(report.study, places)
    states = [(run, run.state) for run in study.runs]
    unfinished = [f"  {r.id} {s.state} ({study.label(r)}) {s.detail}" for r, s in states if s.state != "finished"]
    if unfinished:
        raise ConfigError(
            f"{len(unfinished)} of the {len(states)} runs of {report.study} are not finished; the command that "
            "started it trains what is missing:\n" + "\n".join(unfinished)
        )
    found: dict[str, dict[int, dict[int, RunFolder]]] = {}
    for run in study.runs:
        options = run.folder.options()
        value = variant_name(options, report.option)
        folds = found.setdefault(value, {}).setdefault(options.seed, {})
        twin = folds.setdefault(options.data["fold"], run.folder)
        if twin != run.folder:
            raise ConfigError(
                f"{twin} and {run.folder} have the same {report.option}, seed and fold, so they differ in another "
                "option: start the study with one value of it"
            )
    return [
        Variant(name=value, seeds={seed: tuple(folds[f] for f in sorted(folds)) for seed, folds in seeds.items()})
        for value, seeds in found.items()
    ]


def compared(report: StudyReport, variants: Sequence[Variant]) -> StudyResult:
    """Score every variant honestly, and compare them.

    Raises:
        RsnaDetError: if the baseline is missing, variants or seeds were not validated on the same images, or a run's
            tables are damaged.
    """
    if report.baseline not in {variant.name for variant in variants}:
        raise ConfigError(f"{report.study} has no variant {report.baseline}, the baseline of the others")
    scored = {report.label(v.name): [score_seed(folders) for folders in v.seeds.values()] for v in variants}
    baseline = report.label(report.baseline)
    images = _same_images(scored, baseline=baseline)
    comparison = compare(
        {name: [seed.contributions for seed in seeds] for name, seeds in scored.items()},
        baseline=baseline,
        true_patients=images["true_patient"].tolist(),
        resamples=RESAMPLES,
        seed=SEED,
    )
    return StudyResult(
        table=_in_order(
            comparison.table.assign(
                **_details(scored, images), paper=[report.paper.get(variant.name, np.nan) for variant in variants]
            )
        ),
        sentences=_sentences(comparison, images),
        variants=variants,
        scored=scored,
        images=images,
    )


def _sentences(comparison: Comparison, images: pd.DataFrame) -> str:
    if not comparison.table["map"].max() > 0:
        return "No variant has a true positive: there is nothing to compare."
    units = units_in_words(images["true_patient"])
    concluded = markdown_text(conclusion(comparison, folds=images["fold"].nunique()))
    return (
        f"{concluded}\n\nEvery variant's epoch and score threshold are "
        f"chosen on one half of the {units.partition(' (')[0]}, and its mAP is measured on the other half: the mean "
        f"over {SPLITS} random splits in both directions. Differences are paired over the same images. Intervals are "
        f"95% bootstraps over {units}; they take the chosen epochs and thresholds as given."
    )


def _details(scored: Mapping[str, Sequence[ScoredSeed]], images: pd.DataFrame) -> dict[str, list[Any]]:
    """Further columns with a value for each variant: the score of each fold, the seeds, and what was chosen."""
    columns: dict[str, list[Any]] = {}
    for fold in sorted(images["fold"].unique()):
        inside = (images["fold"] == fold).to_numpy()
        parts = [ImageContributions.mean([seed.contributions for seed in seeds]) for seeds in scored.values()]
        columns[f"fold {fold}"] = [part.of_images(inside).value for part in parts]
    columns["seeds"] = [len(seeds) for seeds in scored.values()]
    for name in ("cut", "epoch"):
        chosen = [pd.concat([seed.chosen[name] for seed in seeds]) for seeds in scored.values()]
        columns[name] = [f"{one.min():g} to {one.max():g}" for one in chosen]
    return columns


def _in_order(table: pd.DataFrame) -> pd.DataFrame:
    """The most important columns first: the score, the paper's beside it, the difference, then the details."""
    last = ["standard_error", "training_error", "seeds", "cut", "epoch"]
    first = ["variant", "map", "map_low", "map_high", "paper"]
    return table[[*first, *(name for name in table.columns if name not in {*first, *last}), *last]]


def _same_images(scored: Mapping[str, Sequence[ScoredSeed]], *, baseline: str) -> pd.DataFrame:
    images = scored[baseline][0].joined.images
    for name, seeds in scored.items():
        if any(seed.joined.images["image_id"].tolist() != images["image_id"].tolist() for seed in seeds):
            raise ConfigError(
                f"the runs of {name} and of {baseline} were not validated on the same images: train all folds and "
                "seeds of both"
            )
    return images


def score_seed(folders: Sequence[RunFolder]) -> ScoredSeed:
    """Choose epoch and score threshold honestly for the runs of one seed, and score every image.

    Args:
        folders: of the runs, one for each fold.

    Raises:
        RsnaDetError: if the runs do not decode alike, or a run's tables are damaged.
    """
    decoding, _ = common_settings(folders)
    joined = open_runs([folder.tables for folder in folders])
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
    return ScoredSeed(
        folders=tuple(folders),
        contributions=honest_contributions(
            grid=grid, halves=halves, candidates=joined.candidates, truths=joined.truths, **numbers
        ),
        joined=joined,
        chosen=honest_selection(grid),
    )


def variant_name(options: TrainOptions, option: str) -> str:
    """The value of an option as text; a number is the same however it is written.

    Args:
        options: of a run.
        option: dotted path; of several, separated by commas, the values are too.
    """
    plain = as_plain(options)
    return ", ".join(_value(plain, path) for path in option.split(","))


def _value(plain: Mapping[str, Any], path: str) -> str:
    value: Any = plain
    for key in path.split("."):
        value = value[key]
    return f"{value:g}" if isinstance(value, float) else str(value)
