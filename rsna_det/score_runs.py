"""The evaluation of runs: the grid, the choice of an operating point, and the report."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from omegaconf import DictConfig

from rsna_det.cli import table_of
from rsna_det.config import ConfigError
from rsna_det.evaluation.figures import heat_map
from rsna_det.evaluation.out_of_fold import OutOfFold, open_runs
from rsna_det.evaluation.postprocess import OPERATING_POINT, OperatingPoint, write_operating_point
from rsna_det.evaluation.report import OperatingReport, make_report, markdown_table, write_report
from rsna_det.evaluation.selection import Cell, best_cell, honest_selection, patient_halves, restricted
from rsna_det.evaluation.thresholds import Grid, score_grid
from rsna_det.run_folders import common_settings, run_folders

log = logging.getLogger(__name__)

_NAMED = 5
_HONEST = (
    "The honest figure is the mean over both directions of random splits of the true patients (selection.csv has "
    "each). It is what choosing in this way is worth; the optimistic one is the same choice held against itself."
)


@dataclass(frozen=True, kw_only=True)
class RunScores:
    """What the evaluation of runs found.

    Attributes:
        joined: the runs' tables.
        grid: scores of every cell; group 0 is all images, the others are halves of the patients.
        chosen: the cell of highest mAP over all images (optimistic).
        selection: choices on one half and their scores on the other (honest).
        report: at the chosen cell.
        capped: images with more candidates than were stored.
        fixed: the cell of the last epoch at the run's own cut and NMS IoU: chosen on nothing.
    """

    joined: OutOfFold
    grid: Grid
    chosen: Cell
    selection: pd.DataFrame
    report: OperatingReport
    capped: pd.DataFrame
    fixed: Cell

    @property
    def honest_map(self) -> float:
        """Mean over both directions of all splits."""
        return float(self.selection["score"].mean())


def score_runs(config: DictConfig, folder: Path) -> dict[str, float]:
    """Evaluate the runs that ``config.runs`` names and write everything into ``folder``.

    Returns:
        The numbers of the report, with ``honest_map`` and ``optimistic_map``.

    Raises:
        ConfigError: if there are no such runs, or they are not folds of one experiment.
        FileNotFoundError: if a run has no tables.
        ValueError: if a table is damaged, or an image is in two folds.
    """
    folders = run_folders(config.runs)
    decoding, image_size = common_settings(folders)
    joined = open_runs(folders)
    _say_what_is_missing(joined)
    point = OperatingPoint(
        image_size=image_size,
        score_floor=decoding.score_floor,
        max_candidates=decoding.max_candidates,
        nms_iou=decoding.nms_iou,
        relative_cut=decoding.relative_cut,
        cut=decoding.cut,
        size_rule=_size_rule(config.size_rule),
    )
    cuts = decoding.cuts if config.cut_grid is None else replace(decoding, cut_grid=config.cut_grid).cuts
    scores = _measure(config, joined, point, cuts)
    _write(scores, folder)
    evidence = _evidence(scores)
    places = [folder, *(f / "checkpoints" for f in folders if config.save_operating_point)]
    for place in places:
        _save_point(scores.report.point, evidence, place)
    _show(scores, folder)
    return scores.report.numbers | {"honest_map": scores.honest_map, "optimistic_map": scores.chosen.score}


def grid_table(grid: Grid) -> pd.DataFrame:
    """Group 0 of a grid as rows: ``epoch, nms_iou, cut, map, images`` (those that count)."""
    index = pd.MultiIndex.from_product([grid.epochs, grid.nms_ious, grid.cuts], names=["epoch", "nms_iou", "cut"])
    values = {"map": grid.scores[0].flatten().numpy(), "images": grid.counts[0].flatten().numpy()}
    return pd.DataFrame(values, index=index).reset_index()


def _size_rule(name: str) -> str:
    if name == "percentile":
        raise ConfigError(
            "size_rule=percentile needs an ensemble's head outputs: `python -m rsna_det.predict` applies it"
        )
    return name


def _say_what_is_missing(joined: OutOfFold) -> None:
    for folder in joined.folders:
        if not (folder / "result.json").is_file():
            log.warning("%s is not finished: the epochs that it has tables of are scored", folder)
    if joined.partial_epochs:
        log.warning("only some runs have tables of the epochs %s: they are left out", list(joined.partial_epochs))
    if joined.missing_folds:
        log.warning("no run validates on the folds %s: they are left out", list(joined.missing_folds))


def _measure(config: DictConfig, joined: OutOfFold, point: OperatingPoint, cuts: Sequence[float]) -> RunScores:
    grid = _grid(config, joined, point, cuts)
    fixed = restricted(grid, epochs=[grid.epochs[-1]], nms_ious=[point.nms_iou], cuts=[point.cut])
    allowed = restricted(
        grid,
        epochs=None if config.epoch is None else [config.epoch],
        nms_ious=None if config.choose_nms_iou else [_value(config.nms_iou, point.nms_iou)],
        cuts=None if config.cut is None else [config.cut],
    )
    chosen = best_cell(allowed, group=0)
    predicted = joined.predicted(chosen.epoch)
    report = make_report(
        images=joined.images,
        rows=joined.candidates(chosen.epoch),
        point=replace(point, cut=chosen.cut, nms_iou=chosen.nms_iou, epoch=chosen.epoch),
        p_opacity=predicted["p_opacity"].to_numpy(np.float64),
        resamples=config.resamples,
        seed=config.seed,
    )
    capped = predicted.loc[predicted["candidates_before_cap"] > point.max_candidates]
    return RunScores(
        joined=joined,
        grid=grid,
        chosen=chosen,
        selection=honest_selection(replace(allowed, sums=allowed.sums[1:], counts=allowed.counts[1:])),
        report=report,
        capped=capped[["image_id", "candidates_before_cap"]],
        fixed=best_cell(fixed, group=0),
    )


def _grid(config: DictConfig, joined: OutOfFold, point: OperatingPoint, cuts: Sequence[float]) -> Grid:
    """All images, and the halves of the patients, at every cut and NMS IoU that is configured or chosen."""
    everything = torch.ones(1, len(joined.images), dtype=torch.bool)
    halves = patient_halves(joined.images["true_patient"].tolist(), splits=config.splits, seed=config.seed)
    cuts = _with(cuts, point.cut, config.cut)
    if cuts[0] < point.score_floor:
        raise ConfigError(
            f"a cut of {cuts[0]} is below the runs' score floor of {point.score_floor}: nothing is stored there"
        )
    return score_grid(
        epochs=((epoch, joined.candidates(epoch)) for epoch in joined.epochs),
        truths=joined.truths,
        groups=torch.cat([everything, halves]),
        cuts=cuts,
        nms_ious=_with(config.nms_ious, point.nms_iou, config.nms_iou),
        relative_cut=point.relative_cut,
        rescale_factor=point.rescale_factor if point.size_rule == "rescale" else 1.0,
    )


def _with(values: Sequence[float], *more: float | None) -> list[float]:
    return sorted({*values, *(value for value in more if value is not None)})


def _value(given: float | None, otherwise: float) -> float:
    return otherwise if given is None else given


def _write(scores: RunScores, folder: Path) -> None:
    """Tables, figures and the report."""
    grid_table(scores.grid).to_csv(folder / "grid.csv", index=False)
    scores.selection.to_csv(folder / "selection.csv", index=False)
    scores.capped.to_csv(folder / "capped_images.csv", index=False)
    _draw(scores.grid, scores.chosen, folder)
    runs = len(scores.joined.folders)
    write_report(
        scores.report,
        folder,
        title=f"Out-of-fold evaluation of {runs} run{'s' if runs > 1 else ''}",
        sections=_sections(scores),
    )


def _draw(grid: Grid, chosen: Cell, folder: Path) -> None:
    """Figure 8, once over the cuts and once over the NMS IoUs."""
    values = grid.scores[0].numpy()
    heat_map(
        values[:, grid.nms_ious.index(chosen.nms_iou)].T,
        epochs=grid.epochs,
        values=grid.cuts,
        axis="score cut",
        title=f"validation mAP, NMS IoU {chosen.nms_iou:g}",
        chosen=(chosen.epoch, chosen.cut),
        path=folder / "figure_8_score_cuts.png",
    )
    heat_map(
        values[:, :, grid.cuts.index(chosen.cut)].T,
        epochs=grid.epochs,
        values=grid.nms_ious,
        axis="NMS IoU",
        title=f"validation mAP, score cut {chosen.cut:g}",
        chosen=(chosen.epoch, chosen.nms_iou),
        path=folder / "figure_8_nms_ious.png",
    )


def _sections(scores: RunScores) -> dict[str, str]:
    joined, point = scores.joined, scores.report.point
    runs = "\n".join(f"- `{folder}`" for folder in joined.folders)
    per_fold = joined.images.assign(score=scores.report.results["score"]).groupby("fold")["score"]
    folds = per_fold.agg(images="size", images_that_count="count", map="mean").reset_index()
    missing = f"\n\nNot validated by any run: folds {list(joined.missing_folds)}." if joined.missing_folds else ""
    if joined.partial_epochs:
        missing += f"\n\nLeft out, since only some runs have tables of them: epochs {list(joined.partial_epochs)}."
    capped = scores.capped["image_id"].tolist()
    named = f" (the first: {', '.join(capped[:_NAMED])}; all in capped_images.csv)" if capped else ""
    return {
        "Runs": f"{runs}\n\n{markdown_table(folds)}{missing}",
        "Operating point": (
            f"Epoch {point.epoch}, score above {point.cut:g}, NMS IoU {point.nms_iou:g}, boxes from "
            f"{point.relative_cut:g} of their image's best score on, size rule `{point.size_rule}`.\n\n"
            f"{len(capped)} of {len(joined.images)} images had more than {point.max_candidates} candidates at this "
            f"epoch, of which only the best are stored{named}: the scores are exact for what is stored."
        ),
        "Honest and optimistic": f"{markdown_table(_choices(scores))}\n\n{_HONEST}",
        "Epochs and thresholds": (
            "![score cuts](figure_8_score_cuts.png) ![NMS IoUs](figure_8_nms_ious.png)\n\nEvery cell: grid.csv."
        ),
    }


def _choices(scores: RunScores) -> pd.DataFrame:
    """The score by how epoch and cut were chosen."""
    chosen, fixed, selection = scores.chosen, scores.fixed, scores.selection
    spread = f"{selection['cut'].min():g} to {selection['cut'].max():g}"
    epochs = f"{selection['epoch'].min()} to {selection['epoch'].max()}"
    rows = [
        ("optimistic: chosen and measured on all patients", chosen.score, str(chosen.epoch), f"{chosen.cut:g}"),
        ("honest: chosen on one half of the patients, measured on the other", scores.honest_map, epochs, spread),
        ("the last epoch at the run's own cut: nothing chosen", fixed.score, str(fixed.epoch), f"{fixed.cut:g}"),
    ]
    return pd.DataFrame(rows, columns=["how", "map", "epoch", "cut"])


def _evidence(scores: RunScores) -> dict[str, Any]:
    score = scores.report.score
    return {
        "optimistic_map": round(score.estimate, 6),
        "interval_95": [round(score.low, 6), round(score.high, 6)],
        "honest_map": round(scores.honest_map, 6),
        "images": len(scores.joined.images),
        "runs": [str(folder) for folder in scores.joined.folders],
    }


def _save_point(point: OperatingPoint, evidence: dict[str, Any], place: Path) -> None:
    if place.is_dir():
        write_operating_point(point, place / OPERATING_POINT, evidence=evidence)
    else:
        log.warning("there is no folder %s to write the operating point into", place)


def _show(scores: RunScores, folder: Path) -> None:
    numbers = scores.report.numbers
    point = scores.report.point
    rows = {
        "mAP, optimistic (95% interval)": str(scores.report.score),
        "mAP, honest": f"{scores.honest_map:.4f}",
        "mAP, last epoch, run's own cut": f"{scores.fixed.score:.4f}",
        "operating point": f"epoch {point.epoch}, cut {point.cut:g}, NMS IoU {point.nms_iou:g}",
        "sensitivity, false positives/image": (
            f"{numbers['sensitivity']:.3f}, {numbers['false_positives_per_image']:.3f}"
        ),
        "COCO AP50, AP": f"{numbers['coco_ap50']:.4f}, {numbers['coco_ap']:.4f}",
        "AUC best box, global class": f"{numbers['auc_best_box']:.4f}, {numbers['auc_global']:.4f}",
        "images (patients), at the cap": (f"{numbers['images']} ({numbers['true_patients']}), {len(scores.capped)}"),
        "report": str(folder / "report.md"),
    }
    table_of(f"out-of-fold evaluation, {len(scores.joined.folders)} run(s)", rows)
