"""What a study's module says of its study, and what a report is made of."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

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
    """One further table or figure of a report.

    Attributes:
        name: of its files.
        title: its heading, with the paper's figure or section.
        text: what it shows and what it does not, in Markdown's plain paragraphs.
        table: None for a figure alone.
        figure: a PNG in the report's folder; None for a table alone.
    """

    name: str
    title: str
    text: str
    table: pd.DataFrame | None = None
    figure: Path | None = None


@dataclass(frozen=True, kw_only=True)
class StudyReport:
    """What a study's module says of it.

    Attributes:
        study: name of its file in conf/sweep.
        title: what it shows, with the paper's table or figure.
        option: path of the option in which its variants differ, in a run's configuration.
        baseline: value of that option that the others are held against.
        paper: the paper's value by that option's, where it gives one.
        label: name of a variant in tables, from the option's value.
        parts: make what the report shows besides the comparison, from this, the variants and the report's folder.
    """

    study: str
    title: str
    option: str
    baseline: str
    paper: Mapping[str, float]
    label: Callable[[str], str] = str
    parts: Sequence[Callable[["StudyReport", Sequence[Variant], Path], Part]] = ()
