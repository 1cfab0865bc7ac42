"""Figure 2: encoders. The paper shows losses; this compares scores, and plots losses against cost."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from experiments.reporting.costs import cost_row, mean_lowest_loss, variant_cost
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
_COSTS = ("parameters (millions)", "GFLOPs per image")


def cost_of_encoders(report: StudyReport, variants: Sequence[Variant], folder: Path) -> Part:
    """Lowest validation losses against parameters and operations.

    Raises:
        RsnaDetError: if a run's losses or configuration are missing or damaged.
    """
    lowest = lowest_of_runs(read_losses(variants))
    means = {name: mean_lowest_loss(lowest, variants, name) for name in LOSSES if name != "loss"}
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
        f"The paper: {_CLAIM}\n\nA loss is the lowest over a run's epochs, averaged over runs; the bars in the figure "
        "span the runs. Parameters and operations are counted from the configuration of the trained network. A "
        "multiplication and an addition are two operations. The pyramid and the heads, the same for every variant, "
        "come on top of the encoder. Activations are what a forward pass in float32 keeps for the backward pass."
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
    figure.suptitle("Lowest validation losses against cost, mean and range over runs")
    save_figure(figure, path)


REPORT = StudyReport(
    study="encoders",
    title="Encoders (figure 2)",
    option="encoder.name",
    baseline="resnet50",
    labels={
        "legacy_xception": "Xception",
        "nasnetamobile": "NASNet-A Mobile",
        "nasnetalarge": "NASNet-A Large",
        "pnasnet5large": "PNASNet-5 Large",
        "resnet34": "ResNet-34",
        "resnet50": "ResNet-50",
        "resnet101": "ResNet-101",
        "legacy_seresnext50_32x4d": "SE-ResNeXt-50",
        "legacy_seresnext101_32x4d": "SE-ResNeXt-101",
        "legacy_senet154": "SENet-154",
        "dpn92": "DPN-92",
        "inception_resnet_v2": "Inception-ResNet-v2",
        "tf_efficientnet_lite0": "EfficientNet-Lite0",
    },
    parts=(
        loss_curves,
        cost_of_encoders,
        partial(lowest_losses, claim=_CLAIM),
        lowest_epochs,
    ),
)

if __name__ == "__main__":
    main(REPORT)
