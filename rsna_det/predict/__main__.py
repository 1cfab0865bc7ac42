"""Predict boxes: ``python -m rsna_det.predict checkpoints=<files> images=<folder of DICOM files>``.

Several checkpoints make an ensemble, combined anchor by anchor before decoding. Writes the challenge's submission, the
candidates that its boxes were made of, and a picture of each radiograph.
"""

from rsna_det.config.command import Command
from rsna_det.config.options import PredictOptions


def check(options: PredictOptions) -> None:
    """Refuse to overwrite a prediction.

    Raises:
        InUseError: if a finished one lies in the folder.
    """
    from rsna_det.predict.folder import check_not_finished

    if not options.overwrite:
        check_not_finished(options.out)


def _work(options: PredictOptions) -> int:
    from rsna_det.predict.job import predict_files

    result = predict_files(options)
    return 1 if result.problems or result.undrawn else 0


COMMAND = Command(
    name="predict",
    options=PredictOptions,
    work=_work,
    folder=lambda options: options.out,
    check=check,
    knows_its_own=True,
)


def main() -> None:
    """Predict as the command line says; exit status 1 if a file could not be read or drawn."""
    COMMAND.main()


if __name__ == "__main__":
    main()
