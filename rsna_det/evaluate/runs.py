"""The evaluation of runs: the grid, the choice of an operating point, the report."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rsna_det.config.console import table_of
from rsna_det.config.options import EvaluateOptions
from rsna_det.drawing.tables import counted, listed, number, with_interval
from rsna_det.errors import ConfigError
from rsna_det.evaluate.run_report import NOTHING_RIGHT, RunScores, evidence, write_run_scores
from rsna_det.evaluation.grid import Grid, score_grid
from rsna_det.evaluation.operating_point import OPERATING_POINT, OperatingPoint, write_operating_point
from rsna_det.evaluation.operating_report import make_report
from rsna_det.evaluation.out_of_fold import OutOfFold, open_runs
from rsna_det.evaluation.selection import best_point, honest_selection, patient_halves, restricted
from rsna_det.runs.agreement import common_settings, differences_in_words, named_runs
from rsna_det.runs.folder import RunFolder

log = logging.getLogger(__name__)


def score_runs(options: EvaluateOptions) -> dict[str, float]:
    """Evaluate the runs that ``options.runs`` names and write everything into ``options.run_dir``.

    Returns:
        The numbers of the report, with ``honest_map`` and ``optimistic_map``.

    Raises:
        RsnaDetError: if there are no such runs, they are not folds of one experiment, an image is in two folds, or a
            table or the wanted epoch is missing or damaged.
    """
    folder = options.run_dir
    folders = named_runs(options.runs or [])
    decoding, image_size = common_settings(folders)
    joined = open_runs([folder.tables for folder in folders])
    _warn_of_missing(folders, joined)
    if options.epoch is not None and options.epoch not in joined.epochs:
        raise ConfigError(f"epoch is {options.epoch}; every run has tables of the epochs {list(joined.epochs)}")
    point = OperatingPoint.of_run(decoding=decoding, image_size=image_size, size_rule=_size_rule(options.size_rule))
    cuts = decoding.cuts if options.cut_grid is None else replace(decoding, cut_grid=options.cut_grid).cuts
    measured = _measure(options, folders, joined, point, cuts)
    scores = replace(measured, differences=tuple(differences_in_words(folders)))
    write_run_scores(scores, folder)
    places = [folder, *(f.checkpoints for f in folders if options.save_operating_point)]
    for place in places:
        _save_point(scores.report.point, evidence(scores), place)
    _show(scores, folder)
    return scores.report.numbers | {"honest_map": scores.honest_map, "optimistic_map": scores.chosen.score}


def _size_rule(name: str) -> str:
    if name == "percentile":
        raise ConfigError(
            "size_rule=percentile needs the head outputs of an ensemble: `python -m rsna_det.predict` applies it"
        )
    return name


def _warn_of_missing(folders: Sequence[RunFolder], joined: OutOfFold) -> None:
    for folder in folders:
        if not folder.result_file.is_file():
            log.warning("%s is not finished: only the epochs with tables are scored", folder)
    if joined.partial_epochs:
        log.warning("left out: epochs %s, since not every run has their tables", listed(joined.partial_epochs))
    if joined.missing_folds:
        log.warning("left out: folds %s, since no run validates on them", listed(joined.missing_folds))


def _measure(
    options: EvaluateOptions,
    folders: Sequence[RunFolder],
    joined: OutOfFold,
    point: OperatingPoint,
    cuts: Sequence[float],
) -> RunScores:
    grid = _grid(options, joined, point, cuts)
    nms_iou = point.nms_iou if options.nms_iou is None else options.nms_iou
    fixed = restricted(grid, epochs=[grid.epochs[-1]], nms_ious=[point.nms_iou], cuts=[point.cut])
    allowed = restricted(
        grid,
        epochs=None if options.epoch is None else [options.epoch],
        nms_ious=None if options.choose_nms_iou else [nms_iou],
        cuts=None if options.cut is None else [options.cut],
    )
    chosen = best_point(allowed, group=0)
    if chosen.score == 0:
        log.warning(NOTHING_RIGHT)
    predicted = joined.predicted(chosen.epoch)
    report = make_report(
        images=joined.images,
        rows=joined.candidates(chosen.epoch),
        point=replace(point, cut=chosen.cut, nms_iou=chosen.nms_iou, epoch=chosen.epoch),
        p_opacity=predicted["p_opacity"].to_numpy(np.float64),
        resamples=options.resamples,
        seed=options.seed,
    )
    capped = predicted.loc[predicted["candidates_before_cap"] > point.max_candidates]
    return RunScores(
        folders=tuple(folder.path for folder in folders),
        joined=joined,
        grid=grid,
        chosen=chosen,
        selection=honest_selection(replace(allowed, sums=allowed.sums[1:], counts=allowed.counts[1:])),
        report=report,
        capped=capped[["image_id", "candidates_before_cap"]],
        fixed=best_point(fixed, group=0),
    )


def _grid(options: EvaluateOptions, joined: OutOfFold, point: OperatingPoint, cuts: Sequence[float]) -> Grid:
    """All images, and the halves of the patients, at every configured or chosen score threshold and NMS IoU."""
    everything = torch.ones(1, len(joined.images), dtype=torch.bool)
    halves = patient_halves(joined.images["true_patient"].tolist(), splits=options.splits, seed=options.seed)
    cuts = _with(cuts, point.cut, options.cut)
    if cuts[0] < point.score_floor:
        raise ConfigError(
            f"the score threshold {cuts[0]:g} is below the runs' score floor of {point.score_floor:g}: candidates "
            "with lower scores are not stored"
        )
    return score_grid(
        epochs=((epoch, joined.candidates(epoch)) for epoch in joined.epochs),
        truths=joined.truths,
        groups=torch.cat([everything, halves]),
        cuts=cuts,
        nms_ious=_with(options.nms_ious, point.nms_iou, options.nms_iou),
        relative_cut=point.relative_cut,
        rescale_factor=point.rescale_factor if point.size_rule == "rescale" else 1.0,
    )


def _with(values: Sequence[float], *more: float | None) -> list[float]:
    return sorted({*values, *(value for value in more if value is not None)})


def _save_point(point: OperatingPoint, chosen_on: dict[str, Any], place: Path) -> None:
    if place.is_dir():
        write_operating_point(point, place / OPERATING_POINT, evidence=chosen_on)
    else:
        log.warning("there is no folder %s: the operating point is not written there", place)


def _show(scores: RunScores, folder: Path) -> None:
    numbers = scores.report.numbers
    point = scores.report.point
    score = scores.report.score
    patients = f"{numbers['true_patients']:,}" if scores.report.knows_patients else "no map"
    rows = {
        "mAP, optimistic (95% interval)": with_interval(score.estimate, score.low, score.high),
        "mAP, honest": number(scores.honest_map),
        "mAP, last epoch, run's threshold": number(scores.fixed.score),
        "operating point": f"epoch {point.epoch}, score threshold {point.cut:g}, NMS IoU {point.nms_iou:g}",
        "sensitivity": number(numbers["sensitivity"]),
        "false positives per image": number(numbers["false_positives_per_image"]),
        "COCO AP50, AP": f"{number(numbers['coco_ap50'])}, {number(numbers['coco_ap'])}",
        "AUC by best box, by global class": f"{number(numbers['auc_best_box'])}, {number(numbers['auc_global'])}",
        "images (patients), at the cap": f"{numbers['images']:,} ({patients}), {len(scores.capped):,}",
        "report": str(folder / "report.md"),
    }
    table_of(f"out-of-fold evaluation of {counted(len(scores.folders), 'run')}", rows)
