"""What a command says of itself with ``--help``: written for people, and only of what belongs to it."""

import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml
from omegaconf import OmegaConf

from rsna_det.config.compose import CONF, compose_config
from rsna_det.config.roles import flat_options

FLAGS = ("-h", "--help")

_WIDTH = 110
# Files of a group that others build on.
_NO_CHOICE = "base"
_READ_ON = "conf/README.md explains every option; `--cfg job` prints all of them with their values, and runs nothing."


@dataclass(frozen=True, kw_only=True)
class Help:
    """What ``--help`` says of a command.

    Attributes:
        what: it does, in a sentence or two.
        usage: the words after ``python -m``.
        examples: command lines, each with what it is for.
        options: the main ones, as they are written on the command line, each with one line on what it decides.
        groups: of those that the command composes, each with one line; their choices are read from conf/.
        flags: of the command line, likewise.
        config: name of the command's file in conf/, whose values are shown; None for a command without one.
        read_on: where everything is explained.
    """

    what: str
    usage: str
    examples: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    groups: Mapping[str, str] = field(default_factory=dict)
    flags: Mapping[str, str] = field(default_factory=dict)
    config: str | None = None
    read_on: str = _READ_ON


def is_asked_for(arguments: Sequence[str]) -> bool:
    """Whether a command line asks for help."""
    return any(flag in arguments for flag in FLAGS)


def show(own: Help) -> None:
    """Print a command's help."""
    sys.stdout.write(help_text(own))


def help_text(own: Help) -> str:
    """A command's help as text."""
    values, chosen = ({}, {}) if own.config is None else (_values(own.config), _chosen(own.config))
    parts = [
        textwrap.wrap(own.what, _WIDTH),
        [f"usage: python -m {own.usage}"],
        ["Examples:", *_examples(own.examples)] if own.examples else [],
        ["Main options [and their values, if you give none]:", *_options(own.options, values)] if own.options else [],
        ["Groups, option=choice [and what is chosen, if you choose none]:", *_groups(own.groups, chosen)]
        if own.groups
        else [],
        ["Flags:", *_in_columns(own.flags)] if own.flags else [],
        textwrap.wrap(own.read_on, _WIDTH),
    ]
    return "\n\n".join("\n".join(lines) for lines in parts if lines) + "\n"


def choices(group: str) -> list[str]:
    """What can be chosen of a group."""
    return sorted(path.stem for path in (CONF / group).glob("*.yaml") if path.stem != _NO_CHOICE)


def _examples(examples: Mapping[str, str]) -> Iterator[str]:
    for line, purpose in examples.items():
        yield f"  # {purpose}"
        yield f"  {line}"


def _options(options: Mapping[str, str], values: Mapping[str, Any]) -> list[str]:
    return list(
        _in_columns({text: f"{what}{_value(values, text.partition('=')[0])}" for text, what in options.items()})
    )


def _value(values: Mapping[str, Any], key: str) -> str:
    """What an option is unless it is given, in brackets; nothing if that would tell nothing."""
    value = values.get(key)
    if value == "???":
        return " [needed]"
    told = str(value).lower() if isinstance(value, bool) else str(value)
    return "" if value is None or "${" in told else f" [{told}]"


def _groups(groups: Mapping[str, str], chosen: Mapping[str, str]) -> Iterator[str]:
    width = max(map(len, groups))
    for name, what in groups.items():
        default = f" [{chosen[name]}]" if chosen.get(name) else ""
        yield f"  {name:<{width}}  {what}{default}"
        indent = " " * (width + 4)
        yield from textwrap.wrap(", ".join(choices(name)), _WIDTH, initial_indent=indent, subsequent_indent=indent)


def _in_columns(rows: Mapping[str, str]) -> Iterator[str]:
    width = max(map(len, rows))
    for name, what in rows.items():
        indent = " " * (width + 4)
        yield from textwrap.wrap(f"  {name:<{width}}  {what}", _WIDTH, subsequent_indent=indent)


def _values(config: str) -> dict[str, Any]:
    """Every option of a command's configuration, by its dotted key."""
    plain: Any = OmegaConf.to_container(compose_config(config, []), resolve=False)
    return dict(flat_options(plain))


def _chosen(config: str) -> dict[str, str]:
    """The choice of each group that a command's configuration makes by itself."""
    defaults = yaml.safe_load((CONF / f"{config}.yaml").read_text(encoding="utf-8"))["defaults"]
    entries = [entry for entry in defaults if isinstance(entry, dict)]
    return {str(key).removeprefix("optional "): value for entry in entries for key, value in entry.items()}
