"""The evaluation of runs as tables, figures and a report."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from rsna_det.drawing.figures import heat_map
from rsna_det.drawing.tables import listed
from rsna_det.evaluate.report import readable_markdown, write_report
from rsna_det.evaluation.grid import Grid
from rsna_det.evaluation.operating_report import OperatingReport, units_in_words
from rsna_det.evaluation.out_of_fold import OutOfFold
from rsna_det.evaluation.selection import GridPoint, honest_mean
from rsna_det.files.tables import markdown_code, markdown_text, write_csv

_NAMED = 5
_HONEST = (
    "The honest mAP is the mean over {splits} random splits of the {units}, in both directions, each listed in "
    "selection.csv. It estimates the mAP on new images. The optimistic mAP is measured on the images that epoch and "
    "score threshold were chosen on."
)

NOTHING_RIGHT = (
    "the highest mAP of the grid is 0: no grid point has a true positive, so the operating point is meaningless"
)


@dataclass(frozen=True, kw_only=True)
class RunScores:
    """The results of an evaluation of runs.

    Attributes:
        folders: of the runs.
        joined: the tables of the runs.
        grid: scores at every grid point; group 0 is all images, the other groups are halves of the patients.
        chosen: the grid point of the highest mAP over all images (optimistic).
        selection: choices on one half and their scores on the other (honest).
        report: at the chosen grid point.
        capped: images with more candidates than were stored.
        fixed: the last epoch at the run's own score threshold and NMS IoU, where nothing is chosen.
        differences: sentences on runs whose options differ from those of the first.
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
    """Group 0 of a grid as rows: ``epoch``, ``nms_iou``, ``cut``, ``map`` and ``images`` (those that count)."""
    index = pd.MultiIndex.from_product([grid.epochs, grid.nms_ious, grid.cuts], names=["epoch", "nms_iou", "cut"])
    values = {"map": grid.scores[0].flatten().numpy(), "images": grid.counts[0].flatten().numpy()}
    return pd.DataFrame(values, index=index).reset_index()


def write_run_scores(scores: RunScores, folder: Path) -> None:
    """Write tables, figures and the report.

    Args:
        scores: the results.
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
    """What an operating point was chosen on, as plain values for its file."""
    score = scores.report.score
    return {
        "optimistic_map": round(score.estimate, 6),
        "interval_95": [round(score.low, 6), round(score.high, 6)],
        "honest_map": round(scores.honest_map, 6),
        "images": len(scores.joined.images),
        "runs": [str(folder) for folder in scores.folders],
    }


def _draw(grid: Grid, chosen: GridPoint, folder: Path) -> None:
    """Figure 8, once over the score thresholds and once over the NMS IoUs."""
    values = grid.scores[0].numpy()
    heat_map(
        values[:, grid.nms_ious.index(chosen.nms_iou)].T,
        epochs=grid.epochs,
        values=grid.cuts,
        axis="score threshold",
        title=f"validation mAP, NMS IoU {chosen.nms_iou:g}",
        chosen=(chosen.epoch, chosen.cut),
        path=folder / "figure_8_score_cuts.png",
    )
    heat_map(
        values[:, :, grid.cuts.index(chosen.cut)].T,
        epochs=grid.epochs,
        values=grid.nms_ious,
        axis="NMS IoU",
        title=f"validation mAP, score threshold {chosen.cut:g}",
        chosen=(chosen.epoch, chosen.nms_iou),
        path=folder / "figure_8_nms_ious.png",
    )


def _sections(scores: RunScores) -> dict[str, str]:
    units = units_in_words(scores.joined.images["true_patient"])
    splits = len(scores.selection) // 2
    return {
        "Honest and optimistic mAP": f"{_choices(scores)}\n\n{_HONEST.format(splits=splits, units=units)}",
        "Operating point": _operating_point(scores),
        "Epochs and thresholds": (
            "![score thresholds](figure_8_score_cuts.png)\n\n![NMS IoUs](figure_8_nms_ious.png)\n\n"
            "grid.csv has every grid point."
        ),
        "Runs": _runs(scores),
    }


def _runs(scores: RunScores) -> str:
    """The runs, their folds, and what is missing or differs."""
    joined = scores.joined
    per_fold = joined.images.assign(score=scores.report.results["score"]).groupby("fold")["score"]
    folds = per_fold.agg(images="size", images_that_count="count", map="mean").reset_index()
    table = readable_markdown(folds, map="mAP", images_that_count="images that count for the mAP")
    parts = ["\n".join(f"- {markdown_code(folder)}" for folder in scores.folders), table]
    if joined.missing_folds:
        parts.append(f"No run validates on: folds {listed(joined.missing_folds)}.")
    if joined.partial_epochs:
        parts.append(f"Left out: epochs {listed(joined.partial_epochs)}. Not every run has their tables.")
    return "\n\n".join([*parts, *map(markdown_text, scores.differences)])


def _operating_point(scores: RunScores) -> str:
    point, capped = scores.report.point, scores.capped["image_id"].tolist()
    warning = "" if scores.chosen.score else f"**{NOTHING_RIGHT[0].upper()}{NOTHING_RIGHT[1:]}.**\n\n"
    named = (
        f" (the first: {', '.join(map(markdown_text, capped[:_NAMED]))}; all in capped_images.csv)" if capped else ""
    )
    return (
        f"{warning}Epoch {point.epoch}, score threshold {point.cut:g}, NMS IoU {point.nms_iou:g}, size rule "
        f"`{point.size_rule}`. Boxes below {point.relative_cut:g} times the best score of their image are dropped.\n\n"
        f"{len(capped)} of {len(scores.joined.images):,} images had more than {point.max_candidates:,} candidates at "
        f"this epoch, of which only the best are stored{named}. The scores are exact for the stored candidates."
    )


def _choices(scores: RunScores) -> str:
    """The mAP by how epoch and score threshold were chosen, in Markdown."""
    chosen, fixed, selection = scores.chosen, scores.fixed, scores.selection
    whose = "true patients" if scores.report.knows_patients else "images"
    spread = f"{selection['cut'].min():g} to {selection['cut'].max():g}"
    epochs = f"{selection['epoch'].min()} to {selection['epoch'].max()}"
    rows = [
        ("optimistic: chosen and measured on all images", chosen.score, str(chosen.epoch), f"{chosen.cut:g}"),
        (f"honest: chosen on one half of the {whose}, measured on the other", scores.honest_map, epochs, spread),
        ("nothing chosen: last epoch, score threshold of the run", fixed.score, str(fixed.epoch), f"{fixed.cut:g}"),
    ]
    return readable_markdown(pd.DataFrame(rows, columns=["choice", "mAP", "epoch", "score threshold"]))
