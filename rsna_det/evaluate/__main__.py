"""Evaluate: ``python -m rsna_det.evaluate runs=<run folders>`` or ``predictions=<folder> labels=<folder or csv>``.

From tables alone, no model and no images. Of runs: the score of every epoch, NMS IoU and cut (figure 8), the operating
point chosen honestly and optimistically, and how good the detector is there. Of predictions: the same measures against
labels, for each rule of box sizes (table 4's method column).
"""

from collections.abc import Sequence

import yaml

from rsna_det.config.command import Command
from rsna_det.config.compose import CONF
from rsna_det.config.help import Help
from rsna_det.config.options import EvaluateOptions
from rsna_det.errors import ConfigError

_OF_RUNS = (
    "cut_grid",
    "nms_ious",
    "epoch",
    "cut",
    "nms_iou",
    "choose_nms_iou",
    "size_rule",
    "save_operating_point",
    "splits",
)
_OF_PREDICTIONS = ("labels", "patients_csv", "ids")


def evaluate(options: EvaluateOptions) -> dict[str, float]:
    """Evaluate as the options say, into ``options.run_dir``, which exists.

    Returns:
        The numbers of the report.

    Raises:
        ConfigError: before any table is read, for options that do not go together.
    """
    import torch

    from rsna_det.evaluate.predictions import score_predictions
    from rsna_det.evaluate.runs import score_runs

    check(options)
    # One operation on a few boxes at a time: threads would only wait for one another.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return score_runs(options) if options.runs is not None else score_predictions(options)
    finally:
        torch.set_num_threads(threads)


def check(options: EvaluateOptions) -> None:
    """Refuse options that do not go together, or that would have no effect.

    Raises:
        ConfigError: naming them.
    """
    if (options.runs is None) == (options.predictions is None):
        raise ConfigError("give either runs=<run folders>, or predictions=<folder> with labels=<folder or csv>")
    if options.predictions is not None and options.labels is None:
        raise ConfigError("predictions are scored against labels: give labels=<challenge folder or table of boxes>")
    unused = _OF_PREDICTIONS if options.runs is not None else _OF_RUNS
    defaults = yaml.safe_load((CONF / "evaluate.yaml").read_text(encoding="utf-8"))
    given = [name for name in unused if getattr(options, name) != defaults[name]]
    if given:
        used = "runs" if options.runs is not None else "predictions"
        raise ConfigError(f"{', '.join(given)} would have no effect with {used}=: leave {_it_or_them(given)} out")
    _check_ranges(options)


def _it_or_them(names: Sequence[str]) -> str:
    return "it" if len(names) == 1 else "them"


def _check_ranges(options: EvaluateOptions) -> None:
    shares = {"cut": options.cut, "nms_iou": options.nms_iou}
    shares |= {f"nms_ious[{number}]": value for number, value in enumerate(options.nms_ious)}
    wrong = [
        f"{name} is {value}; expected 0 to 1"
        for name, value in shares.items()
        if value is not None and not 0 <= value <= 1
    ]
    lowest = {"splits": 1, "resamples": 1, "seed": 0}
    wrong += [
        f"{name} is {getattr(options, name)}; expected {low} or more"
        for name, low in lowest.items()
        if getattr(options, name) < low
    ]
    if wrong:
        raise ConfigError("\n".join(wrong))


def _work(options: EvaluateOptions) -> int:
    evaluate(options)
    return 0


HELP = Help(
    what="Score training runs, or a prediction against labels: the challenge's mAP with its 95% interval, COCO's AP, "
    "FROC and calibration, from tables alone. Of runs it also chooses the operating point that prediction applies.",
    usage="rsna_det.evaluate runs=<run folders> [option=value ...]",
    examples={
        "python -m rsna_det.evaluate 'runs=runs/heavy_aug_norot/*'": "all folds of an experiment",
        "python -m rsna_det.evaluate predictions=<folder> labels=<challenge folder>": "what rsna_det.predict wrote",
    },
    options={
        "runs=<folders>": "one run for each fold of one experiment: a folder, a list, or a glob in quotes",
        "predictions=<folder>": "or what rsna_det.predict wrote, with `labels`",
        "labels=<folder>": "a challenge folder, or its table of boxes",
        "patients_csv=<file>": "with `predictions`: map from image to true patient",
        "ids=<file>": "with `predictions`: a list of the ids to score; by default all with labels",
        "out=<folder>": "of report, tables and figures",
        "epoch=<number>": "with `runs`: choose the operating point among this epoch's",
        "cut=<score>": "with `runs`: choose it at this score threshold",
        "choose_nms_iou=true": "with `runs`: choose the NMS IoU as well",
        "size_rule=rescale": "with `runs`: make boxes smaller before they are scored",
        "save_operating_point=false": "with `runs`: do not write it beside the checkpoints",
        "resamples=<number>": "of the bootstrap that gives the intervals",
        "seed=<number>": "of the bootstrap and of the honest choice's splits",
    },
    flags={"--cfg job": "print the configuration that the options make, and evaluate nothing"},
    config="evaluate",
)

COMMAND = Command(
    name="evaluate", options=EvaluateOptions, work=_work, folder=lambda options: options.run_dir, check=check, help=HELP
)


def main() -> None:
    """Evaluate as the command line says."""
    COMMAND.main()


if __name__ == "__main__":
    main()
