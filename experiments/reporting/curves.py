"""Figures over epochs: one panel per metric, one colour per variant."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rsna_det.drawing.figures import save_figure

# Inches of a legend's entry: its line, and each letter of its label.
_LEGEND_LINE = 0.75
_LEGEND_LETTER = 0.075
_FEW_COLOURS = 10


def variant_colours(names: Sequence[str]) -> dict[str, tuple[float, ...]]:
    """A colour for each variant by its place, the same in every figure of a study."""
    colours = colormaps["tab10" if len(names) <= _FEW_COLOURS else "tab20"]
    return {name: colours(place % colours.N) for place, name in enumerate(names)}


def curves_figure(
    values: pd.DataFrame, *, labels: Mapping[str, str], panels: Sequence[Sequence[str]], title: str, path: Path
) -> None:
    """Metrics over epochs (paper, figures 2, 3, 4 and 7).

    Args:
        values: columns ``panel``, ``variant``, ``seed``, ``fold``, ``epoch`` and ``value`` (NaN if a run has none).
        labels: of the variants, by name, in the order of their colours.
        panels: row by row, by their names in ``values``.
        title: of the figure.
        path: of the picture to write.
    """
    rows, columns = len(panels), len(panels[0])
    width = max(3.4 * columns, 7.0)
    entry = _LEGEND_LINE + _LEGEND_LETTER * max(map(len, labels.values()))
    beside = max(1, min(len(labels), int(width / entry)))
    figure = Figure(figsize=(width, 2.9 * rows + 0.4 + 0.25 * -(-len(labels) // beside)), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, squeeze=False)
    colours = variant_colours(list(labels))
    for axes, panel in zip(grid.flat, (name for row in panels for name in row), strict=True):
        own = values[values["panel"] == panel]
        for name, label in labels.items():
            _draw_variant(axes, own[own["variant"] == name], colour=colours[name], label=label)
        axes.set_title(panel, fontsize=10)
        axes.grid(alpha=0.3)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
        if own["value"].isna().all():
            axes.text(0.5, 0.5, "no values", transform=axes.transAxes, ha="center", color="grey")
    for axes in grid[-1]:
        axes.set_xlabel("epoch")
    handles, names = grid.flat[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=beside, fontsize=9)
    figure.suptitle(title)
    save_figure(figure, path)


def what_lines_are(runs: int) -> str:
    """A sentence on the lines of a figure.

    Args:
        runs: of each variant.
    """
    if runs == 1:
        return "One run of each variant."
    return (
        f"Thick lines: mean over the {runs} runs of each variant (folds and seeds), as far as all have the epoch. Thin "
        "lines: single runs."
    )


def _draw_variant(axes: Axes, own: pd.DataFrame, *, colour: tuple[float, ...], label: str) -> None:
    """Thin lines for runs, and a thick one for their mean where all have a value."""
    runs = pd.DataFrame({key: run.set_index("epoch")["value"] for key, run in own.groupby(["seed", "fold"])})
    # One epoch makes no line.
    marker = "o" if len(runs) == 1 else None
    if runs.shape[1] > 1:
        axes.plot(runs.index, runs.to_numpy(), color=colour, alpha=0.3, linewidth=0.8, marker=marker, markersize=3)
    axes.plot(runs.index, runs.mean(axis=1, skipna=False), color=colour, linewidth=2, marker=marker, label=label)
