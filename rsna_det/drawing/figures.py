"""Picture files of numbers: heat maps (the paper's figure 8), FROC, calibration, intervals."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from rsna_det.files.atomic import whole_file

_DPI = 130
# What fits next to each other: tick labels, and values written into cells.
_TICKS = 16
_FEW_CELLS = 200


def heat_map(
    scores: Float[np.ndarray, "values epochs"],
    *,
    epochs: Sequence[int],
    values: Sequence[float],
    axis: str,
    title: str,
    chosen: tuple[int, float],
    path: Path,
) -> None:
    """The challenge's score over epochs and one threshold (paper, figure 8).

    Args:
        scores: of each cell; NaN stays blank.
        epochs: of the columns.
        values: of the rows: cuts or NMS IoUs.
        axis: what ``values`` are.
        title: of the figure.
        chosen: epoch and value of the cell with a red frame; each epoch's best has a white one.
        path: of the picture to write.
    """
    rows, columns = scores.shape
    figure = Figure(
        figsize=(max(5.0, 1.8 + 0.55 * columns), max(3.4, min(8.0, 1.4 + 0.3 * rows))), layout="constrained"
    )
    axes = figure.add_subplot()
    mesh = axes.imshow(scores, origin="lower", aspect="auto", cmap="viridis", interpolation="nearest")
    figure.colorbar(mesh, ax=axes, label="mAP")
    if scores.size <= _FEW_CELLS:
        _write_values(axes, scores)
    filled = [i for i in range(columns) if not np.isnan(scores[:, i]).all()]
    for column in filled:
        best = axes.add_patch(_frame(column, int(np.nanargmax(scores[:, column])), "white"))
        best.set_label("best of its epoch" if column == filled[0] else None)
    frame = axes.add_patch(_frame(list(epochs).index(chosen[0]), list(values).index(chosen[1]), "red"))
    frame.set_label("chosen")
    _ticks(axes, epochs=epochs, values=values)
    axes.set(xlabel="epoch", ylabel=axis, title=title)
    figure.legend(loc="outside lower right", ncols=2, fontsize=8, facecolor="silver")
    save_figure(figure, path)


def froc_figure(curve: pd.DataFrame, *, rate: float, sensitivity: float, path: Path) -> None:
    """Sensitivity against false positives per image, with the operating point.

    Args:
        curve: of :func:`rsna_det.evaluation.measures.froc_curve`.
        rate: false positives per image at the operating point.
        sensitivity: at the operating point.
        path: of the picture to write.
    """
    figure = Figure(figsize=(5.5, 4), layout="constrained")
    axes = figure.add_subplot()
    axes.step(curve["false_positives_per_image"], curve["sensitivity"], where="post", label="all scores")
    axes.plot([rate], [sensitivity], "*", color="red", ms=12, label="operating point")
    axes.set(
        xlabel="false positives per image",
        ylabel="sensitivity (IoU > 0.4)",
        title="FROC",
        ylim=(0, 1),
        xlim=(0, None),
    )
    axes.grid(alpha=0.3)
    axes.legend()
    save_figure(figure, path)


def calibration_figure(table: pd.DataFrame, path: Path) -> None:
    """Precision of detections over their score, with the number of detections in each bin below.

    Args:
        table: of :func:`rsna_det.evaluation.measures.calibration`.
        path: of the picture to write.
    """
    figure = Figure(figsize=(5.5, 5), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    filled = table[table["detections"] > 0]
    upper.plot([0, 1], [0, 1], ":", color="grey", label="perfect")
    upper.plot(filled["mean_score"], filled["precision"], "o-", label="detections")
    upper.set(ylabel="precision (IoU > 0.4)", title="calibration of the box scores", ylim=(0, 1), xlim=(0, 1))
    upper.legend()
    lower.bar(table["low"], table["detections"], width=table["high"] - table["low"], align="edge", edgecolor="white")
    lower.set(xlabel="score", ylabel="detections", yscale="symlog")
    save_figure(figure, path)


def interval_figure(table: pd.DataFrame, *, baseline: str, title: str, path: Path) -> None:
    """Variants' scores and their differences from a baseline, with intervals (paper, figure 7).

    Args:
        table: of :func:`rsna_det.evaluation.statistics.comparison.compare`, with the variants as index; a column
            ``paper`` is drawn next to the scores.
        baseline: the variant that the others are compared with.
        title: of the figure.
        path: of the picture to write.
    """
    figure = Figure(figsize=(9, 1.6 + 0.45 * len(table)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    rows = np.arange(len(table))[::-1]
    for axes, name in ((left, "map"), (right, "difference")):
        bounds = [table[name] - table[f"{name}_low"], table[f"{name}_high"] - table[name]]
        axes.errorbar(table[name], rows, xerr=bounds, fmt="o", capsize=3, label="ours, 95% interval")
        axes.grid(axis="x", alpha=0.3)
    if "paper" in table and table["paper"].notna().any():
        left.plot(table["paper"], rows, "D", color="darkorange", label="paper")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower right", ncols=2, fontsize=8)
    right.axvline(0, color="grey", linestyle=":")
    left.set(yticks=rows, yticklabels=table.index, xlabel="mAP, epoch and threshold chosen honestly")
    left.set_ylim(-0.6, len(table) - 0.4)
    right.set(xlabel=f"difference from {baseline}")
    figure.suptitle(title)
    save_figure(figure, path)


def _frame(column: int, row: int, colour: str) -> Rectangle:
    return Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor=colour, linewidth=1.8)


def _write_values(axes: object, scores: Float[np.ndarray, "values epochs"]) -> None:
    middle = (np.nanmin(scores) + np.nanmax(scores)) / 2 if not np.isnan(scores).all() else 0
    for (row, column), score in np.ndenumerate(scores):
        if not np.isnan(score):
            colour = "white" if score < middle else "black"
            text = f"{score:.3f}".removeprefix("0")
            axes.text(column, row, text, ha="center", va="center", fontsize=7, color=colour)  # type: ignore[attr-defined]


def _ticks(axes: object, *, epochs: Sequence[int], values: Sequence[float]) -> None:
    for name, labels in (("x", epochs), ("y", values)):
        step = -(-len(labels) // _TICKS)
        places = range(0, len(labels), step)
        getattr(axes, f"set_{name}ticks")(places, [f"{labels[i]:g}" for i in places])


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG, whole or not at all.

    Raises:
        StorageError: if it cannot be written.
    """
    FigureCanvasAgg(figure)
    with whole_file(path) as partial:
        figure.savefig(partial, format="png", dpi=_DPI)
