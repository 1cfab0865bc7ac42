"""What a study's module declares, and what a report is made of."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from rsna_det.drawing.tables import Style
from rsna_det.runs.folder import RunFolder


@dataclass(frozen=True, kw_only=True)
class Variant:
    """The runs of one variant.

    Attributes:
        name: value of the option in which a study's variants differ.
        seeds: folders of the runs by seed, those of each seed in the order of the folds.
    """

    name: str
    seeds: Mapping[int, tuple[RunFolder, ...]]


@dataclass(frozen=True, kw_only=True)
class Part:
    """One table or figure of a report, or both.

    Attributes:
        name: of its files.
        title: its heading, with the paper's figure or section.
        text: what it shows and what it does not, in paragraphs of Markdown.
        table: None for a figure alone.
        figure: a PNG in the report's folder; None for a table alone.
        style: how the table's columns are shown to people.
    """

    name: str
    title: str
    text: str
    table: pd.DataFrame | None = None
    figure: Path | None = None
    style: Style = field(default_factory=Style)


@dataclass(frozen=True, kw_only=True)
class StudyReport:
    """What a study's module declares.

    Attributes:
        study: name of its file in conf/sweep.
        title: what it shows, with the paper's table or figure.
        option: path of the option in which its variants differ, in a run's configuration; or several, separated by
            commas.
        baseline: value of that option that the others are compared with.
        paper: the paper's value by that option's, where it gives one.
        labels: what variants are called, by the option's value.
        other_labels: what a variant without a label of its own is called; ``{}`` stands for the value.
        parts: make what the report shows besides the comparison, from this, the variants and the report's folder.
    """

    study: str
    title: str
    option: str
    baseline: str
    paper: Mapping[str, float] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    other_labels: str = "{}"
    parts: Sequence[Callable[["StudyReport", Sequence[Variant], Path], Part]] = ()

    def label(self, value: str) -> str:
        """What a variant is called in tables and figures.

        Args:
            value: of the option.
        """
        return self.labels.get(value, self.other_labels.format(value))
