"""A study's report: ``python -m experiments.<study>`` writes it as a page, as Markdown, CSV and figures."""

import shlex
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console

from experiments.reporting.examples import example_groups, shown_variants
from experiments.reporting.page import Pictures, StudyDetails, write_page
from experiments.reporting.radiographs import thumbnails
from experiments.reporting.run_table import differing_options, disagreements, run_table
from experiments.reporting.runs import StudyResult, compared, finished_variants
from experiments.reporting.scores import score_curves
from experiments.reporting.study_report import Part, StudyReport
from rsna_det.config.console import command_line, errors_as_messages, set_up
from rsna_det.drawing.figures import interval_figure
from rsna_det.errors import ConfigError
from rsna_det.files.atomic import whole_file, write_text
from rsna_det.files.tables import markdown_table
from rsna_det.studies.plan import PLACES, launched_study

REPORT_FOLDER = "report"

EXAMPLES_OF_A_KIND = 4


def main(report: StudyReport) -> None:
    """Write a study's report and print it: ``python -m experiments.<study> paths.studies=<folder>``."""
    set_up()
    torch.set_num_threads(1)
    with errors_as_messages():
        places = command_line(f"python -m experiments.{report.study} [paths.studies=<folder>]")
        check_places(places)
        show_report(write_study(report, places))


def check_places(overrides: Sequence[str]) -> None:
    """Refuse what would not act: a report is of the study as it was started.

    Raises:
        ConfigError: naming what is taken.
    """
    idle = [text for text in overrides if text.partition("=")[0] not in PLACES or "=" not in text]
    if idle:
        raise ConfigError(f"{', '.join(idle)} would not act on a report, which takes {', '.join(PLACES)}=<folder> only")


def show_report(page: Path) -> None:
    """Print the Markdown that lies beside a page, and where the page is."""
    console = Console()
    text = page.with_suffix(".md").read_text(encoding="utf-8")
    console.print(text, soft_wrap=True, highlight=False, markup=False)
    console.print(f"written to {page.parent}: open {page}", soft_wrap=True, highlight=False, markup=False)


def write_study(report: StudyReport, places: Sequence[str]) -> Path:
    """Write everything that a finished study shows.

    Args:
        report: of the study.
        places: overrides of where studies are.

    Returns:
        The page.

    Raises:
        ConfigError: if the study is not finished, or its cells cannot be compared.
        ValueError: if a run's tables are damaged.
        OSError: if something cannot be written.
    """
    study = launched_study(report.study, places)
    result = compared(report, finished_variants(report, places))
    folder = study.folder / REPORT_FOLDER
    folder.mkdir(exist_ok=True)
    makers = (score_curves, *report.parts)
    parts = [_comparison(report, result, folder), *(make(report, result.variants, folder) for make in makers)]
    details = StudyDetails(
        command=f"python -m rsna_det.train -m {shlex.join(map(_as_typed, study.overrides))}",
        baseline=report.label(report.baseline),
        caveats=disagreements(result.variants),
        options=differing_options(report, result.variants),
        runs=run_table(report, result.variants),
        images=result.images,
        pictures=_pictures(result),
    )
    return write_parts(title=report.title, name=report.study, parts=parts, folder=folder, details=details)


def write_parts(
    *, title: str, name: str, parts: Sequence[Part], folder: Path, details: StudyDetails | None = None
) -> Path:
    """Write ``<name>.html``, ``<name>.md`` and every part's table as CSV.

    Args:
        title: of the report.
        name: of the report's files.
        parts: whose figures lie in the folder.
        folder: that exists.
        details: of a study, for its page.

    Returns:
        The page.

    Raises:
        OSError: if something cannot be written.
    """
    for part in parts:
        if part.table is not None:
            with whole_file(folder / f"{part.name}.csv") as partial:
                part.table.to_csv(partial, index=False)
    text = "\n\n".join([f"# {title}", *map(_markdown, parts)])
    write_text(folder / f"{name}.md", f"{text}\n")
    page = folder / f"{name}.html"
    write_page(page, title=title, parts=parts, details=details)
    return page


def _comparison(report: StudyReport, result: StudyResult, folder: Path) -> Part:
    figure = folder / f"{report.study}.png"
    baseline = report.label(report.baseline)
    interval_figure(result.table.set_index("variant"), baseline=baseline, title=report.title, path=figure)
    return Part(name=report.study, title="Comparison", text=result.sentences, table=result.table, figure=figure)


def _as_typed(override: str) -> str:
    """The plus that a study is asked for with, on the command line, and that is not kept."""
    return f"+{override}" if override.startswith("sweep=") else override


def _pictures(result: StudyResult) -> Pictures:
    shown = shown_variants(result.scored)
    groups = example_groups(shown, result.images, count=EXAMPLES_OF_A_KIND)
    ids = [result.images["image_id"].iloc[number] for group in groups for number in group.images]
    run = next(iter(result.variants[0].seeds.values()))[0]
    return Pictures(shown=shown, groups=groups, thumbnails=thumbnails(ids, run=run))


def _markdown(part: Part) -> str:
    pieces = [f"## {part.title}", part.text]
    if part.table is not None:
        pieces.append(markdown_table(part.table))
    if part.figure is not None:
        pieces.append(f"![{part.title}]({part.figure.name})")
    return "\n\n".join(pieces)
