"""Today's commands, cheaply: one process imports the libraries, and each command is a fork of it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FORKED_COMMANDS = Path(__file__).with_name("forked_commands.py")


@dataclass(frozen=True, kw_only=True)
class Done:
    """A command's exit status, and all that it printed."""

    status: int
    output: str


class Commands:
    """Runs ``python -m <module> <arguments>`` in a folder, of this checkout or another."""

    def __init__(self, logs: Path) -> None:
        self.logs, self.count = logs, 0
        outer = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB", "PYTHONPATH"))}
        self.errors = (logs / "server.txt").open("w+")
        self.server = subprocess.Popen(
            [sys.executable, FORKED_COMMANDS],
            env=outer | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )

    def __call__(self, module: str, *arguments: str, folder: Path, checkout: Path = ROOT) -> Done:
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        self.count += 1
        log = self.logs / f"{self.count}.txt"
        places = {"checkout": str(checkout), "folder": str(folder), "log": str(log)}
        task = {"module": module, "arguments": arguments, **places}
        self.server.stdin.write(json.dumps(task) + "\n")
        self.server.stdin.flush()
        status = self.server.stdout.readline()
        assert status, (self.logs / "server.txt").read_text()
        return Done(status=int(status), output=log.read_text())

    def close(self) -> None:
        self.server.communicate()
        self.errors.close()


@pytest.fixture(scope="session")
def today(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    commands = Commands(tmp_path_factory.mktemp("commands"))
    yield commands
    commands.close()
