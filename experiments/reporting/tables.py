"""The tables of a report as people see them, on its page and in its Markdown."""

import math
from datetime import datetime

import pandas as pd

from experiments.reporting.study_report import Part
from rsna_det.drawing.tables import ReadableTable, Style, duration, p_value, readable_table
from rsna_det.evaluation.statistics.power import LEVEL

SIGNIFICANT = f"significantly different (Holm-adjusted p < {LEVEL:g})"

_HEADINGS = {
    "map": "mAP",
    "p_value": "p",
    "p_holm": "p, Holm-adjusted",
    "standard_error": "standard error over patients",
    "training_error": "standard error from training noise",
    "cut": "score threshold",
}
_FORMATS = {"p_value": p_value, "p_holm": p_value}
_OF_A_DIFFERENCE = ("difference", "difference_low", "difference_high", "standard_error", "training_error")


def _to_the_minute(time: str) -> str:
    """A time in ISO 8601 without seconds, with its zone; any other text as it is."""
    try:
        return datetime.fromisoformat(time).strftime("%Y-%m-%d %H:%M %Z")
    except ValueError:
        return time


RUNS = Style(
    headings={"best_map": "best mAP (optimistic)", "minutes": "time"},
    formats={"minutes": lambda minutes: duration(60 * minutes), "started": _to_the_minute},
)
"""How the table of a study's runs is shown."""


def shown_table(part: Part) -> ReadableTable:
    """A part's table for people; the baseline of a comparison has no difference from itself."""
    table = pd.DataFrame() if part.table is None else part.table
    if "p_value" in table:
        columns = [name for name in _OF_A_DIFFERENCE if name in table]
        table = table.assign(**table[columns].where(table["p_value"].notna(), math.nan))
    style = Style(headings={**_HEADINGS, **part.style.headings}, formats={**_FORMATS, **part.style.formats})
    return readable_table(table, style)


def significant_rows(table: pd.DataFrame) -> list[bool]:
    """For each row of a table whether it is significantly different, if that was tested."""
    return (table["p_holm"] < LEVEL).tolist() if "p_holm" in table else [False] * len(table)
