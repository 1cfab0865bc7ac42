"""Evaluate: ``python -m rsna_det.evaluate runs=<run folders>`` or ``predictions=<folder> labels=<folder or csv>``.

From tables alone, no model and no images. Of runs: the score of every epoch, NMS IoU and cut (figure 8), the operating
point chosen honestly and optimistically, and what the detector is worth there. Of predictions: the same measures
against labels, for each rule of box sizes (table 4's method column).
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import hydra
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from rsna_det.config.check import check_config
from rsna_det.config.compose import CONF, compose_config, override_key
from rsna_det.config.console import check_command_line, errors_as_messages, set_up
from rsna_det.errors import ConfigError
from rsna_det.evaluate.predictions import score_predictions
from rsna_det.evaluate.runs import score_runs
from rsna_det.files.output_lock import check_not_in_use, in_use

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


def main() -> None:
    """Evaluate as the command line says."""
    set_up()
    with errors_as_messages():
        check_command_line("evaluate")
        _refuse_taken(sys.argv[1:])
    _start()


@hydra.main(config_path=str(CONF), config_name="evaluate", version_base="1.3")
def _start(config: DictConfig) -> None:
    config.run_dir = HydraConfig.get().runtime.output_dir
    with errors_as_messages():
        run(config)


def run(config: DictConfig) -> dict[str, float]:
    """Evaluate as configured.

    Returns:
        The numbers of the report.

    Raises:
        ConfigError: before any table is read, for a configuration that cannot be.
        FileExistsError: if another process writes into the folder.
    """
    check_config(config)
    if (config.runs is None) == (config.predictions is None):
        raise ConfigError("give either runs=<run folders>, or predictions=<folder> with labels=<folder or csv>")
    if config.predictions is not None and config.labels is None:
        raise ConfigError("predictions are scored against labels: give labels=<challenge folder or table of boxes>")
    _refuse_options_of_the_other(config)
    # One operation on a few boxes at a time: threads would only wait for one another.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        folder = Path(config.run_dir)
        with in_use(folder):
            return score_runs(config, folder) if config.runs is not None else score_predictions(config, folder)
    finally:
        torch.set_num_threads(threads)


def _refuse_taken(arguments: Sequence[str]) -> None:
    """Before Hydra writes its files into the folder."""
    if any(override_key(argument) == "out" for argument in arguments):
        config = compose_config("evaluate", [a for a in arguments if not a.startswith("-")])
        check_not_in_use(Path(config.out).expanduser())


def _refuse_options_of_the_other(config: DictConfig) -> None:
    """An option that would not act must not be taken for one that did."""
    unused = _OF_PREDICTIONS if config.runs is not None else _OF_RUNS
    default = compose_config("evaluate", [])
    given = [name for name in unused if config[name] != default[name]]
    if given:
        used = "runs" if config.runs is not None else "predictions"
        raise ConfigError(f"{', '.join(given)} would not act with {used}=: leave it out")


if __name__ == "__main__":
    main()
