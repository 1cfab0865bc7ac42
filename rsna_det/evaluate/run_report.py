"""What the evaluation of runs found, as tables, figures and a report."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from rsna_det.drawing.figures import heat_map
from rsna_det.evaluate.report import write_report
from rsna_det.evaluation.grid import Grid
from rsna_det.evaluation.operating_report import OperatingReport, units_in_words
from rsna_det.evaluation.out_of_fold import OutOfFold
from rsna_det.evaluation.selection import GridPoint, honest_mean
from rsna_det.files.tables import markdown_table, write_csv

_NAMED = 5
_HONEST = (
    "The honest figure is the mean over the images that count, in both directions of random splits of the {units}; "
    "selection.csv has each. It is "
    "what choosing in this way is worth; the optimistic one is the same choice held against itself."
)

NOTHING_RIGHT = (
    "the highest mAP of the grid is 0: no grid point has a true positive, so the operating point means nothing"
)


@dataclass(frozen=True, kw_only=True)
class RunScores:
    """What the evaluation of runs found.

    Attributes:
        folders: of the runs.
        joined: the runs' tables.
        grid: scores at every grid point; group 0 is all images, the others are halves of the patients.
        chosen: the grid point of highest mAP over all images (optimistic).
        selection: choices on one half and their scores on the other (honest).
        report: at the chosen grid point.
        capped: images with more candidates than were stored.
        fixed: the grid point of the last epoch at the run's own cut and NMS IoU: chosen on nothing.
        differences: sentences on runs whose options are not those of the first.
    """

    folders: tuple[Path, ...]
    joined: OutOfFold
    grid: Grid
    chosen: GridPoint
    selection: pd.DataFrame
    report: OperatingReport
    capped: pd.DataFrame
    fixed: GridPoint
    differences: tuple[str, ...] = ()

    @property
    def honest_map(self) -> float:
        """Mean over the images of both directions of all splits."""
        return honest_mean(self.selection)


def grid_table(grid: Grid) -> pd.DataFrame:
    """Group 0 of a grid as rows: ``epoch, nms_iou, cut, map, images`` (those that count)."""
    index = pd.MultiIndex.from_product([grid.epochs, grid.nms_ious, grid.cuts], names=["epoch", "nms_iou", "cut"])
    values = {"map": grid.scores[0].flatten().numpy(), "images": grid.counts[0].flatten().numpy()}
    return pd.DataFrame(values, index=index).reset_index()


def write_run_scores(scores: RunScores, folder: Path) -> None:
    """Write tables, figures and the report.

    Args:
        scores: what was found.
        folder: that exists.

    Raises:
        OSError: if something cannot be written.
    """
    write_csv(grid_table(scores.grid), folder / "grid.csv")
    write_csv(scores.selection, folder / "selection.csv")
    write_csv(scores.capped, folder / "capped_images.csv")
    _draw(scores.grid, scores.chosen, folder)
    runs = len(scores.folders)
    write_report(
        scores.report,
        folder,
        title=f"Out-of-fold evaluation of {runs} run{'s' if runs > 1 else ''}",
        sections=_sections(scores),
    )


def evidence(scores: RunScores) -> dict[str, Any]:
    """What an operating point was chosen on, in plain values for its file."""
    score = scores.report.score
    return {
        "optimistic_map": round(score.estimate, 6),
        "interval_95": [round(score.low, 6), round(score.high, 6)],
        "honest_map": round(scores.honest_map, 6),
        "images": len(scores.joined.images),
        "runs": [str(folder) for folder in scores.folders],
    }


def _draw(grid: Grid, chosen: GridPoint, folder: Path) -> None:
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
    runs = "\n".join(f"- `{folder}`" for folder in scores.folders)
    warning = "" if scores.chosen.score else f"**{NOTHING_RIGHT[0].upper()}{NOTHING_RIGHT[1:]}.**\n\n"
    units = units_in_words(joined.images["true_patient"])
    per_fold = joined.images.assign(score=scores.report.results["score"]).groupby("fold")["score"]
    folds = per_fold.agg(images="size", images_that_count="count", map="mean").reset_index()
    missing = f"\n\nNot validated by any run: folds {list(joined.missing_folds)}." if joined.missing_folds else ""
    if joined.partial_epochs:
        missing += f"\n\nLeft out, since only some runs have tables of them: epochs {list(joined.partial_epochs)}."
    missing += "".join(f"\n\n{sentence}" for sentence in scores.differences)
    capped = scores.capped["image_id"].tolist()
    named = f" (the first: {', '.join(capped[:_NAMED])}; all in capped_images.csv)" if capped else ""
    return {
        "Runs": f"{runs}\n\n{markdown_table(folds)}{missing}",
        "Operating point": (
            f"{warning}Epoch {point.epoch}, score above {point.cut:g}, NMS IoU {point.nms_iou:g}, boxes from "
            f"{point.relative_cut:g} of their image's best score on, size rule `{point.size_rule}`.\n\n"
            f"{len(capped)} of {len(joined.images)} images had more than {point.max_candidates} candidates at this "
            f"epoch, of which only the best are stored{named}: the scores are exact for what is stored."
        ),
        "Honest and optimistic": f"{markdown_table(_choices(scores))}\n\n{_HONEST.format(units=units)}",
        "Epochs and thresholds": (
            "![score cuts](figure_8_score_cuts.png) ![NMS IoUs](figure_8_nms_ious.png)\n\nEvery grid point: grid.csv."
        ),
    }


def _choices(scores: RunScores) -> pd.DataFrame:
    """The score by how epoch and cut were chosen."""
    chosen, fixed, selection = scores.chosen, scores.fixed, scores.selection
    whose = "patients" if scores.report.knows_patients else "images"
    spread = f"{selection['cut'].min():g} to {selection['cut'].max():g}"
    epochs = f"{selection['epoch'].min()} to {selection['epoch'].max()}"
    rows = [
        ("optimistic: chosen and measured on all images", chosen.score, str(chosen.epoch), f"{chosen.cut:g}"),
        (f"honest: chosen on one half of the {whose}, measured on the other", scores.honest_map, epochs, spread),
        ("the last epoch at the run's own cut: nothing chosen", fixed.score, str(fixed.epoch), f"{fixed.cut:g}"),
    ]
    return pd.DataFrame(rows, columns=["how", "map", "epoch", "cut"])
