"""Tables of text, read cell by cell, and the one error that lists everything wrong with them."""

import csv
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pandas as pd

from rsna_det.errors import DataError

# An id names files (`<id>.dcm`), so it may hold no path separator, and no leading dot makes it a hidden file or "..".
SAFE_ID = r"[A-Za-z0-9_-][A-Za-z0-9._-]*"
_PRINTED = 50
Loaded = TypeVar("Loaded")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that is wrong with the data.

    Attributes:
        file: the table, or the image, in which it is seen.
        row: line number as a text editor shows it (the header is line 1); None where the file has no rows.
        problem: what is wrong, with the values found.
    """

    file: Path
    row: int | None
    problem: str

    def __str__(self) -> str:
        return f"{self.file}{'' if self.row is None else f', row {self.row}'}: {self.problem}"


class LabelError(DataError):
    """Everything that is wrong with a set of tables; ``findings`` has all, the message the first 50."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        super().__init__(tuple(findings))

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All findings, in the order of the checks."""
        return tuple(self.args[0])

    def __str__(self) -> str:
        count = len(self.findings)
        lines = [f"{count} finding{'s' if count > 1 else ''} in the tables; nothing was guessed, please correct them:"]
        lines += [f"  {finding}" for finding in self.findings[:_PRINTED]]
        if count > _PRINTED:
            lines.append(f"  ... and {count - _PRINTED} more")
        return "\n".join(lines)


def collect(load: Callable[[], Loaded], findings: list[Finding]) -> Loaded | None:
    """What ``load`` returns, or None with its findings added, so that several files are reported together."""
    try:
        return load()
    except LabelError as error:
        findings.extend(error.findings)
        return None


def read_table(path: Path, columns: Iterable[str]) -> pd.DataFrame:
    """A CSV's rows as text, nothing converted, with the line number of each in an extra column ``row``.

    Blank lines are skipped. Columns beyond ``columns`` are kept.

    Raises:
        FileNotFoundError: there is no such file.
        LabelError: a missing or repeated column, a row with too few or too many cells, no rows at all, or a file that
            is no CSV in UTF-8.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a CSV with the columns {', '.join(columns)} and found no such file")
    lines = _read_lines(path)
    if not lines:
        raise LabelError([Finding(file=path, row=None, problem="the file is empty")])
    (first, header), rows = lines[0], lines[1:]
    wrong = [f"column {name!r} is missing" for name in columns if name not in header]
    wrong += [f"column {name!r} is there twice" for name in sorted({n for n in header if header.count(n) > 1})]
    if wrong:
        found = f"; found {', '.join(header)}"
        raise LabelError([Finding(file=path, row=first, problem=problem + found) for problem in wrong])
    findings = [
        Finding(file=path, row=row, problem=f"{len(cells)} cells where the header has {len(header)}")
        for row, cells in rows
        if len(cells) != len(header)
    ]
    if not rows:
        findings.append(Finding(file=path, row=None, problem="a header and no rows"))
    if findings:
        raise LabelError(findings)
    table = pd.DataFrame([cells for _, cells in rows], columns=header, dtype=str)
    return table.assign(row=[row for row, _ in rows])


def _read_lines(path: Path) -> list[tuple[int, list[str]]]:
    """Line number and cells of every line that is not blank."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            return [(reader.line_num, cells) for cells in reader if any(cells)]
    except (csv.Error, UnicodeDecodeError) as error:
        raise LabelError([Finding(file=path, row=None, problem=f"not a CSV in UTF-8 ({error})")]) from error


def check_ids(path: Path, table: pd.DataFrame) -> list[Finding]:
    """A finding for every id of the table that could not safely name a file."""
    unsafe = table[~table["patientId"].str.fullmatch(SAFE_ID)]
    remedy = "expected letters, digits, '.', '_' and '-' only"
    return report_rows(path, unsafe, f"id {{patientId!r}}; {remedy}")


def report_rows(path: Path, rows: pd.DataFrame, problem: str, **more: str) -> list[Finding]:
    """A finding for each row of a table; ``problem`` may name its columns, and what is in ``more``, in braces."""
    records = ({str(name): value for name, value in record.items()} for record in rows.to_dict("records"))
    return [Finding(file=path, row=record["row"], problem=problem.format(**record, **more)) for record in records]
