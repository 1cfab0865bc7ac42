"""Figure 2: encoders. The paper shows losses; this compares what counts, the score, and sets both against the cost."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from experiments.reporting.costs import cost_row, mean_lowest, variant_cost
from experiments.reporting.curves import variant_colours
from experiments.reporting.losses import LOSSES, loss_curves, lowest_epochs, lowest_losses, lowest_of_runs, read_losses
from experiments.reporting.report import main
from experiments.reporting.study_report import Part, StudyReport, Variant
from rsna_det.drawing.figures import save_figure

_CLAIM = (
    '"The SE-ResNext architectures demonstrated optimal performance on this dataset with a good trade-off between '
    'accuracy and complexity" (section 4.3; figure 2 shows one loss of one fold).'
)
_SHOWN = ("box_class", "box_regression")
_COSTS = ("parameters (millions)", "GFLOPs an image")


def cost_of_encoders(report: StudyReport, variants: Sequence[Variant], folder: Path) -> Part:
    """Lowest validation losses against parameters and operations.

    Raises:
        ConfigError: if a run's losses or configuration are missing.
    """
    lowest = lowest_of_runs(read_losses(variants))
    means = {name: mean_lowest(lowest, variants, name) for name in LOSSES if name != "loss"}
    rows = [
        {"variant": report.label(variant.name)}
        | cost_row(variant_cost(variant))
        | {f"lowest {LOSSES[name]} loss": table["mean"][variant.name] for name, table in means.items()}
        for variant in variants
    ]
    table = pd.DataFrame(rows)
    path = folder / f"{report.study}_cost.png"
    _draw(table, {name: means[name] for name in _SHOWN}, [variant.name for variant in variants], path)
    text = (
        f"The paper: {_CLAIM}\n\nLosses are means over folds of each run's lowest; the figure's bars reach from the "
        "lowest to the highest fold. Parameters and operations are of the network as it was trained, counted from its "
        "configuration: a multiplication and an addition are two operations, and the pyramid and the heads, the same "
        "for all, come on top of the encoder. Activations are what a forward pass in float32 keeps for the backward."
    )
    return Part(
        name=f"{report.study}_cost", title="Losses against cost (figure 2)", text=text, table=table, figure=path
    )


def _draw(table: pd.DataFrame, means: dict[str, pd.DataFrame], names: list[str], path: Path) -> None:
    figure = Figure(figsize=(10, 7.6), layout="constrained")
    panels = figure.subplots(len(means), len(_COSTS), sharex="col", sharey="row", squeeze=False)
    colours = variant_colours(names)
    for row, (loss, losses) in zip(panels, means.items(), strict=True):
        for axes, cost in zip(row, _COSTS, strict=True):
            for place, name in enumerate(names):
                mean, low, high = (float(losses[bound][name]) for bound in ("mean", "low", "high"))
                axes.errorbar(
                    *(table[cost][place], mean),
                    yerr=[[mean - low], [high - mean]],
                    fmt="o",
                    color=colours[name],
                    ecolor=(*colours[name][:3], 0.4),
                    label=table["variant"][place],
                )
            axes.grid(alpha=0.3)
        row[0].set_ylabel(f"lowest {LOSSES[loss]} loss")
    for axes, cost in zip(panels[-1], _COSTS, strict=True):
        axes.set_xlabel(cost)
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=9)
    figure.suptitle("Lowest validation losses against cost, mean and range over folds")
    save_figure(figure, path)


REPORT = StudyReport(
    study="encoders",
    title="Encoders (figure 2)",
    option="encoder.name",
    baseline="resnet50",
    paper={},
    parts=(
        loss_curves,
        cost_of_encoders,
        partial(lowest_losses, claim=_CLAIM),
        lowest_epochs,
    ),
)

if __name__ == "__main__":
    main(REPORT)
