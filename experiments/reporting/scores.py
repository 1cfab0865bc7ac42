"""The challenge's score of a study's runs over epochs, as they logged it (paper, figure 7)."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from experiments.reporting.curves import curves_figure, what_lines_are
from experiments.reporting.study_report import Part, StudyReport, Variant
from rsna_det.runs.folder import RunFolder

_PANELS = {"val/map": "mAP at the run's score threshold", "val/map_best": "mAP at each epoch's best threshold"}


def score_curves(report: StudyReport, variants: Sequence[Variant], folder: Path) -> Part:
    """Validation mAP over epochs, one colour per variant: the mean over runs, and each run as a thin line.

    Raises:
        RsnaDetError: if a run's ``metrics.csv`` or configuration is missing or damaged.
    """
    runs = [
        _scores(run).assign(variant=variant.name, seed=seed)
        for variant in variants
        for seed, runs in variant.seeds.items()
        for run in runs
    ]
    path = folder / f"{report.study}_scores.png"
    labels = {variant.name: report.label(variant.name) for variant in variants}
    panels = [list(_PANELS.values())]
    curves_figure(pd.concat(runs, ignore_index=True), labels=labels, panels=panels, title=report.title, path=path)
    text = (
        f"{what_lines_are(len(runs) // len(variants))} Right panel: every epoch of every run has the score threshold "
        "that is best on its own validation images. This is optimistic, more so with fewer images."
    )
    return Part(name=f"{report.study}_scores", title="Validation mAP over epochs", text=text, figure=path)


def _scores(folder: RunFolder) -> pd.DataFrame:
    metrics = folder.metrics(needed=list(_PANELS))
    panels = [
        pd.DataFrame({"epoch": metrics["epoch"].astype(int), "panel": title, "value": metrics[name].astype(float)})
        for name, title in _PANELS.items()
    ]
    return pd.concat(panels, ignore_index=True).assign(fold=int(folder.options().data["fold"]))
