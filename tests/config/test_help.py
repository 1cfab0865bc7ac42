"""What ``--help`` says exists, belongs to its command, and is all that a newcomer needs."""

import re
from importlib import import_module

import pytest
from omegaconf import OmegaConf

from experiments.report import study_reports
from experiments.reporting.command import FigureReport
from experiments.reporting.command import _help as help_of_figure
from experiments.reporting.report import _help as help_of_study
from rsna_det import cli
from rsna_det.config.compose import CONF, compose_config, override_key
from rsna_det.config.console import set_up
from rsna_det.config.help import Help, choices, help_text
from rsna_det.config.roles import flat_options

MODULES = {name: f"rsna_det.{name}" for name in cli.COMMANDS}
MODULES |= {name: f"rsna_det.{name}.__main__" for name in ("evaluate", "predict", "studies")}
FIGURES = ("samples", "augmented_examples", "edge_third_rotation", "ensemble_diagram", "challenge")

HELPS: dict[str, Help] = {name: import_module(module).HELP for name, module in MODULES.items()}
HELPS["experiments.report"] = import_module("experiments.report").HELP
OF_FIGURES: dict[str, FigureReport] = {name: import_module(f"experiments.{name}").FIGURE for name in FIGURES}
HELPS |= {f"experiments.{name}": help_of_figure(figure) for name, figure in OF_FIGURES.items()}
HELPS |= {f"experiments.{name}": help_of_study(report) for name, report in study_reports().items()}


def options_of(own: Help) -> set[str]:
    set_up()
    assert own.config is not None
    return {key for key, _ in flat_options(OmegaConf.to_container(compose_config(own.config, []), resolve=False))}


def groups_of(config: str) -> set[str]:
    """The groups that a configuration is composed of, beside Hydra's own and those without a choice."""
    defaults = OmegaConf.to_container(OmegaConf.load(CONF / f"{config}.yaml"))["defaults"]  # type: ignore[index, call-overload]
    names = {str(key).removeprefix("optional ") for entry in defaults if isinstance(entry, dict) for key in entry}
    return {name for name in names if not name.startswith("override") and len(choices(name)) > 1}


@pytest.mark.parametrize("name", HELPS)
def test_every_option_that_help_names_exists(name: str) -> None:
    own = HELPS[name]
    named = {option.partition("=")[0] for option in own.options}
    assert named <= options_of(own)
    assert all("=" in option for option in own.options)


@pytest.mark.parametrize("name", ["train", "prepare", "evaluate", "predict"])
def test_a_command_lists_the_groups_that_belong_to_it_and_no_others(name: str) -> None:
    own = HELPS[name]
    assert own.config == name
    assert set(own.groups) == groups_of(name)
    text = help_text(own)
    for group in own.groups:
        assert set(choices(group)) <= set(re.findall(r"\w+", text))


@pytest.mark.parametrize("name", ["evaluate", "predict"])
def test_what_trains_nothing_names_no_group_of_training(name: str) -> None:
    text = help_text(HELPS[name])
    for group in groups_of("train"):
        assert not re.search(rf"\b{group}=|^\s*{group}\s", text, re.MULTILINE), group


@pytest.mark.parametrize("name", HELPS)
def test_the_examples_are_composed_as_written(name: str) -> None:
    """Every option of an example exists, and every choice."""
    set_up()
    own = HELPS[name]
    for line in own.examples:
        # A folder that a reader is to name stands for one of that name.
        module, *words = re.sub("[<>']", "", line.removeprefix("python -m ")).split()
        assert module == own.usage.split()[0]
        overrides = [word.removeprefix("+") for word in words if "=" in word]
        single = [re.sub(r"=([^\[,]*),.*", r"=\1", text) for text in overrides]
        config = compose_config(own.config or "train", single)
        assert {override_key(text) for text in single if "." in text} <= {
            key for key, _ in flat_options(OmegaConf.to_container(config, resolve=False))
        }


@pytest.mark.parametrize("name", HELPS)
def test_help_is_one_screen_wide_and_says_what_the_command_does(name: str) -> None:
    text = help_text(HELPS[name])
    first, _, rest = text.partition("\n\n")
    assert len(first) > 40
    assert rest.startswith(f"usage: python -m {HELPS[name].usage}")
    assert "Hydra" not in text
    for line in text.splitlines():
        assert len(line) <= 120 or line.startswith(("usage:", "  python -m"))


def test_values_stand_behind_the_options_that_have_one() -> None:
    text = help_text(HELPS["train"])
    assert re.search(r"data\.root=<folder> .*\[needed\]$", text, re.MULTILINE)
    assert re.search(r"data\.image_size=<pixels> .*\[512\]$", text, re.MULTILINE)
    assert re.search(r"resume=<folder> .*`last`$", text, re.MULTILINE)
    assert re.search(r"^  encoder .*\[se_resnext101\]$", text, re.MULTILINE)
    assert re.search(r"save_operating_point=false .*\[true\]$", help_text(HELPS["evaluate"]), re.MULTILINE)
