"""Predict boxes: ``python -m rsna_det.predict checkpoints=<files> images=<folder of DICOM files>``.

Several checkpoints make an ensemble, combined anchor by anchor before decoding. Writes the challenge's submission, the
candidates that its boxes were made of, and a picture of each radiograph.
"""

from rsna_det.config.command import Command
from rsna_det.config.help import Help
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


HELP = Help(
    what="Find pneumonia in chest radiographs: DICOM files in, boxes with scores out, from one checkpoint or an "
    "ensemble of several. Writes submission.csv, tables and a picture of each radiograph. For research only.",
    usage="rsna_det.predict checkpoints=<files> images=<folder> [option=value ...]",
    examples={
        "python -m rsna_det.predict checkpoints=runs/heavy_aug_norot/<run>/checkpoints/best.ckpt images=radiographs": (
            "one checkpoint"
        ),
        "python -m rsna_det.predict 'checkpoints=runs/heavy_aug_norot/*/checkpoints/best.ckpt' images=radiographs": (
            "an ensemble; quotes keep the shell from the star"
        ),
        "python -m rsna_det.predict checkpoints=best.ckpt images=radiograph.dcm out=found cut=0.3 accelerator=cpu": (
            "one file, fewer boxes, without a GPU"
        ),
    },
    options={
        "checkpoints=<files>": "a file, a glob in quotes, or a list: [a.ckpt,b.ckpt]",
        "images=<folder>": "searched to any depth; or a file, a glob in quotes, or a list",
        "out=<folder>": "of all output; the same command with the same folder resumes an interrupted prediction",
        "overwrite=true": "replace the prediction in `out`",
        "operating_point=<file>": "the numbers between scored boxes and detections; by default beside the checkpoints",
        "cut=<score>": "in its place: boxes scored higher are kept",
        "nms_iou=<share>": "in its place: of two boxes that overlap by more, the one with the higher score stays",
        "size_rule=<rule>": "none, percentile or rescale: smaller boxes, for labels on which several readers agreed",
        "pictures=<which>": "true, false, or a number for the first few",
        "labels=<folder>": "or a CSV of boxes: draw the labelled boxes as well",
        "accelerator=<device>": "auto, cpu or cuda",
        "batch_size=<number>": "images at once",
        "memory_gb=<GiB>": "for the outputs of an ensemble's members",
        "workers=<number>": "processes that decode and draw; by default as many as cores",
    },
    flags={"--cfg job": "print the configuration that the options make, and predict nothing"},
    config="predict",
)

COMMAND = Command(
    name="predict",
    options=PredictOptions,
    work=_work,
    folder=lambda options: options.out,
    check=check,
    help=HELP,
    knows_its_own=True,
)


def main() -> None:
    """Predict as the command line says; exit status 1 if a file could not be read or drawn."""
    COMMAND.main()


if __name__ == "__main__":
    main()
