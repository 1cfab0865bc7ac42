"""What a file is by its name and its beginning: a radiograph, a disc's table of contents, or something else."""

import codecs
import re
import stat
from pathlib import Path
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["radiograph", "contents", "hidden", "other"]

SUFFIXES = (".dcm", ".dicom", ".ima")
"""A file with one of these is to be read, whatever it begins with."""

MAGIC, MAGIC_AT = b"DICM", 128
"""DICOM's mark, and its place after the preamble."""

# A data set without preamble: the first elements of group 2 or 8, with their representation or their length.
_BARE = re.compile(rb"[\x02\x08]\0[\0-\x20]\0(?:[A-Z]{2}|[\0-\x40]\0)|\0[\x02\x08]\0[\0-\x20][A-Z]{2}", re.DOTALL)
# The table of contents of a disc: a DICOM file without an image, by name or by its class.
_CONTENTS = "dicomdir"
_CONTENTS_CLASS = re.compile(rb"1\.2\.840\.10008\.1\.3\.10(?![0-9.])")
_STORED_OBJECT = b"1.2.840.10008.5.1.4.1.1."
_BEGINNING = 1024
# What other programs' files end in; the numbers after the dots of 1.2.840.113619 are none.
_SUFFIX = re.compile(r"\.(?=[0-9]*[A-Za-z])[A-Za-z0-9]{1,8}")
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f\x7f]")


def kind_of(file: Path) -> Kind:
    """Hidden by its name; else what its suffix promises, or what it begins with.

    What cannot be opened may be a radiograph, and so may a file without suffix that is empty or holds no text: reading
    it says what is wrong.
    """
    if file.name.startswith("."):
        return "hidden"
    if file.suffix.lower() in SUFFIXES:
        return "radiograph"
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            # A folder is here because it cannot be listed. To open a pipe would wait for ever.
            return "radiograph" if file.is_dir() else "other"
        with file.open("rb") as stream:
            return _kind_by_content(file.name, stream.read(_BEGINNING))
    except OSError:
        return "radiograph"


def _kind_by_content(name: str, start: bytes) -> Kind:
    # A radiograph may be called like a table of contents: what it says of itself counts.
    named = name.casefold() == _CONTENTS and _STORED_OBJECT not in start
    marked = start.startswith(MAGIC, MAGIC_AT)
    if named or (marked and _CONTENTS_CLASS.search(start)):
        return "contents"
    if marked or _BARE.match(start):
        return "radiograph"
    return "other" if _SUFFIX.fullmatch(Path(name).suffix) or _is_text(start) else "radiograph"


def _is_text(start: bytes) -> bool:
    """Whether a file begins with text; an empty one does not."""
    if not start or _CONTROL.search(start):
        return False
    try:
        codecs.getincrementaldecoder("utf-8")().decode(start)
    except UnicodeDecodeError:
        return False
    return True
