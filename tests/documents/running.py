"""How a document's command is tried: as it is written it must compose, and with small settings it must run."""

import logging
import os
import re
import runpy
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hydra.core.hydra_config import HydraConfig

from benchmarks import __main__ as benchmarks_command
from benchmarks import profile
from rsna_det.config.check import check_config
from rsna_det.config.compose import compose_config, override_key
from rsna_det.config.options import EvaluateOptions, PredictOptions, PrepareOptions, TrainOptions
from tests.short_runs import short_run

DATA = Path("data/synthetic")
PLACES = {
    "<folder>": str(DATA),
    "<map>": str(DATA / "patients.csv"),
    "<radiographs>": str(DATA / "stage_2_train_images"),
    "<prediction>": "prediction",
    "<evaluation>": "evaluation",
    "<experiment>": "heavy_aug_norot",
    "<run>": "fold_0",
    "<run folder>": "runs/heavy_aug_norot/fold_0",
    "<first machine>": "localhost",
}
"""What stands for the placeholders, in the working directory of a test."""

OPTIONS: Mapping[str, Any] = {
    "rsna_det.train": TrainOptions,
    "rsna_det.prepare": PrepareOptions,
    "rsna_det.evaluate": EvaluateOptions,
    "rsna_det.predict": PredictOptions,
}
"""The commands whose options are composed as they are written, and the type of each."""

SMALL: Mapping[str, Sequence[str]] = {
    "rsna_det.train": [*short_run(DATA), "paths.runs=runs"],
    "rsna_det.prepare": ["data.image_size=64", "workers=1"],
    "rsna_det.evaluate": ["resamples=50"],
    "rsna_det.predict": ["pictures=1", "workers=1"],
    # The studies here log no W&B, and a test saves nothing on a server.
    "rsna_det.dashboard": ["logger=wandb", "logger.wandb.mode=offline"],
    "experiments.samples": ["data.image_size=64"],
    "experiments.augmented_examples": ["data.image_size=64"],
}
"""Small settings by module: they take the place of the command's own, or are added."""

SMALL_STUDIES: Mapping[str, Sequence[str]] = {
    "augmentations": ["experiment=no_aug,light_aug"],
    "p2": ["seed=0", "data.fold=0"],
}
SMALL_SWEEP = ["data.fold=0,1"]

WHERE: Mapping[str, Mapping[str, Sequence[str]]] = {
    # Apart from the runs that the evaluation is to join.
    "conf/README.md": {"rsna_det.train": ["paths.runs=tried"]},
    # No study was started there.
    "rsna_det/README.md": {"rsna_det.dashboard": [*SMALL["rsna_det.dashboard"], "data.root=somewhere", "data.fold=0"]},
}
"""Settings by document and module, likewise."""

NOT_RUN: Mapping[str, str] = {
    "make demo": "5 minutes: its commands are composed",
    "make setup": "needs a network",
    "make test": "these tests",
    "make fuzz": "takes an hour",
    "make bench": "half an hour; tests/benchmarks runs its parts",
    "make lint": "has its own place beside the tests",
    ". .venv/bin/activate": "the shell's",
    "pre-commit install": "changes the checkout",
    "python -m pytest": "these tests",
    "python -m benchmarks": "half an hour: its arguments are parsed, tests/benchmarks runs it",
    "python -m benchmarks.profile": "one process an encoder: its arguments are parsed, tests/benchmarks runs it",
    "srun": "needs Slurm: its command is composed",
    "torchrun": "needs two machines: its command is composed",
    "hydra/launcher=ray": "needs its plugin and GPUs: composed; tests/studies runs it",
    "hydra/launcher=slurm": "needs its plugin and Slurm: composed; tests/studies runs it",
}
"""Commands that are not run, by how they begin or by an option, and why."""


def reason_not_to_run(command: str) -> str | None:
    """The entry of :data:`NOT_RUN` that holds for a command."""
    starts = [name for name in NOT_RUN if command == name or command.startswith(f"{name} ")]
    return next(iter([*starts, *(name for name in NOT_RUN if "=" in name and name in command.split())]), None)


def module_and_arguments(words: Sequence[str]) -> tuple[str, list[str]]:
    """The module that a command starts, possibly through another program, and what it is given."""
    if words[0] == "rsna-det":
        return f"rsna_det.{words[1]}", list(words[2:])
    assert "-m" in words, f"{' '.join(words)}: neither a module, nor listed in tests/documents/running.py"
    place = words.index("-m")
    return words[place + 1], list(words[place + 2 :])


def check_as_written(module: str, arguments: Sequence[str]) -> None:
    """Compose and check a command's options as the document has them; of several values the first."""
    if module == "benchmarks.profile":
        profile._parse(arguments)
    if module == "benchmarks":
        benchmarks_command._parse(arguments)
    if module not in OPTIONS:
        return
    overrides = [word.removeprefix("+") for word in arguments if "=" in word]
    if "-m" in arguments:
        overrides = [re.sub(r"=([^\[,]*),.*", r"=\1", override) for override in overrides]
    if module in ("rsna_det.train", "rsna_det.prepare") and not any("data" in override for override in overrides):
        overrides.append("data.root=somewhere")
    config = compose_config(module.rpartition(".")[2], overrides)
    if "run_dir" in list(config):
        config.run_dir = "run"
    check_config(config, OPTIONS[module])


def with_small_settings(document: str, module: str, arguments: Sequence[str]) -> list[str]:
    """A command's arguments with small settings in place of its own."""
    small = [*WHERE.get(document, {}).get(module, SMALL.get(module, []))]
    if module == "rsna_det.train":
        if any(word.startswith(("resume=", "--help", "--cfg")) for word in arguments):
            return list(arguments)
        small = [*SMALL[module], *WHERE.get(document, {}).get(module, [])]
    if "-m" in arguments:
        study = next((word.partition("=")[2] for word in arguments if word.startswith("+sweep=")), "")
        small += ["data.num_folds=2", *(SMALL_STUDIES.get(study, []) if study else SMALL_SWEEP)]
    keys = {override_key(override) for override in small}
    kept = [word for word in arguments if not _replaced(word, keys)]
    last = {override_key(override): override for override in small}
    return [*kept, *last.values()]


def _replaced(word: str, keys: set[str]) -> bool:
    """Whether a word sets one of the options, or one of a group that is chosen anew."""
    key = override_key(word) if "=" in word else ""
    return key in keys or key.partition(".")[0] in keys


def run_module(module: str, arguments: Sequence[str]) -> None:
    """Run a module in this process as ``python -m`` would: another would spend 10 s on imports."""
    with own_process():
        sys.argv = [module, *arguments]
        try:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        except SystemExit as ended:
            if ended.code:
                pytest.fail(f"python -m {module} {' '.join(arguments)}: {ended.code}")


@contextmanager
def own_process() -> Iterator[None]:
    """Put back what a command changes in its process and a test must not leave behind."""
    root, argv, environment = logging.getLogger(), sys.argv, dict(os.environ)
    handlers, level = list(root.handlers), root.level
    try:
        yield
    finally:
        for handler in root.handlers:
            if handler not in handlers:
                handler.close()
        root.handlers[:], sys.argv = handlers, argv
        root.setLevel(level)
        os.environ.clear()
        os.environ.update(environment)
        HydraConfig.instance().cfg = None
