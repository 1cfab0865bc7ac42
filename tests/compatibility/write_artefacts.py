"""Write what users of commit 7ceb7a4 have on their disks, with that commit's own commands and in seconds.

    PYTHONPATH=<checkout of 7ceb7a4> python tests/compatibility/write_artefacts.py <folder>

Everything lies where the commands put it by default, below the folder: ``data/synthetic``, ``cache``,
``runs/finished``, ``runs/interrupted`` (killed in its second epoch), ``studies/negatives`` (one run finished, one
killed in its second epoch). Below ``out`` lie an evaluation of the finished run, a prediction with its checkpoints, the
same prediction killed after its first part, and an evaluation of the prediction.
"""

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from forked_commands import import_libraries, run_command
from old_commands import (
    COPIED_RADIOGRAPHS,
    DATA,
    EVALUATION,
    EVALUATION_OF_PREDICTION,
    KILLED_PREDICTION,
    OPTIONS,
    PREDICTION,
    RADIOGRAPHS,
    STUDY,
)


def kill_in_second_epoch(*, of_run: int = 1) -> Callable[[], None]:
    """End the process without warning as the second epoch of its nth run starts."""

    def before() -> None:
        from rsna_det.training.callbacks import EpochSeed

        seed_epoch, runs = EpochSeed.on_train_epoch_start, []

        def start(self: Any, trainer: Any, module: Any) -> None:
            runs.extend([1] if trainer.current_epoch == 1 else [])
            if len(runs) == of_run:
                os.kill(os.getpid(), signal.SIGKILL)
            seed_epoch(self, trainer, module)

        EpochSeed.on_train_epoch_start = start

    return before


def kill_after_first_part() -> None:
    """End the process without warning once a prediction has written its first part."""
    from rsna_det import inference

    write = inference.write_part

    def write_and_die(*arguments: Any, **options: Any) -> None:
        write(*arguments, **options)
        os.kill(os.getpid(), signal.SIGKILL)

    inference.write_part = write_and_die


def main(folder: Path) -> None:
    """Write all of it."""

    def command(name: str, *arguments: str, kill: Callable[[], None] | None = None) -> None:
        log = folder / "log.txt"
        status = run_command(f"rsna_det.{name}", arguments, folder=folder, log=log, before=kill)
        if status != (0 if kill is None else -signal.SIGKILL):
            sys.exit(f"{name} {' '.join(arguments)} ended with status {status}:\n{log.read_text()}")

    import_libraries()
    command("prepare", *DATA)
    command("train", *OPTIONS, "name=finished", "logger=csv")
    command("train", *OPTIONS, "name=interrupted", "logger=wandb", kill=kill_in_second_epoch())
    command("train", *STUDY, kill=kill_in_second_epoch(of_run=2))
    command("evaluate", *EVALUATION, "out=out/evaluation")
    command("predict", *PREDICTION, "out=out/prediction")
    shutil.copytree(folder / RADIOGRAPHS, folder / COPIED_RADIOGRAPHS)
    command("predict", *KILLED_PREDICTION, "out=out/killed_prediction", kill=kill_after_first_part)
    command("evaluate", *EVALUATION_OF_PREDICTION, "out=out/evaluation_of_prediction")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
