"""The runs of a study and where they stand: ``python -m rsna_det.studies augmentations data.root=<folder>``."""

from rsna_det.config.console import command_line, errors_as_messages, log_errors_to, set_up
from rsna_det.config.help import Help
from rsna_det.studies.listing import find_study, places_of, show, study_and_overrides
from rsna_det.studies.plan import studies_folder

HELP = Help(
    what="List the runs of a study and where each stands: finished, running, interrupted, failed or missing. Nothing "
    "is trained.",
    usage="rsna_det.studies <study> [option=value ...]",
    examples={
        "python -m rsna_det.studies augmentations": "as it was started last",
        "python -m rsna_det.studies augmentations data.root=<folder> seed=0,1": "as these options would start it",
    },
    options={"paths.studies=<folder>": "where studies lie"},
    groups={"sweep": "the studies"},
    read_on="Further options are those of training: `python -m rsna_det.train --help`. experiments/README.md explains "
    "the studies.",
    config="train",
)


def main() -> None:
    """List the runs of a study: as last started, or as they would be with the options given."""
    set_up()
    with errors_as_messages():
        name, overrides = study_and_overrides(command_line(HELP))
        log_errors_to(studies_folder(places_of(overrides)) / name / "studies.log")
        show(find_study(name, overrides))


if __name__ == "__main__":
    main()
