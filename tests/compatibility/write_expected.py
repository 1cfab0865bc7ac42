"""Write ``data/``: what commit 7ceb7a4 says of runs that need not be trained, and the record of one that was.

    PYTHONPATH=<checkout of 7ceb7a4> python tests/compatibility/write_expected.py

``data/planned.json`` has the hashes of the runs that the commands in :data:`old_commands.PLANNED` would train,
``data/studies`` the text files of a study with one finished run.
"""

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

from forked_commands import import_libraries, run_command
from old_commands import PLANNED, RECORDED, hashes_in, write_labels

DATA = Path(__file__).with_name("data")
PLANNED_HASHES = DATA / "planned.json"


def _run(folder: Path, *arguments: str) -> str:
    log = folder / "log.txt"
    log.unlink(missing_ok=True)
    status = run_command("rsna_det.train", ["-m", *arguments], folder=folder, log=log)
    if status:
        sys.exit(f"{' '.join(arguments)} ended with status {status}:\n{log.read_text()}")
    return log.read_text()


def _write_record(study: Path) -> None:
    """The text files of a study, without the names of the machine and its user's folders."""
    recorded = DATA / "studies" / study.name
    shutil.rmtree(recorded, ignore_errors=True)
    (run,) = study.glob("*/result.json")
    for path in (run, run.with_name("cell.yaml"), run.parent / ".hydra" / "config.yaml"):
        copy = recorded / path.relative_to(study)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    (launch,) = (study / "launches").iterdir()
    record = json.loads(launch.read_text()) | {"host": "somewhere", "pid": 1}
    (recorded / "launches").mkdir()
    (recorded / "launches" / launch.name).write_text(json.dumps(record, indent=1) + "\n")


def main() -> None:
    """Plan every study, and train the one that is recorded."""
    import_libraries()
    os.environ["COLUMNS"] = "200"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_labels(folder)
        hashes = {what: hashes_in(_run(folder, *planned, "--dry-run")) for what, planned in PLANNED.items()}
        PLANNED_HASHES.write_text(json.dumps(hashes, indent=1) + "\n")
        _run(folder, *RECORDED)
        _write_record(folder / "studies" / "negatives")


if __name__ == "__main__":
    main()
