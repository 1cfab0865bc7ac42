"""A study's report: ``python -m experiments.<study>`` writes a page, Markdown, CSV files and figures."""

import shlex
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console

from experiments.reporting.examples import detections_of_variants, example_groups
from experiments.reporting.page import Pictures, StudyDetails, write_page
from experiments.reporting.radiographs import thumbnails
from experiments.reporting.run_table import comparability_caveats, options_by_variant, run_table
from experiments.reporting.runs import StudyResult, compared, finished_variants
from experiments.reporting.scores import score_curves
from experiments.reporting.study_report import Part, StudyReport
from experiments.reporting.tables import shown_table
from rsna_det.config.console import command_line, errors_as_messages, log_errors_to, set_up
from rsna_det.config.help import Help
from rsna_det.drawing.figures import interval_figure
from rsna_det.drawing.tables import Style
from rsna_det.errors import ConfigError
from rsna_det.files.atomic import write_text
from rsna_det.files.tables import markdown_table, write_csv
from rsna_det.studies.plan import PLACES, launched_study, studies_folder

REPORT_FOLDER = "report"

ERROR_LOG = "report.log"
"""Tracebacks of a report's errors, in the folder of the study, or of all studies."""

EXAMPLES_OF_A_KIND = 4


def main(report: StudyReport) -> None:
    """Write a study's report and print it: ``python -m experiments.<study> paths.studies=<folder>``."""
    set_up()
    torch.set_num_threads(1)
    with errors_as_messages():
        places = command_line(_help(report))
        check_places(places)
        log_errors_to(studies_folder(places) / report.study / ERROR_LOG)
        show_report(write_study(report, places))


def _help(report: StudyReport) -> Help:
    return Help(
        what=f"Write and print the report of the study {report.study}, as it was last started. {report.title}.",
        usage=f"experiments.{report.study} [paths.studies=<folder>]",
        options={"paths.studies=<folder>": "where studies lie"},
        read_on="experiments/README.md explains the studies.",
        config="train",
    )


def check_places(overrides: Sequence[str]) -> None:
    """Refuse options that would have no effect: a report shows the study as it was last started.

    Raises:
        ConfigError: naming the options that have one.
    """
    idle = [text for text in overrides if text.partition("=")[0] not in PLACES or "=" not in text]
    if idle:
        raise ConfigError(
            f"{', '.join(idle)} would have no effect on a report, which takes {', '.join(PLACES)}=<folder> only"
        )


def show_report(page: Path) -> None:
    """Print the Markdown that lies beside a page, and the page's path."""
    console = Console()
    text = page.with_suffix(".md").read_text(encoding="utf-8")
    console.print(text, soft_wrap=True, highlight=False, markup=False)
    console.print(f"written to {page.parent}: open {page}", soft_wrap=True, highlight=False, markup=False)


def write_study(report: StudyReport, places: Sequence[str]) -> Path:
    """Write the report of a finished study.

    Args:
        report: of the study.
        places: overrides of where studies lie.

    Returns:
        The page.

    Raises:
        RsnaDetError: if the study is not finished, its runs are damaged or cannot be compared, or something cannot be
            written.
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
        caveats=comparability_caveats(result.variants),
        options=options_by_variant(report, result.variants),
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
            write_csv(part.table, folder / f"{part.name}.csv")
    text = "\n\n".join([f"# {title}", *map(_markdown, parts)])
    write_text(folder / f"{name}.md", f"{text}\n")
    page = folder / f"{name}.html"
    write_page(page, title=title, parts=parts, details=details)
    return page


def _comparison(report: StudyReport, result: StudyResult, folder: Path) -> Part:
    figure = folder / f"{report.study}.png"
    baseline = report.label(report.baseline)
    interval_figure(result.table.set_index("variant"), baseline=baseline, title=report.title, path=figure)
    return Part(
        name=report.study,
        title="Comparison",
        text=result.sentences,
        table=result.table,
        figure=figure,
        style=Style(
            headings={
                "difference": f"difference from {baseline}",
                **{name: f"mAP, {name}" for name in map(str, result.table.columns) if name.startswith("fold ")},
            }
        ),
    )


def _as_typed(override: str) -> str:
    """As on the command line, where a study takes a plus that its record leaves out."""
    return f"+{override}" if override.startswith("sweep=") else override


def _pictures(result: StudyResult) -> Pictures:
    variants = detections_of_variants(result.scored)
    groups = example_groups(variants, result.images, count=EXAMPLES_OF_A_KIND)
    ids = [result.images["image_id"].iloc[number] for group in groups for number in group.images]
    run = next(iter(result.variants[0].seeds.values()))[0]
    return Pictures(variants=variants, groups=groups, thumbnails=thumbnails(ids, run=run))


def _markdown(part: Part) -> str:
    pieces = [f"## {part.title}", part.text]
    if part.table is not None:
        pieces.append(markdown_table(shown_table(part).frame()))
    if part.figure is not None:
        pieces.append(f"![{part.title}]({part.figure.name})")
    return "\n\n".join(pieces)
