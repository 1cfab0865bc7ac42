"""The console script: ``rsna-det train ...`` is ``python -m rsna_det.train ...``.

Imports nothing heavy, so that the list of commands is there at once.
"""

import difflib
import runpy
import sys
from importlib import metadata

from rsna_det.files.streams import end_quietly_when_unread

COMMANDS = {
    "prepare": "check labels, decode radiographs into a cache, report on the folds",
    "train": "train a detector, resume a run, or train what is missing of a study",
    "evaluate": "score runs or predictions: mAP with its interval, COCO, FROC, calibration",
    "predict": "boxes for DICOM radiographs, from one checkpoint or an ensemble",
    "studies": "list the runs of a study and where they stand",
    "dashboard": "a Weights & Biases workspace that compares a study's variants",
}
"""Every command with one line on what it does."""


def main() -> None:
    """Run the command that the first argument names."""
    given = sys.argv[1:] or ["--help"]
    end_quietly_when_unread(given)
    name, *arguments = given
    if name in ("-h", "--help"):
        sys.stdout.write(overview())
    elif name == "--version":
        sys.stdout.write(f"rsna-det {metadata.version('rsna-det')}\n")
    elif name in COMMANDS:
        sys.argv = [sys.argv[0], *arguments]
        # As `python -m` does: Lightning and multiprocessing start further processes by the name of the main module.
        runpy.run_module(f"rsna_det.{name}", run_name="__main__", alter_sys=True)
    else:
        sys.exit(f"error: there is no command {name}{_closest(name)}; `rsna-det --help` lists all")


def overview() -> str:
    """What ``rsna-det --help`` says."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {what}" for name, what in COMMANDS.items()]
    return "\n".join(
        [
            "Pneumonia detection in chest radiographs. For research only, not for clinical use.",
            "",
            "usage: rsna-det <command> [option=value ...]",
            "",
            *lines,
            "",
            "`rsna-det <command> --help` lists a command's options.",
            "",
        ]
    )


def _closest(name: str) -> str:
    close = difflib.get_close_matches(name, COMMANDS, n=1)
    return f"; did you mean {close[0]}?" if close else ""


if __name__ == "__main__":
    main()
