"""File names and other texts of strangers as text that can be written anywhere."""

from pathlib import Path


def shown(path: Path | str) -> str:
    r"""A path for messages and tables: bytes that are not UTF-8, and characters that do not print, as ``\x..``.

    >>> shown("run\udcff/a\n.dcm")
    'run\\udcff/a\\n.dcm'
    """
    text = str(path)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def on_one_line(text: object) -> str:
    """A text with single spaces in place of line breaks and of all that does not print."""
    return " ".join("".join(mark if mark.isprintable() else " " for mark in str(text)).split())
