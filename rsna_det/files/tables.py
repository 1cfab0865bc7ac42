"""Tables as CSV files and in Markdown."""

from pathlib import Path

import numpy as np
import pandas as pd

from rsna_det.files.atomic import whole_file


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Write a table's columns, whole or not at all.

    Raises:
        StorageError: if it cannot be written; the message names the file.
    """
    with whole_file(path) as partial:
        table.to_csv(partial, index=False)


def markdown_table(frame: pd.DataFrame) -> str:
    """A frame as a table in Markdown, numbers to four places."""
    rows = [[str(name).replace("_", " ") for name in frame.columns], ["---"] * len(frame.columns)]
    rows += [[_escaped(_cell(value)) for value in row] for row in frame.itertuples(index=False)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _escaped(text: str) -> str:
    """What would end a cell or begin a tag."""
    return text.replace("|", r"\|").replace("<", "&lt;")


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "-" if np.isnan(value) else f"{value:g}" if value.is_integer() else f"{value:.4f}"
    return str(value)
