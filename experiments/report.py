"""The pages of all studies that were started: ``python -m experiments.report``, or ``make report``."""

import importlib
import logging
import sys
from pathlib import Path

import torch

import experiments
from experiments.reporting.report import check_places, write_study
from experiments.reporting.study_report import StudyReport
from rsna_det.config.compose import closest
from rsna_det.config.console import command_line, errors_as_messages, set_up
from rsna_det.errors import ConfigError, RsnaDetError
from rsna_det.studies.plan import LAUNCHES, studies_folder

log = logging.getLogger(__name__)

_USAGE = "python -m experiments.report [<study> ...] [paths.studies=<folder>]"


def study_reports() -> dict[str, StudyReport]:
    """The reports of all studies' modules, by the study's name."""
    folder = Path(str(experiments.__file__)).parent
    names = sorted(path.stem for path in folder.glob("[a-z]*.py") if path.stem != "report")
    modules = [importlib.import_module(f"experiments.{name}") for name in names]
    reports: list[StudyReport] = [module.REPORT for module in modules if hasattr(module, "REPORT")]
    return {report.study: report for report in reports}


def main() -> None:
    """Write the reports of the studies that are named, or else of all that were started."""
    set_up()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    with errors_as_messages():
        arguments = command_line(_USAGE)
        places = [argument for argument in arguments if "=" in argument]
        named = [argument for argument in arguments if "=" not in argument]
        check_places(places)
        reports = study_reports()
        for name in named:
            if name not in reports:
                raise ConfigError(f"there is no study {name}{closest(name, sorted(reports))}")
        folder = studies_folder(places)
        wanted = named or [name for name in reports if (folder / name / LAUNCHES).is_dir()]
        if not wanted:
            raise ConfigError(
                f"no study was started in {folder}: begin with `python -m rsna_det.train -m +sweep=augmentations ...`, "
                "or say where they are with paths.studies=<folder>"
            )
        unfinished = [name for name in wanted if not _written(reports[name], places)]
    if unfinished:
        sys.exit(f"error: no report of {', '.join(unfinished)}: see above")


def _written(report: StudyReport, places: list[str]) -> bool:
    """Whether the report could be written; a study that is unfinished or damaged does not keep others from theirs."""
    try:
        page = write_study(report, places)
    except RsnaDetError as error:
        log.error("%s: %s", report.study, error)  # noqa: TRY400  # the message says it all
        return False
    log.info("%s: %s", report.study, page)
    return True


if __name__ == "__main__":
    main()
