"""One way to start a command: compose its options, check them and take its folder, each once."""

import logging
import os
import shlex
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Generic, TypeVar

import hydra
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import configure_log
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from rsna_det.config.check import check_config
from rsna_det.config.compose import CONF, composing
from rsna_det.config.console import errors_as_messages, set_up
from rsna_det.config.help import Help, is_asked_for, show
from rsna_det.config.outputs import RECORD, check_free, write_record
from rsna_det.errors import ConfigError, StorageError
from rsna_det.files.locks import in_use
from rsna_det.files.removal import clear_partial

Options = TypeVar("Options")

log = logging.getLogger(__name__)

# Bytes of configuration and log, more or less, that are written when a command starts.
_FIRST_WRITES = 2**16


@dataclass(frozen=True, kw_only=True)
class Command(Generic[Options]):
    """A command that writes into one folder.

    Attributes:
        name: of its file in conf/, and of its log.
        options: dataclass of :mod:`rsna_det.config.options`.
        work: does it; the exit status is what it returns.
        folder: that it writes into.
        check: refuses options that do not go together, and a folder that must not be written to, before anything is
            written.
        help: what ``--help`` says.
        knows_its_own: whether the work itself tells apart what earlier starts of the command left in the folder.
    """

    name: str
    options: type[Options]
    work: Callable[[Options], int]
    folder: Callable[[Options], Path]
    check: Callable[[Options], None]
    help: Help | None = None
    knows_its_own: bool = False

    def main(self) -> None:
        """Do what the command line says."""
        set_up()
        arguments = sys.argv[1:]
        if self.help is not None and is_asked_for(arguments):
            show(self.help)
            return
        if any(argument.startswith("-") for argument in arguments):
            # Hydra's own flags: --cfg, --multirun.
            hydra.main(config_path=str(CONF), config_name=self.name, version_base="1.3")(self._work_in_hydra)()
            return
        folder: list[Path] = []
        with errors_as_messages(lambda: self._how_to_go_on(arguments, folder)):
            status = self._start(arguments, folder)
        if status:
            sys.exit(status)

    def _start(self, arguments: Sequence[str], started: list[Path]) -> int:
        config = self._composed(arguments)
        options = self._checked(config, self._run_dir(config))
        folder = self.folder(options)
        check_writable(folder)
        self.check(options)
        self._check_free(folder, config)
        with in_use(folder):
            # Another process may have written into it since.
            self._check_free(folder, config)
            # What the work may still refuse to replace keeps its own record until the work is done.
            kept = (folder / RECORD).is_dir() and self.knows_its_own and not config.get("overwrite")
            started.append(folder)
            clear_partial(folder)
            with open_dict(config):
                # The log's file refers to it.
                config.hydra.runtime.output_dir = str(folder)
            if not kept:
                _record(config, arguments, folder)
            configure_log(config.hydra.job_logging, config.hydra.verbose)
            status = self.work(options)
            if kept:
                _record(config, arguments, folder)
            return status

    def _check_free(self, folder: Path, config: DictConfig) -> None:
        check_free(folder, command=self.name, config=None if self.knows_its_own else config)

    def _how_to_go_on(self, arguments: Sequence[str], started: Sequence[Path]) -> str:
        """The same command, in the same folder where the command line does not name it."""
        if not started:
            return "nothing was begun; start the same command again"
        key = "out" if any(field.name == "out" for field in fields(self.options)) else "hydra.run.dir"  # type: ignore[arg-type]
        own = [argument for argument in arguments if not argument.startswith(f"{key}=")]
        words = shlex.join([*own, f"{key}={started[0]}"])
        return f"`python -m rsna_det.{self.name} {words}` goes on"

    def _work_in_hydra(self, config: DictConfig) -> None:
        with errors_as_messages():
            options = self._checked(config, Path(HydraConfig.get().runtime.output_dir))
            self.check(options)
            if self.folder(options) != Path(HydraConfig.get().runtime.output_dir):
                self._check_free(self.folder(options), config)
            with in_use(self.folder(options)):
                status = self.work(options)
        if status:
            sys.exit(status)

    def _composed(self, arguments: Sequence[str]) -> DictConfig:
        initialized = initialize_config_dir(str(CONF), job_name=self.name, version_base="1.3")
        with initialized, composing(self.name, arguments):
            return compose(self.name, overrides=list(arguments), return_hydra_config=True)

    def _run_dir(self, config: DictConfig) -> Path:
        """Hydra's folder; where an option that it is made from is wrong, the check names that option."""
        try:
            return Path(config.hydra.run.dir)
        except OmegaConfBaseException as error:
            self._checked(config, Path())
            raise ConfigError(str(error).splitlines()[0]) from error

    def _checked(self, config: DictConfig, folder: Path) -> Options:
        # `in` alone is false of a key whose value is still missing.
        if "run_dir" in list(config):
            config.run_dir = str(folder)
        return check_config(config, self.options)


def check_writable(folder: Path) -> None:
    """Try whether something can be written into a folder, or into the folder that it would be made in.

    Raises:
        StorageError: if not (a full disk, permissions, a file of that name); naming the folder and the remedy.
    """
    there = folder
    try:
        there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(bytes(_FIRST_WRITES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        reason = error.strerror or error
        raise StorageError(
            f"{folder} cannot be written into ({there}: {reason}): free some space, check the permissions, or choose "
            "another folder"
        ) from error


def _record(config: DictConfig, arguments: Sequence[str], folder: Path) -> None:
    """Write the configuration as Hydra does."""
    own = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    if config.hydra.output_subdir is not None:
        write_record(folder, own, hydra=OmegaConf.masked_copy(config, ["hydra"]), overrides=arguments)
