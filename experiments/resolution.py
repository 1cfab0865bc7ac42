"""Section 5: images of 256 or 512 px, and what 1,024 px would cost."""

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
    """Measured seconds per epoch, counted operations and activation memory, for each side.

    Raises:
        RsnaDetError: if a run's configuration or provenance is missing or damaged.
    """
    runs = {int(variant.name): variant for variant in variants}
    base = runs[int(report.baseline)]
    rows, devices = [], []
    for side in sorted({*_SIDES, *runs}):
        seconds, device = epoch_seconds(runs[side]) if side in runs else (np.nan, "")
        counted = cost_row(variant_cost(runs.get(side, base), image_size=side))
        rows.append({"side (px)": side, "seconds per epoch": seconds, "device": device or "not trained"} | counted)
        devices.append(device)
    table = pd.DataFrame(rows)
    reference = table.set_index("side (px)").loc[int(report.baseline)]
    for name in ("seconds per epoch", "GFLOPs per image", "activations (MiB per image)"):
        table[f"{name}, ratio to {report.baseline} px"] = table[name] / reference[name]
    text = (
        f"The paper: {_CLAIM} The challenge's files are {_FULL_SIDE:,} x {_FULL_SIDE:,} px, made from larger ones of a "
        f"public archive: {_FULL_SIDE:,} px is the full resolution here.\n\nSeconds are medians over the epochs of all "
        "runs, validation included. Operations and activations (what a forward pass in float32 keeps for the backward "
        "pass) are counted from the configuration, without training."
    )
    if len({device for device in devices if device}) > 1:
        text += " **The sides were trained on different devices: do not compare their seconds.**"
    return Part(name=f"{report.study}_cost", title="Cost of the image size", text=text, table=table)


REPORT = StudyReport(
    study="resolution",
    title="Image size (section 5)",
    option="data.image_size",
    baseline="512",
    other_labels="{} px",
    parts=(
        cost_of_resolution,
        loss_curves,
        partial(
            lowest_losses,
            claim=_CLAIM,
            caution="Losses at two sides are not comparable: anchors have fixed sizes in network pixels, so more "
            "anchors, and those of other boxes, are positive at 512 px than at 256. The mAP is comparable.",
        ),
        lowest_epochs,
    ),
)

if __name__ == "__main__":
    main(REPORT)
