"""Train a detector: ``python -m rsna_det.train experiment=heavy_aug_norot data.root=<challenge folder>``."""

import logging
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from rsna_det.config.check import check_config
from rsna_det.config.command import check_writable
from rsna_det.config.compose import CONF, asked_for, with_home
from rsna_det.config.console import errors_as_messages, is_first_process, log_errors_to, set_up, starts_the_work
from rsna_det.config.folder_names import check_names
from rsna_det.config.help import Help, is_asked_for, show
from rsna_det.config.interrupts import Terminated, sigterm_raised
from rsna_det.config.options import TrainOptions
from rsna_det.config.outputs import STUDY, check_free
from rsna_det.errors import ConfigError
from rsna_det.files.locks import in_use

log = logging.getLogger(__name__)

DRY_RUN = "--dry-run"
"""List a study's runs and where they stand, and train none."""
_NOTHING_BEGUN = "nothing was begun; start the same command again"
_SWEEP = ("-m", "--multirun")
_FLAGS = (*_SWEEP, DRY_RUN)

HELP = Help(
    what="Train a detector on one fold of labelled radiographs, resume a run, or train what is missing of a study.",
    usage="rsna_det.train data.root=<challenge folder> [option=value ...]",
    examples={
        "python -m rsna_det.train data=synthetic trainer=cpu encoder=efficientnet_lite0": "try it without data or GPU",
        "python -m rsna_det.train experiment=heavy_aug_norot data.root=<folder> data.fold=1": "the paper's model",
        "python -m rsna_det.train encoder=resnet34 model.dropout_global=0.5 data.root=<folder>": "parts exchanged",
        "python -m rsna_det.train resume=last": "go on with the run that was interrupted last",
        "python -m rsna_det.train -m data.fold=0,1,2,3 data.root=<folder>": "four runs, one after the other",
        "python -m rsna_det.train -m +sweep=augmentations data.root=<folder>": "a study: every variant on every fold",
    },
    options={
        "data.root=<folder>": "the challenge's folder: images and two tables of labels",
        "data.patients_csv=<file>": "map from image to true patient; without it one person may be in several folds",
        "data.image_size=<pixels>": "side of the network's square images",
        "data.fold=<number>": "the fold that validates; the others train",
        "data.batch_size=<number>": "images in a step, on each device",
        "trainer.max_epochs=<number>": "how often every training image is shown",
        "seed=<number>": "of every random draw",
        "name=<name>": "the run's folder is runs/<name>/<date_time>_<id>",
        "resume=<folder>": "of an interrupted run, or `last`",
        "score_untrained=true": "score the detector before training, too, for comparison",
    },
    groups={
        "experiment": "one of the paper's models; decides the augmentation",
        "data": "where images come from; `synthetic` draws some",
        "augmentation": "how training images are changed at random; decided by the experiment",
        "encoder": "the backbone; `timm` takes any of timm's by `encoder.name`",
        "initialisation": "of the encoder, in place of its own",
        "model": "pyramid and heads",
        "optimizer": "with the schedule of the learning rate; `short` is for small data",
        "trainer": "where it is trained",
        "logger": "Weights & Biases (offline unless `logger.wandb.mode=online`) and CSV, or CSV alone",
        "callbacks": "which checkpoints are kept; `ema` averages the weights",
        "debug": "a few batches, or a few images, to see whether all works",
        "sweep": "a study; with -m and a plus: `-m +sweep=<study>`",
    },
    flags={
        "-m, --multirun": "one run for each combination of values: seed=0,1,2",
        DRY_RUN: "with a study: list its runs and where they stand, and train none",
        "--cfg job": "print the configuration that the options make, and train nothing",
    },
    config="train",
)


def main() -> None:
    """Start a run, a sweep (``-m``), or resume a run (``resume=last``)."""
    set_up()
    if is_asked_for(sys.argv[1:]):
        show(HELP)
        return
    # Hydra wants no plus for a group in the defaults list; people write it, as for any other group.
    sys.argv = [
        with_home(argument.replace("+sweep=", "sweep=") if argument.startswith("+") else argument)
        for argument in sys.argv
    ]
    arguments = sys.argv[1:]
    if asked_for(arguments, "sweep"):
        _start_study(arguments)
        return
    with errors_as_messages(lambda: _NOTHING_BEGUN):
        if asked_for(arguments, "resume"):
            _resume(arguments)
            return
        if DRY_RUN in arguments:
            raise ConfigError(f"{DRY_RUN} lists the runs of a study: name one with +sweep=<study>")
        if starts_the_work():
            _check_command_line(arguments)
    if not is_first_process():
        # Only the first process writes into the run's folder.
        sys.argv += [f"hydra.run.dir={tempfile.mkdtemp()}"]
    with errors_as_messages(lambda: "resume each run that has a checkpoint with `resume=<run folder>`"):
        _start()


def _check_command_line(arguments: Sequence[str]) -> None:
    """Hydra's flags other than that of a sweep (--cfg, --info) are Hydra's to answer."""
    from rsna_det.runs.taking import check_command_line

    overrides = [argument for argument in arguments if not argument.startswith("-")]
    sweep = [argument for argument in arguments if argument in _SWEEP]
    if len(overrides) + len(sweep) == len(arguments):
        check_command_line(overrides, sweep=bool(sweep))


def _start_study(arguments: Sequence[str]) -> None:
    """Train the runs of a study that are not finished, and list at the end those that failed."""
    from rsna_det.studies.launchers import check_launcher
    from rsna_det.studies.listing import show
    from rsna_det.studies.plan import plan_study, record_launch

    overrides = [argument for argument in arguments if not argument.startswith("-")]
    with errors_as_messages(lambda: _NOTHING_BEGUN):
        _check_flags(arguments)
        if asked_for(overrides, "resume"):
            raise ConfigError("a study is resumed by the command that started it: leave resume= out")
        study = plan_study(overrides)
        check_launcher(overrides)
        if DRY_RUN in arguments:
            show(study)
            return
        check_writable(study.folder)
        check_free(study.folder, command=STUDY)
        study.folder.mkdir(parents=True, exist_ok=True)
        log_errors_to(study.folder / "studies.log")
        # Damaged results are refused before anything is trained.
        for run in study.runs:
            run.state  # noqa: B018
        record_launch(study)
    interrupted = _train_runs_of_study()
    with errors_as_messages(lambda: "the same command goes on with the runs that are not finished"):
        counts = show(study, only=("failed", "interrupted", "missing", "running"))
        if interrupted is not None:
            raise interrupted
    if counts["finished"] + counts["running"] < len(study.runs):
        sys.exit("error: not all runs are finished; the same command tries the rest again")


def _train_runs_of_study() -> KeyboardInterrupt | Terminated | None:
    """Work on them; returns what interrupted it."""
    try:
        # Jobs on a cluster continue when this process is interrupted.
        with sigterm_raised():
            _start()
    except (KeyboardInterrupt, Terminated) as interrupted:
        return interrupted
    except SystemExit:
        # Hydra exits when a run fails: the list has it.
        return None
    return None


def _check_flags(arguments: Sequence[str]) -> None:
    unknown = [word for word in arguments if word.startswith("-") and word not in _FLAGS]
    if unknown:
        raise ConfigError(f"{', '.join(unknown)} is not a flag of a study, which takes {', '.join(_FLAGS)}")


@hydra.main(config_path=str(CONF), config_name="train", version_base="1.3")
def _start(config: DictConfig) -> None:
    config.run_dir = HydraConfig.get().runtime.output_dir
    if config.study is not None:
        from rsna_det.studies.worker import work_on

        # A launcher's jobs may be processes of their own.
        set_up()
        work_on(config, overrides=HydraConfig.get().overrides.task, train=_train_run_of_study)
        return
    if is_sweep():
        # Hydra reports a failed run after the others; ending the process here would end them too.
        _start_run(config)
        return
    with errors_as_messages(lambda: _how_to_resume(Path(config.run_dir))):
        _start_run(config)


def _how_to_resume(folder: Path) -> str:
    from rsna_det.runs.folder import RunFolder
    from rsna_det.runs.interruption import how_to_resume

    return how_to_resume(RunFolder(folder))


def _start_run(config: DictConfig) -> None:
    """Train in a folder of its own; a job that Slurm started again resumes."""
    # Each run of a sweep is composed here only.
    check_names(config)
    options = check_config(config, TrainOptions)
    # Only now, since it takes seconds: a slip on the command line is answered at once.
    from rsna_det.runs.folder import RunFolder
    from rsna_det.runs.session import run
    from rsna_det.runs.taking import check_run_folder

    folder = RunFolder(options.run_dir)
    checkpoint = None
    with _held(folder.path):
        if _is_of_the_first_process():
            checkpoint = check_run_folder(folder.path, config)
            folder.save_config(config, list(HydraConfig.get().overrides.task), hydra=_hydra_part())
        run(options, checkpoint=checkpoint, sweep=is_sweep())


def _hydra_part() -> DictConfig:
    """Hydra's own configuration of this job, as the key ``hydra``."""
    part: Any = HydraConfig.instance().cfg
    return DictConfig(part)


def is_sweep() -> bool:
    """Whether this process works on one run of a Hydra sweep."""
    return HydraConfig.initialized() and HydraConfig.get().mode is hydra.types.RunMode.MULTIRUN


def _train_run_of_study(options: TrainOptions, checkpoint: Path | None) -> None:
    from rsna_det.runs.session import run

    run(options, checkpoint=checkpoint, sweep=True)


def _resume(arguments: Sequence[str]) -> None:
    from rsna_det.runs.folder import RunFolder
    from rsna_det.runs.interruption import how_to_resume
    from rsna_det.runs.resume import saved_run
    from rsna_det.runs.session import run

    options = saved_run(arguments)
    folder = RunFolder(options.run_dir)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger().addHandler(logging.FileHandler(folder.log_file))
    result = folder.result()
    if result is not None and result.ends(epochs=options.trainer["max_epochs"], limits=options.trainer):
        why = f" ({result.stopped.reason})" if result.stopped is not None else ""
        log.info("%s is finished: nothing to do%s", folder, why)
        return
    with errors_as_messages(lambda: how_to_resume(folder)), _held(options.run_dir):
        run(options, checkpoint=folder.last_checkpoint)


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Keep other processes from resuming a run while this one works on it; those of the run itself come along."""
    from rsna_det.runs.folder import RunFolder

    if not _is_of_the_first_process():
        yield
        return
    with in_use(folder, name=RunFolder(folder).lock.name, remedy="wait for it to end, or stop it"):
        yield


def _is_of_the_first_process() -> bool:
    """Whether this process writes the run's files."""
    from lightning_utilities.core.rank_zero import rank_zero_only

    return not getattr(rank_zero_only, "rank", 0)


if __name__ == "__main__":
    # By the name under which a launcher's processes find it.
    from rsna_det import train  # noqa: PLW0406

    train.main()
