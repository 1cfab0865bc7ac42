"""A study's report: ``python -m experiments.<study>`` writes it as Markdown, CSV, figures and one page."""

import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console

from experiments.reporting.runs import finished_variants, study_table
from experiments.reporting.study_report import Part, StudyReport
from rsna_det.cli import errors_as_messages, set_up
from rsna_det.evaluation.figures import interval_figure
from rsna_det.evaluation.report import markdown_table
from rsna_det.studies import launched_study

REPORT_FOLDER = "report"


def main(report: StudyReport) -> None:
    """Print a study's report and write it: ``python -m experiments.<study> paths.studies=<folder>``."""
    set_up()
    torch.set_num_threads(1)
    with errors_as_messages():
        places = sys.argv[1:]
        folder = launched_study(report.study, places).folder / REPORT_FOLDER
        folder.mkdir(exist_ok=True)
        write_parts(title=report.title, name=report.study, parts=study_parts(report, places, folder), folder=folder)


def study_parts(report: StudyReport, places: Sequence[str], folder: Path) -> list[Part]:
    """The comparison first, then what the study's module adds.

    Args:
        report: of the study.
        places: overrides of where studies are.
        folder: for figures.

    Raises:
        ConfigError: if the study is not finished, or its cells cannot be compared.
        ValueError: if a run's tables are damaged.
    """
    variants = finished_variants(report, places)
    table, sentences = study_table(report, variants)
    figure = folder / f"{report.study}.png"
    interval_figure(table.set_index("variant"), baseline=report.label(report.baseline), title=report.title, path=figure)
    comparison = Part(name=report.study, title="Comparison", text=sentences, table=table, figure=figure)
    return [comparison, *(make(report, variants, folder) for make in report.parts)]


def write_parts(*, title: str, name: str, parts: Sequence[Part], folder: Path) -> None:
    """Write ``<name>.md`` and every part's table as CSV, and print the Markdown.

    Args:
        title: of the report.
        name: of the report's file.
        parts: whose figures lie in the folder.
        folder: that exists.

    Raises:
        OSError: if something cannot be written.
    """
    for part in parts:
        if part.table is not None:
            part.table.to_csv(folder / f"{part.name}.csv", index=False)
    text = "\n\n".join([f"# {title}", *map(_markdown, parts)])
    (folder / f"{name}.md").write_text(f"{text}\n", encoding="utf-8")
    console = Console()
    console.print(text, soft_wrap=True, highlight=False, markup=False)
    console.print(f"written to {folder}", soft_wrap=True, highlight=False, markup=False)


def _markdown(part: Part) -> str:
    pieces = [f"## {part.title}", part.text]
    if part.table is not None:
        pieces.append(markdown_table(part.table))
    if part.figure is not None:
        pieces.append(f"![{part.title}]({part.figure.name})")
    return "\n\n".join(pieces)
