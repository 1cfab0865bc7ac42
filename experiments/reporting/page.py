"""A report as one self-contained HTML page: no scripts, and nothing loaded from elsewhere."""

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markdown_it import MarkdownIt
from markupsafe import Markup
from PIL import Image

from experiments.reporting.examples import ExampleGroup, VariantDetections
from experiments.reporting.radiographs import Thumbnail
from experiments.reporting.study_report import Part
from experiments.reporting.tables import RUNS, SIGNIFICANT, shown_table, significant_rows
from rsna_det.drawing.tables import ReadableTable, Style, counted, duration, readable_table
from rsna_det.evaluation.operating_report import units_in_words
from rsna_det.files.atomic import write_text
from rsna_det.structures import UNKNOWN_PATIENT, Category


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """Radiographs with the boxes of every variant.

    Attributes:
        variants: with their detections.
        groups: the images to show, by kind.
        thumbnails: of the images, by id; the page says so where one is missing.
    """

    variants: Sequence[VariantDetections]
    groups: Sequence[ExampleGroup]
    thumbnails: Mapping[str, Thumbnail]


@dataclass(frozen=True, kw_only=True)
class StudyDetails:
    """What a study's page has besides its parts.

    Attributes:
        command: that started the study.
        baseline: label of the variant that the others are compared with.
        caveats: why the runs may not be comparable, in sentences.
        options: in which the variants differ, one column per variant.
        runs: one row per run.
        images: of the validation: the columns of the truth table.
        pictures: radiographs of some of them.
    """

    command: str
    baseline: str
    caveats: Sequence[str]
    options: pd.DataFrame
    runs: pd.DataFrame
    images: pd.DataFrame
    pictures: Pictures


def write_page(path: Path, *, title: str, parts: Sequence[Part], details: StudyDetails | None) -> None:
    """Write the page, whole or not at all.

    Args:
        path: of the page.
        title: of the report.
        parts: in their order on the page, which holds their figures too.
        details: of a study; None for any other report.

    Raises:
        OSError: if a figure cannot be read, or the page cannot be written.
    """
    text = (
        _environment()
        .get_template("page.html.j2")
        .render(
            title=title,
            parts=parts,
            details=details,
            significant=SIGNIFICANT,
            summary=_summary(details) if details else {},
            provenance=_provenance(details) if details else {},
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
    environment.filters |= {
        "paragraphs": _paragraphs,
        "picture": _picture,
        "part_grid": _part_grid,
        "options_grid": _options_grid,
        "runs_grid": partial(_details_grid, style=RUNS),
    }
    return environment


def _paragraphs(text: str) -> Markup:
    """Markdown as HTML; tags in it are escaped and links stay text, since variants may have any name."""
    renderer = MarkdownIt("commonmark", {"html": False}).disable(["link", "image", "autolink", "reference"])
    return Markup(renderer.render(text))  # noqa: S704  # escaped by the renderer


def _picture(path: Path) -> dict[str, Any]:
    """A PNG for the template, with its size in pixels."""
    with Image.open(path) as picture:
        width, height = picture.size
    return {"png": base64.b64encode(path.read_bytes()).decode("ascii"), "width": width, "height": height}


def _grid(shown: ReadableTable, significant: Sequence[bool]) -> dict[str, Any]:
    """A table for the template: rows of cells, each with its heading for narrow screens."""
    rows = [
        {"cells": list(zip(shown.headings, shown.numeric, row, strict=True)), "significant": marked}
        for row, marked in zip(shown.rows, significant, strict=True)
    ]
    return {"headings": list(zip(shown.headings, shown.numeric, strict=True)), "rows": rows}


def _part_grid(part: Part) -> dict[str, Any]:
    return _grid(shown_table(part), [] if part.table is None else significant_rows(part.table))


def _details_grid(frame: pd.DataFrame, style: Style | None = None) -> dict[str, Any]:
    return _grid(readable_table(frame, style), [False] * len(frame))


def _options_grid(options: pd.DataFrame) -> dict[str, Any]:
    """Columns are variants, whose labels stay as they are."""
    return _details_grid(options, Style(headings={str(name): str(name) for name in options.columns}))


def _summary(details: StudyDetails) -> dict[str, str]:
    images, runs = details.images, details.runs
    boxes = images["boxes"].map(len)
    patients = images["true_patient"]
    known = not patients.str.startswith(UNKNOWN_PATIENT).all()
    counts = [counted(runs[name].nunique(), name) for name in ("variant", "fold", "seed")]
    return {
        "images": f"{len(images):,}, each predicted by a run that did not train on it",
        "true patients": f"{patients.nunique():,}" if known else "unknown",
        "intervals": f"95% bootstraps over {units_in_words(patients)}",
        "labelled boxes": f"{int(boxes.sum()):,} on {counted(int((boxes > 0).sum()), 'image')}",
        "runs": f"{len(runs):,} ({', '.join(counts)}), {duration(60 * runs['minutes'].sum())} in total",
    }


def _provenance(details: StudyDetails) -> dict[str, str]:
    return {
        "devices": ", ".join(sorted(details.runs["device"].unique())),
        "commits": ", ".join(sorted(details.runs["commit"].unique())),
        "command": details.command,
    }


def _examples(details: StudyDetails) -> list[dict[str, Any]]:
    """Groups of images, each image with the detections of every variant."""
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
        "labelled": f"{_boxes(len(image['boxes']))} labelled",
        "picture": details.pictures.thumbnails.get(image["image_id"]),
        "variants": [_drawn(variant, number) for variant in details.pictures.variants],
    }


def _drawn(variant: VariantDetections, number: int) -> dict[str, Any]:
    detections, row = variant.detections[number], variant.results.iloc[number]
    score = "does not count for the mAP" if math.isnan(row["score"]) else f"image score {row['score']:.2f}"
    boxes = int(row["true_boxes"])
    found = f"{int(row['true_positives'])} of {_boxes(boxes)} found, " if boxes else ""
    return {
        "name": variant.variant,
        "boxes": list(zip(detections.boxes.tolist(), detections.scores.tolist(), strict=True)),
        "verdict": f"{found}{counted(int(row['false_positives']), 'false positive')}, {score}",
    }


def _boxes(number: int) -> str:
    return f"{number or 'no'} {'box' if number == 1 else 'boxes'}"
