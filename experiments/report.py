"""The reports of all studies that were started: ``python -m experiments.report``, or ``make report``."""

import importlib
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

import experiments
from experiments.reporting.report import ERROR_LOG, check_places, write_study
from experiments.reporting.study_report import StudyReport
from rsna_det.config.compose import closest
from rsna_det.config.console import command_line, errors_as_messages, log_errors_to, mendable, set_up
from rsna_det.config.help import Help
from rsna_det.errors import ConfigError
from rsna_det.studies.plan import LAUNCHES, studies_folder

log = logging.getLogger(__name__)

HELP = Help(
    what="Write and print the report of each study: its variants compared, with intervals, curves and pictures.",
    usage="experiments.report [<study> ...] [paths.studies=<folder>]",
    examples={
        "python -m experiments.report": "of all studies that were started",
        "python -m experiments.report augmentations paths.studies=<folder>": "of one, in another folder",
    },
    options={"paths.studies=<folder>": "where studies lie"},
    read_on="experiments/README.md explains the studies.",
    config="train",
)


def study_reports() -> dict[str, StudyReport]:
    """The reports that the studies' modules declare, by the study's name."""
    folder = Path(str(experiments.__file__)).parent
    names = sorted(path.stem for path in folder.glob("[a-z]*.py") if path.stem != "report")
    modules = [importlib.import_module(f"experiments.{name}") for name in names]
    reports: list[StudyReport] = [module.REPORT for module in modules if hasattr(module, "REPORT")]
    return {report.study: report for report in reports}


def main() -> None:
    """Write the reports of the named studies, or of all that were started."""
    set_up()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    with errors_as_messages():
        arguments = command_line(HELP)
        places = [argument for argument in arguments if "=" in argument]
        named = [argument for argument in arguments if "=" not in argument]
        check_places(places)
        log_errors_to(studies_folder(places) / ERROR_LOG)
        wanted = _wanted(named, places)
        failed = [report.study for report in wanted if not _written(report, places)]
    if failed:
        sys.exit(f"error: no report of {', '.join(failed)}: see above")


def _wanted(named: Sequence[str], places: Sequence[str]) -> list[StudyReport]:
    reports, folder = study_reports(), studies_folder(places)
    for name in named:
        if name not in reports:
            raise ConfigError(f"there is no study {name}{closest(name, sorted(reports))}")
    wanted = named or [name for name in reports if (folder / name / LAUNCHES).is_dir()]
    if not wanted:
        raise ConfigError(
            f"no study was started in {folder}: start one with `python -m rsna_det.train -m +sweep=augmentations ...`, "
            "or name the folder of the studies with paths.studies=<folder>"
        )
    return [reports[name] for name in wanted]


def _written(report: StudyReport, places: Sequence[str]) -> bool:
    """Whether the report could be written; whatever is wrong with one study, the others get theirs."""
    try:
        page = write_study(report, places)
    except Exception as error:  # logged, in full if it is a bug
        found = mendable(error)
        if found is None:
            log.exception("%s: a bug kept the report from being written", report.study)
        else:
            log.error("%s: %s", report.study, found)  # noqa: TRY400  # the message says it all
        return False
    log.info("%s: %s", report.study, page)
    return True


if __name__ == "__main__":
    main()
