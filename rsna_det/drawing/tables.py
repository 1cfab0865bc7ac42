"""Tables for people: numbers rounded to what the data can tell, each beside its interval, under headings in words."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

NONE = "-"
"""What stands where there is no value."""

_BOUNDS = ("_low", "_high")
# A column whose largest number is this or more is shown with so many decimals; mAP and losses get three.
_DECIMALS = ((100.0, 0), (10.0, 1), (0.0, 3))
_SMALLEST_P = 1e-4


@dataclass(frozen=True, kw_only=True)
class ReadableTable:
    """A table as text.

    Attributes:
        headings: of the columns.
        numeric: whether each column holds numbers.
        rows: text, one for each column.
    """

    headings: tuple[str, ...]
    numeric: tuple[bool, ...]
    rows: tuple[tuple[str, ...], ...]

    def frame(self) -> pd.DataFrame:
        """The same text as a data frame."""
        return pd.DataFrame([*self.rows], columns=[*self.headings])


@dataclass(frozen=True, kw_only=True)
class Style:
    """How the columns of a table are shown; those that are not named follow the rules of :func:`readable_table`.

    Attributes:
        headings: by column.
        formats: text of one value, by column.
    """

    headings: Mapping[str, str] = field(default_factory=dict)
    formats: Mapping[str, Callable[[Any], str]] = field(default_factory=dict)


def readable_table(frame: pd.DataFrame, style: Style | None = None) -> ReadableTable:
    """A frame for people.

    ``<name>_low`` and ``<name>_high`` are shown in the column ``<name>``, as its 95% interval. The largest number of a
    column decides on its decimals; whole numbers have none. Columns without any value are left out.

    Args:
        frame: numbers and text, NaN or None where there is no value.
        style: of some columns.
    """
    style = style or Style()
    columns = [str(name) for name in frame.columns]
    columns = [name for name in columns if not _is_bound(name, columns) and not frame[name].isna().all()]
    texts = [_column(frame, name, style.formats.get(name)) for name in columns]
    return ReadableTable(
        headings=tuple(_heading(frame, name, style.headings) for name in columns),
        numeric=tuple(pd.api.types.is_numeric_dtype(frame[name]) for name in columns),
        rows=tuple(zip(*texts, strict=True)),
    )


def number(value: float, *, decimals: int = 3) -> str:
    """A number with commas and so many decimals, never "-0.000"; :data:`NONE` for NaN."""
    if math.isnan(value):
        return NONE
    text = f"{value:,.{decimals}f}"
    return text.removeprefix("-") if float(text.replace(",", "")) == 0 else text


def with_interval(estimate: float, low: float, high: float, *, decimals: int = 3) -> str:
    """An estimate with the bounds of its interval."""
    if math.isnan(low) or math.isnan(high):
        return number(estimate, decimals=decimals)
    low_text, high_text = number(low, decimals=decimals), number(high, decimals=decimals)
    return f"{number(estimate, decimals=decimals)} ({low_text} to {high_text})"


def p_value(value: float) -> str:
    """A p-value to two significant digits."""
    if math.isnan(value):
        return NONE
    if value < _SMALLEST_P:
        return f"< {_SMALLEST_P:g}"
    rounded = float(f"{value:.1e}")
    return f"{rounded:.{max(2, 1 - math.floor(math.log10(rounded)))}f}"


def duration(seconds: float) -> str:
    """A time span in the two largest of its units: "42 s", "5 min 10 s", "3 h 20 min"."""
    if math.isnan(seconds):
        return NONE
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60:,} h {minutes % 60} min"


def counted(number_of: int, what: str) -> str:
    """A count with its noun."""
    return f"{number_of:,} {what}{'' if number_of == 1 else 's'}"


def listed(values: Iterable[object]) -> str:
    """Values in a row, separated by commas."""
    return ", ".join(map(str, values))


def _is_bound(name: str, columns: Sequence[str]) -> bool:
    return name.endswith(_BOUNDS) and name.rpartition("_")[0] in columns


def _has_interval(frame: pd.DataFrame, name: str) -> bool:
    return all(f"{name}{bound}" in frame for bound in _BOUNDS)


def _heading(frame: pd.DataFrame, name: str, headings: Mapping[str, str]) -> str:
    words = headings.get(name, name.replace("_", " "))
    return f"{words} (95% interval)" if _has_interval(frame, name) else words


def _column(frame: pd.DataFrame, name: str, shown: Callable[[Any], str] | None) -> list[str]:
    values = frame[name].tolist()
    if shown is not None:
        return [NONE if _is_none(value) else shown(value) for value in values]
    if not pd.api.types.is_numeric_dtype(frame[name]) or pd.api.types.is_bool_dtype(frame[name]):
        return [_text(value) for value in values]
    bounds = [frame[f"{name}{bound}"].tolist() for bound in _BOUNDS] if _has_interval(frame, name) else []
    decimals = _decimals([*values, *(value for bound in bounds for value in bound)])
    if not bounds:
        return [number(value, decimals=decimals) for value in values]
    return [with_interval(*row, decimals=decimals) for row in zip(values, *bounds, strict=True)]


def _decimals(values: Sequence[float]) -> int:
    known = np.abs(np.array(values, np.float64)[~np.isnan(np.array(values, np.float64))])
    if not len(known) or (known == np.round(known)).all():
        return 0
    return next(decimals for least, decimals in _DECIMALS if known.max() >= least)


def _text(value: object) -> str:
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, float) and not math.isnan(value):
        return number(value, decimals=_decimals([value]))
    return NONE if _is_none(value) else str(value)


def _is_none(value: object) -> bool:
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))
