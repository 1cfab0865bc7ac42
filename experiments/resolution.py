"""Section 5: 256 or 512 px, and what 1,024 px would cost."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from experiments.reporting.costs import cost_row, epoch_seconds, variant_cost
from experiments.reporting.losses import loss_curves, lowest_epochs, lowest_losses
from experiments.reporting.report import main
from experiments.reporting.study_report import Part, StudyReport, Variant

_CLAIM = (
    '"The 256 resolution yielded a degradation of the results, while the full original resolution (typically, over '
    '2000 x 2000px) was not practical with heavier base models" (section 5).'
)
_SIDES = (256, 512, 1024)
_FULL_SIDE = 1024
"""Of the challenge's files."""


def cost_of_resolution(report: StudyReport, variants: Sequence[Variant], folder: Path) -> Part:  # noqa: ARG001
    """Seconds an epoch as measured, operations and activation memory as counted, for each side.

    Raises:
        ConfigError: if the baseline is missing, or its configuration.
        ValueError: if a run's record of its times is damaged.
    """
    runs = {int(variant.name): variant for variant in variants}
    base = runs[int(report.baseline)]
    rows, devices = [], []
    for side in sorted({*_SIDES, *runs}):
        seconds, device = epoch_seconds(runs[side]) if side in runs else (np.nan, "")
        counted = cost_row(variant_cost(runs.get(side, base), image_size=side))
        rows.append({"side (px)": side, "seconds an epoch": seconds, "device": device or "not trained"} | counted)
        devices.append(device)
    table = pd.DataFrame(rows)
    reference = table.set_index("side (px)").loc[int(report.baseline)]
    for name in ("seconds an epoch", "GFLOPs an image", "activations (MiB an image)"):
        table[f"{name}, times that of {report.baseline} px"] = table[name] / reference[name]
    text = (
        f"The paper: {_CLAIM} The challenge's files are {_FULL_SIDE:,} x {_FULL_SIDE:,} px; larger ones are the "
        f"archive's that they were made from, so that {_FULL_SIDE:,} px is all there is to use.\n\nSeconds are medians "
        "over all epochs, validation included, as the runs wrote them down; operations and the memory that a forward "
        "pass in float32 keeps for the backward one are counted from the runs' own configuration, and need no training."
    )
    if len({device for device in devices if device}) > 1:
        text += " **The sides were trained on different devices: their seconds cannot be held against each other.**"
    return Part(name=f"{report.study}_cost", title="Cost of the resolution", text=text, table=table)


REPORT = StudyReport(
    study="resolution",
    title="Side of the images (section 5)",
    option="data.image_size",
    baseline="512",
    paper={},
    label="{} px".format,
    parts=(
        cost_of_resolution,
        loss_curves,
        partial(
            lowest_losses,
            claim=_CLAIM,
            caution="Anchors have the same size in network pixels at every side, so that other boxes and more anchors "
            "are positive at 512 px than at 256: losses of two sides are not of the same task, the score is.",
        ),
        lowest_epochs,
    ),
)

if __name__ == "__main__":
    main(REPORT)
