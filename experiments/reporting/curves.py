"""Figures of losses: a panel a loss, a colour a variant."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rsna_det.evaluation.figures import save_figure

_SPLIT_NAMES = {"val": "validation", "train": "training"}
_LEGEND_COLUMNS = 5
_FEW_COLOURS = 10


def variant_colours(names: Sequence[str]) -> dict[str, tuple[float, ...]]:
    """One colour a variant, the same in every figure of a study: by its place among the variants."""
    colours = colormaps["tab10" if len(names) <= _FEW_COLOURS else "tab20"]
    return {name: colours(place % colours.N) for place, name in enumerate(names)}


def curves_figure(
    values: pd.DataFrame, *, labels: Mapping[str, str], losses: Mapping[str, str], title: str, path: Path
) -> None:
    """Losses over epochs: validation above, training below (paper, figures 2, 3, 4 and 7).

    Args:
        values: of :func:`experiments.reporting.losses.read_losses`.
        labels: of the variants, by name, in the order of their colours.
        losses: titles of the columns of panels by the loss.
        title: of the figure.
        path: of the picture to write.
    """
    figure = Figure(figsize=(3.4 * len(losses), 6.2 + 0.25 * (len(labels) // _LEGEND_COLUMNS)), layout="constrained")
    panels = figure.subplots(len(_SPLIT_NAMES), len(losses), sharex=True, squeeze=False)
    colours = variant_colours(list(labels))
    for row, split in zip(panels, _SPLIT_NAMES, strict=True):
        for axes, loss in zip(row, losses, strict=True):
            own = values[(values["split"] == split) & (values["loss"] == loss)]
            for name, label in labels.items():
                _draw_variant(axes, own[own["variant"] == name], colour=colours[name], label=label)
            axes.set_title(f"{losses[loss]}, {_SPLIT_NAMES[split]}", fontsize=10)
            axes.grid(alpha=0.3)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
            if own["value"].isna().all():
                axes.text(0.5, 0.5, "no such loss", transform=axes.transAxes, ha="center", color="grey")
    for axes in panels[-1]:
        axes.set_xlabel("epoch")
    handles, names = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=min(_LEGEND_COLUMNS, len(labels)), fontsize=9)
    figure.suptitle(title)
    save_figure(figure, path)


def _draw_variant(axes: Axes, own: pd.DataFrame, *, colour: tuple[float, ...], label: str) -> None:
    """Each run thin, and the mean of all where all have a value."""
    runs = pd.DataFrame({key: run.set_index("epoch")["value"] for key, run in own.groupby(["seed", "fold"])})
    # One epoch makes no line.
    marker = "o" if len(runs) == 1 else None
    if runs.shape[1] > 1:
        axes.plot(runs.index, runs.to_numpy(), color=colour, alpha=0.3, linewidth=0.8, marker=marker, markersize=3)
    axes.plot(runs.index, runs.mean(axis=1, skipna=False), color=colour, linewidth=2, marker=marker, label=label)
