"""Tables and figures without cells: ``python -m experiments.<name> data.root=<folder> out=<folder>``."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from omegaconf import OmegaConf

from experiments.reporting.report import show_report, write_parts
from experiments.reporting.study_report import Part
from rsna_det.config.check import check_config
from rsna_det.config.compose import compose_config, override_key
from rsna_det.config.console import command_line, errors_as_messages, log_errors_to, set_up
from rsna_det.config.options import FigureOptions
from rsna_det.errors import ConfigError

_ALWAYS = ("out", "paths")


@dataclass(frozen=True, kw_only=True)
class FigureReport:
    """What a module without cells says of itself.

    Attributes:
        name: of the module.
        title: what it shows, with the paper's table or figure.
        takes: the options of conf/figures.yaml that act, beside ``out`` and ``paths``.
        parts: makes its tables and figures from the configuration; figures go to the folder.
        needs_data: False where ``data.root`` may be left out; the options then have no ``data``.
    """

    name: str
    title: str
    takes: Sequence[str]
    parts: Callable[[FigureOptions, Path], Sequence[Part]]
    needs_data: bool = True


def figure_options(figure: FigureReport, overrides: Sequence[str]) -> FigureOptions:
    """The options of a table or figure that needs no training.

    Args:
        figure: the module's.
        overrides: in Hydra's syntax.

    Raises:
        ConfigError: for an option that is unknown, would not act, is missing or of the wrong type.
    """
    idle = [text for text in overrides if override_key(text).partition(".")[0] not in (*figure.takes, *_ALWAYS)]
    config = compose_config("figures", [f"figure={figure.name}", *overrides])
    if idle:
        raise ConfigError(
            f"{', '.join(idle)} would have no effect on {figure.name}, which takes "
            f"{', '.join([*figure.takes, *_ALWAYS])}: leave it out"
        )
    without_data = not figure.needs_data and OmegaConf.is_missing(config.data, "root")
    if without_data or "data" not in figure.takes:
        config = OmegaConf.masked_copy(config, [str(key) for key in config if key != "data"])
    return check_config(config, FigureOptions)


def main(figure: FigureReport) -> None:
    """Print a module's report and write it: ``python -m experiments.<name> <options>``."""
    set_up()
    torch.set_num_threads(1)
    with errors_as_messages():
        usage = f"python -m experiments.{figure.name} " + " ".join(f"[{name}...]" for name in (*figure.takes, *_ALWAYS))
        options = figure_options(figure, command_line(usage))
        folder = options.out
        folder.mkdir(parents=True, exist_ok=True)
        log_errors_to(folder / f"{figure.name}.log")
        parts = figure.parts(options, folder)
        show_report(write_parts(title=figure.title, name=figure.name, parts=parts, folder=folder))
