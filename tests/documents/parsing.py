"""Documents -> fenced blocks -> commands and snippets."""

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tests.short_runs import CHECKOUT

DOCUMENTS = ("README.md", "conf/README.md", "experiments/README.md", "rsna_det/README.md", ".github/CONTRIBUTING.md")

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PLACEHOLDER = re.compile(r"<[a-z ]+>")


@dataclass(frozen=True, kw_only=True)
class Block:
    """One fenced block.

    Attributes:
        language: as the fence names it; empty for a diagram.
        text: between the fences.
    """

    language: str
    text: str


def text_of(document: str) -> str:
    return (CHECKOUT / document).read_text(encoding="utf-8")


def blocks(document: str) -> list[Block]:
    return [Block(language=found[1], text=found[2]) for found in _FENCE.finditer(text_of(document))]


def snippets(document: str) -> list[str]:
    """The Python blocks."""
    return [block.text for block in blocks(document) if block.language == "python"]


def commands(document: str) -> list[str]:
    """The shell's commands, each on one line, without comments; placeholders stay."""
    return [line for block in blocks(document) if block.language == "sh" for line in command_lines(block.text)]


def command_lines(text: str) -> Iterator[str]:
    """Commands of several lines joined, comments cut off."""
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        # A # inside of quotes would be cut off too; no command has one.
        command = re.sub(r"(^|\s)#.*", "", line).strip()
        if command:
            yield command


def words_of(command: str, places: Mapping[str, str]) -> list[str]:
    """A command's words, with a value for each placeholder; a placeholder that has none is an error."""

    def value(found: re.Match[str]) -> str:
        assert found[0] in places, f"{command}: {found[0]} has no value in tests/documents/running.py"
        return places[found[0]]

    return shlex.split(_PLACEHOLDER.sub(value, command))
