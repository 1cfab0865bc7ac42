"""Tables as CSV files and in Markdown: names in them are text, and nothing else.

A spreadsheet takes a cell that begins with ``=``, ``+``, ``-`` or ``@`` for a formula, and runs it. In the CSV files
that people open, a text like that gets an apostrophe in front, unless it is a number; :func:`read_csv_text` takes
exactly that apostrophe away again. The challenge's own format stays as it is.
"""

import csv
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rsna_det.errors import DataError
from rsna_det.files.atomic import whole_file
from rsna_det.files.names import on_one_line
from rsna_det.files.reading import readable

_APOSTROPHE = "'"
# With apostrophes before it, so that a text that has one of its own comes back with it; also the forms of full width.
_FORMULA = re.compile(r"'*(?:[\s\x00-\x1f]*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n])")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_MARKS = {
    **{mark: f"\\{mark}" for mark in r"\`*[]|"},
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
}
# What a viewer makes a link of without any marks.
_ADDRESS = re.compile(r"(?<=\w)://|(?<=\bwww)\.|(?<=\bmailto):", re.IGNORECASE)


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Write a table's columns, whole or not at all; texts as of :func:`csv_text`.

    Raises:
        StorageError: if it cannot be written; the message names the file.
    """
    texts = [name for name in table.columns if not pd.api.types.is_numeric_dtype(table[name])]
    written = table.rename(columns=csv_text)
    for name in texts:
        written[csv_text(name)] = pd.Series([csv_text(value) for value in table[name]], index=table.index, dtype=object)
    quoting = _quoting(*(table[name].tolist() for name in texts))
    with whole_file(path) as partial:
        written.to_csv(partial, index=False, quoting=quoting)


def write_csv_rows(path: Path, header: Sequence[str], rows: Iterable[Iterable[object]]) -> None:
    """Write rows as CSV, whole or not at all; texts as of :func:`csv_text`.

    Raises:
        StorageError: if it cannot be written; the message names the file.
    """
    # Paths of files need not be UTF-8.
    with (
        whole_file(path) as partial,
        partial.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        for row in (header, *rows):
            cells = [csv_text(cell) for cell in row]
            csv.writer(file, lineterminator="\n", quoting=_quoting(cells)).writerow(cells)


def read_csv_text(path: Path, *, needed: Sequence[str], remedy: str) -> pd.DataFrame:
    """The cells of a CSV file that this package wrote, as the texts that were written.

    Args:
        path: of the file.
        needed: columns that it must have.
        remedy: what to do if it is damaged.

    Raises:
        MissingFileError, StorageError: if it cannot be read.
        DataError: if it is no table in UTF-8, lacks a column or has one twice; naming the file and the remedy.
    """
    try:
        with readable(path, missing=remedy), path.open(encoding="utf-8", newline="") as file:
            lines = [cells for cells in csv.reader(file, strict=True) if cells]
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path} is damaged (not a CSV in UTF-8: {error}): {remedy}") from error
    header, rows = (lines[0], lines[1:]) if lines else ([], [])
    problem = _wrong_table(header, rows, needed)
    if problem is not None:
        raise DataError(f"{path} is damaged ({problem}): {remedy}")
    plain = [[plain_text(cell) for cell in row] for row in rows]
    return pd.DataFrame(plain, columns=[plain_text(name) for name in header], dtype=str)


def csv_text(value: object) -> object:
    """A value for a CSV cell: a text that a spreadsheet would run gets an apostrophe in front."""
    text = str(value) if isinstance(value, str | Path) else None
    if text is None or _NUMBER.fullmatch(text) or not _FORMULA.match(text):
        return value
    return f"{_APOSTROPHE}{text}"


def plain_text(cell: str) -> str:
    """The text of a cell that :func:`csv_text` wrote."""
    is_marked = cell.startswith(_APOSTROPHE) and _FORMULA.match(cell) is not None
    return cell[1:] if is_marked else cell


def markdown_table(frame: pd.DataFrame) -> str:
    """A frame as a table in Markdown, numbers to four places."""
    rows = [[markdown_text(str(name).replace("_", " ")) for name in frame.columns], ["---"] * len(frame.columns)]
    rows += [[markdown_text(_cell(value)) for value in row] for row in frame.itertuples(index=False)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def markdown_text(text: str) -> str:
    """A text within a line of Markdown: no line break, table cell, code, link, picture or tag begins or ends in it."""
    escaped = "".join(_MARKS.get(mark, mark) for mark in on_one_line(text))
    return _ADDRESS.sub(lambda found: "".join(f"&#{ord(mark)};" for mark in found[0]), escaped)


def markdown_code(text: object) -> str:
    """A text as code within a line of Markdown, whatever backticks are in it."""
    flat = on_one_line(text) or " "
    longest = max((len(run) for run in re.findall("`+", flat)), default=0)
    fence, space = "`" * (longest + 1), " " if longest else ""
    return f"{fence}{space}{flat}{space}{fence}"


def _quoting(*columns: Sequence[object]) -> Any:  # noqa: ANN401  # the type stubs have names for the numbers
    """A carriage return alone is not quoted by the csv module, and would end the row."""
    returns = any(isinstance(cell, str | Path) and "\r" in str(cell) for cells in columns for cell in cells)
    return csv.QUOTE_NONNUMERIC if returns else csv.QUOTE_MINIMAL


def _wrong_table(header: Sequence[str], rows: Sequence[Sequence[str]], needed: Sequence[str]) -> str | None:
    lacking = [name for name in needed if name not in header]
    if lacking:
        return f"it has no column {', '.join(lacking)}"
    if len(set(header)) < len(header):
        return "a column occurs twice"
    odd = next((number for number, row in enumerate(rows, start=1) if len(row) != len(header)), None)
    return None if odd is None else f"row {odd} has {len(rows[odd - 1])} cells; the header has {len(header)}"


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "-" if np.isnan(value) else f"{value:g}" if value.is_integer() else f"{value:.4f}"
    return str(value)
