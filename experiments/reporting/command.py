"""Tables and figures that need no training: ``python -m experiments.<name> data.root=<folder> out=<folder>``."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from experiments.reporting.report import show_report, write_parts
from experiments.reporting.study_report import Part
from rsna_det.config.check import check_config
from rsna_det.config.compose import compose_config, override_key
from rsna_det.config.console import command_line, errors_as_messages, log_errors_to, set_up
from rsna_det.config.help import Help
from rsna_det.config.options import FigureOptions
from rsna_det.config.outputs import check_free
from rsna_det.errors import ConfigError

_ALWAYS = ("out", "paths")
_OPTIONS = {
    "data": ("data.root=<folder>", "the challenge's folder"),
    "radiographs": ("radiographs=<number>", "how many are drawn"),
    "seed": ("seed=<number>", "of the choice of radiographs and of their augmentation"),
    "predictions": ("predictions=<folder>", "of a prediction; by default the study `ensemble`"),
    "evaluation": ("evaluation=<folder>", "what `python -m rsna_det.evaluate predictions=...` wrote"),
    "out": ("out=<folder>", "where the page and its pictures go; by default studies/<name>/report"),
    "paths": ("paths.studies=<folder>", "where studies lie"),
}


@dataclass(frozen=True, kw_only=True)
class FigureReport:
    """What a module declares whose tables and figures need no training.

    Attributes:
        name: of the module.
        title: what it shows, with the paper's table or figure.
        takes: the options of conf/figures.yaml that have an effect, besides ``out`` and ``paths``.
        parts: makes its tables and figures from the options; figures go into the folder.
        needs_data: False if the module also works without data: then ``data`` is empty unless an option sets it.
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
        ConfigError: for an option that is unknown, has no effect, is missing or of the wrong type.
    """
    keys = {text: override_key(text).partition(".")[0] for text in overrides}
    takes = (*figure.takes, *_ALWAYS)
    own = [f"figure={figure.name}", *overrides]
    idle = [text for text, key in keys.items() if key not in takes]
    if idle:
        # An option that does not exist has its own message.
        compose_config("figures", own)
        raise ConfigError(
            f"{', '.join(idle)} would have no effect on {figure.name}, which takes {', '.join(takes)}: leave it out"
        )
    if "data" not in figure.takes or not (figure.needs_data or "data" in keys.values()):
        own.append("~data")
    return check_config(compose_config("figures", own), FigureOptions)


def _help(figure: FigureReport) -> Help:
    options = dict(_OPTIONS[name] for name in (*figure.takes, *_ALWAYS))
    return Help(
        what=f"Write and print a page of tables and figures. {figure.title}.",
        usage=" ".join([f"experiments.{figure.name}", *(f"[{option}]" for option in options)]),
        options=options,
        read_on="experiments/README.md has the commands of all figures, conf/README.md every option.",
        config="figures",
    )


def main(figure: FigureReport) -> None:
    """Write a module's report and print it: ``python -m experiments.<name> <options>``."""
    set_up()
    torch.set_num_threads(1)
    with errors_as_messages():
        options = figure_options(figure, command_line(_help(figure)))
        folder = options.out
        check_free(folder, command="figures")
        folder.mkdir(parents=True, exist_ok=True)
        log_errors_to(folder / f"{figure.name}.log")
        parts = figure.parts(options, folder)
        show_report(write_parts(title=figure.title, name=figure.name, parts=parts, folder=folder))
