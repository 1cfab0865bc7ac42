"""One self-contained page of a report: no script, nothing fetched, to be opened from a disk or put on a server."""

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markdown_it import MarkdownIt
from markupsafe import Markup

from experiments.reporting.examples import ExampleGroup, Shown
from experiments.reporting.radiographs import Thumbnail
from experiments.reporting.study_report import Part
from rsna_det.evaluation.operating_report import units_in_words
from rsna_det.evaluation.statistics.power import LEVEL
from rsna_det.files.atomic import write_text
from rsna_det.structures import Category

# Shown in one cell with the value that they belong to.
_BOUNDS = ("_low", "_high")
_OF_A_DIFFERENCE = ("difference", "standard_error", "training_error")


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """Radiographs with the boxes of every variant.

    Attributes:
        shown: the variants' boxes.
        groups: which images, by kind.
        thumbnails: of the images, by id; one that is missing is said to be.
    """

    shown: Sequence[Shown]
    groups: Sequence[ExampleGroup]
    thumbnails: Mapping[str, Thumbnail]


@dataclass(frozen=True, kw_only=True)
class StudyDetails:
    """What a study's page says besides its parts.

    Attributes:
        command: that started the study.
        baseline: label of the variant that the others are held against.
        caveats: why the runs may not be comparable, in sentences.
        options: in which the variants differ, a column each.
        runs: one row a run.
        images: that were validated on: the columns of the truth table.
        pictures: of some of them.
    """

    command: str
    baseline: str
    caveats: Sequence[str]
    options: pd.DataFrame
    runs: pd.DataFrame
    images: pd.DataFrame
    pictures: Pictures


def write_page(path: Path, *, title: str, parts: Sequence[Part], details: StudyDetails | None) -> None:
    """Write the page so that it is whole or not there.

    Args:
        path: of the page.
        title: of the report.
        parts: in the order in which they are shown; their figures go into the page.
        details: of a study; None for a report that is not one.

    Raises:
        OSError: if a figure cannot be read, or the page not be written.
    """
    text = (
        _environment()
        .get_template("page.html.j2")
        .render(
            title=title,
            parts=parts,
            details=details,
            summary=_summary(details) if details else {},
            examples=_examples(details) if details else [],
            written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            version=metadata.version("rsna-det"),
        )
    )
    write_text(path, text)


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("experiments.reporting"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"paragraphs": _paragraphs, "png": _png, "table": _table, "cell": _cell}
    return environment


def _paragraphs(text: str) -> Markup:
    """Markdown without HTML of its own: variants may be named anything."""
    return Markup(MarkdownIt("commonmark", {"html": False}).render(text))  # noqa: S704  # escaped by the renderer


def _png(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode("ascii")


@dataclass(frozen=True, kw_only=True)
class _Row:
    cells: Sequence[str]
    told: bool


def _table(frame: pd.DataFrame, *, plain_headings: bool = False) -> dict[str, Any]:
    """Headings and rows of text: bounds stand behind their value, columns that say nothing are left out.

    The baseline's difference to itself is no finding, and stays blank. ``plain_headings`` is for columns that are
    variants, whose names stay as they are.
    """
    columns = [
        name
        for name in frame.columns
        if not str(name).endswith(_BOUNDS) or str(name).rpartition("_")[0] not in frame.columns
    ]
    columns = [name for name in columns if not frame[name].isna().all()]
    rows = []
    for _, row in frame.iterrows():
        itself = "p_value" in frame and math.isnan(row["p_value"])
        blank = _OF_A_DIFFERENCE if itself else ()
        cells = ["" if name in blank else _cell(row[name]) + _interval(row, str(name)) for name in columns]
        rows.append(_Row(cells=cells, told=bool(row.get("p_holm", math.nan) < LEVEL)))
    numeric = [pd.api.types.is_numeric_dtype(frame[name]) for name in columns]
    headings = [str(name) if plain_headings else str(name).replace("_", " ") for name in columns]
    return {"columns": headings, "numeric": numeric, "rows": rows}


def _interval(row: pd.Series, name: str) -> str:
    low, high = row.get(f"{name}_low"), row.get(f"{name}_high")
    if low is None or high is None or math.isnan(low):
        return ""
    return f" ({_cell(low)} to {_cell(high)})"


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, float):
        if math.isnan(value):
            return ""
        return f"{value:,.0f}" if value.is_integer() else f"{value:.4f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _summary(details: StudyDetails) -> dict[str, str]:
    images, runs = details.images, details.runs
    boxes = images["boxes"].map(len)
    owners = images["true_patient"]
    counts = [_count(runs[name].nunique(), name) for name in ("variant", "fold", "seed")]
    return {
        "images": f"{len(images):,}, each predicted by a run that did not train on it",
        "patients": f"{owners.nunique():,}; intervals are over {units_in_words(owners)}",
        "labelled boxes": f"{int(boxes.sum()):,} on {_count(int((boxes > 0).sum()), 'image')}",
        "runs": f"{len(runs)} ({', '.join(counts)}), {runs['minutes'].sum() / 60:.1f} h in all",
        "devices": ", ".join(sorted(runs["device"].unique())),
        "code": ", ".join(sorted(runs["commit"].unique())),
        "command": details.command,
    }


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _examples(details: StudyDetails) -> list[dict[str, Any]]:
    """Groups of images, and of each what every variant draws."""
    return [
        {
            "title": group.title,
            "text": group.text,
            "images": [_example(details, number) for number in group.images],
        }
        for group in details.pictures.groups
    ]


def _example(details: StudyDetails, number: int) -> dict[str, Any]:
    image = details.images.iloc[number]
    category = image["category"]
    return {
        "id": image["image_id"],
        "category": "category unknown" if pd.isna(category) else Category(int(category)).label,
        "truths": [list(map(float, box)) for box in image["boxes"]],
        "picture": details.pictures.thumbnails.get(image["image_id"]),
        "variants": [_drawn(shown, number) for shown in details.pictures.shown],
    }


def _drawn(shown: Shown, number: int) -> dict[str, Any]:
    found, row = shown.detections[number], shown.results.iloc[number]
    score = "does not count" if math.isnan(row["score"]) else f"score {row['score']:.2f}"
    said = f"{int(row['true_positives'])} of {int(row['true_boxes'])} found, " if row["true_boxes"] else ""
    return {
        "name": shown.variant,
        "boxes": list(zip(found.boxes.tolist(), found.scores.tolist(), strict=True)),
        "verdict": f"{said}{int(row['false_positives'])} false, {score}",
    }
