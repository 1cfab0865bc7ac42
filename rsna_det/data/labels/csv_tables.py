"""Label tables as text, read cell by cell, and the one error that lists all their problems."""

import csv
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pandas as pd

from rsna_det.errors import DataError
from rsna_det.files.reading import readable

# An id names files (`<id>.dcm`): it may hold no path separator, nor start with a dot like a hidden file or "..".
SAFE_ID = r"[A-Za-z0-9_-][A-Za-z0-9._-]*"
_PRINTED = 50
Loaded = TypeVar("Loaded")


@dataclass(frozen=True, kw_only=True)
class LabelProblem:
    """One thing that is wrong with the labels.

    Attributes:
        file: the table.
        row: line number as a text editor shows it (the header is line 1); None where the file has no rows.
        problem: what is wrong, with the values found.
    """

    file: Path
    row: int | None
    problem: str

    def __str__(self) -> str:
        return f"{self.file}{'' if self.row is None else f', row {self.row}'}: {self.problem}"


class LabelError(DataError):
    """Everything that is wrong with a set of tables; ``problems`` has all, the message the first 50."""

    def __init__(self, problems: Sequence[LabelProblem]) -> None:
        super().__init__(tuple(problems))

    @property
    def problems(self) -> tuple[LabelProblem, ...]:
        """All problems, in the order of the checks."""
        return tuple(self.args[0])

    def __str__(self) -> str:
        count = len(self.problems)
        lines = [f"{count} problem{'s' if count > 1 else ''} in the label tables; please correct them:"]
        lines += [f"  {problem}" for problem in self.problems[:_PRINTED]]
        if count > _PRINTED:
            lines.append(f"  ... and {count - _PRINTED} more")
        return "\n".join(lines)


def collect(load: Callable[[], Loaded], problems: list[LabelProblem]) -> Loaded | None:
    """What ``load`` returns, or None and its problems in the list: several files are then reported at once."""
    try:
        return load()
    except LabelError as error:
        problems.extend(error.problems)
        return None


def read_table(path: Path, columns: Iterable[str], *, optional: Iterable[str] = ()) -> pd.DataFrame:
    """A CSV's rows as text, nothing converted, with each one's line number in an extra column ``row``.

    Blank lines are skipped, and so are columns that nobody asked for: they may have any name, also that of a column
    that is computed later.

    Args:
        path: of the file.
        columns: that it must have.
        optional: that it may have.

    Raises:
        MissingFileError: there is no such file.
        StorageError: it cannot be read.
        LabelError: a missing or repeated column, a row with too few or too many cells, no rows at all, or a file that
            is no CSV in UTF-8.
    """
    columns = list(columns)
    with readable(path, missing=f"expected a CSV with the columns {', '.join(columns)}"):
        lines = _read_lines(path)
    if not lines:
        raise LabelError([LabelProblem(file=path, row=None, problem="the file is empty")])
    (first, header), rows = lines[0], lines[1:]
    wrong = [f"column {name!r} is missing" for name in columns if name not in header]
    wrong += [f"column {name!r} occurs twice" for name in sorted({n for n in header if header.count(n) > 1})]
    if wrong:
        found = f"; found {', '.join(header)}"
        raise LabelError([LabelProblem(file=path, row=first, problem=problem + found) for problem in wrong])
    problems = [
        LabelProblem(file=path, row=row, problem=f"{len(cells)} cells; the header has {len(header)}")
        for row, cells in rows
        if len(cells) != len(header)
    ]
    if not rows:
        problems.append(LabelProblem(file=path, row=None, problem="a header and no rows"))
    if problems:
        raise LabelError(problems)
    wanted = [*columns, *(name for name in optional if name in header)]
    table = pd.DataFrame([cells for _, cells in rows], columns=header, dtype=str)[wanted]
    return table.assign(row=[row for row, _ in rows])


def _read_lines(path: Path) -> list[tuple[int, list[str]]]:
    """Line number and cells of every line that is not blank."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            return [(reader.line_num, cells) for cells in reader if any(cells)]
    except (csv.Error, UnicodeDecodeError) as error:
        raise LabelError([LabelProblem(file=path, row=None, problem=f"not a CSV in UTF-8 ({error})")]) from error


def check_ids(path: Path, table: pd.DataFrame) -> list[LabelProblem]:
    """A problem for every id of the table that could not safely name a file."""
    unsafe = table[~table["patientId"].str.fullmatch(SAFE_ID)]
    remedy = "expected letters, digits, '.', '_' and '-' only"
    return report_rows(path, unsafe, f"id {{patientId!r}}; {remedy}")


def report_rows(path: Path, rows: pd.DataFrame, problem: str, **more: str) -> list[LabelProblem]:
    """A problem for each row of a table; ``problem`` may name its columns, and what is in ``more``, in braces."""
    records = ({str(name): value for name, value in record.items()} | more for record in rows.to_dict("records"))
    return [LabelProblem(file=path, row=record["row"], problem=problem.format(**record)) for record in records]
