"""The console script: quick, complete, and the same as ``python -m``."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

import rsna_det
from rsna_det import cli
from rsna_det.config import console

PACKAGE = Path(rsna_det.__file__).parent
HEAVY = ("torch", "numpy", "pandas", "hydra", "pytorch_lightning", "timm", "wandb")
SECONDS = 1.0

# Other tests in this process may have imported the module that is started here.
pytestmark = pytest.mark.filterwarnings("ignore:.*found in sys.modules.*:RuntimeWarning")


def started_as_modules() -> set[str]:
    """Names of everything in the package that ``python -m rsna_det.<name>`` starts."""
    alone = {path.stem for path in PACKAGE.glob("*.py") if '__name__ == "__main__"' in path.read_text()}
    return (alone | {path.parent.name for path in PACKAGE.glob("*/__main__.py")}) - {"cli"}


def test_every_command_is_listed() -> None:
    assert set(cli.COMMANDS) == started_as_modules()


def test_the_list_of_commands_is_there_at_once() -> None:
    code = f"import sys; from rsna_det.cli import main; main(); sys.exit(bool({HEAVY} & sys.modules.keys()))"
    code = code.replace(str(HEAVY), str(set(HEAVY)))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", code, "--help"], check=False, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    for name, what in cli.COMMANDS.items():
        assert sum(name in line and what in line for line in done.stdout.splitlines()) == 1
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < SECONDS


@pytest.mark.parametrize(
    ("word", "message"),
    [("trian", "no command trian; did you mean train?"), ("x", "no command x; `rsna-det --help` lists all")],
)
def test_an_unknown_command_names_the_closest(word: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["rsna-det", word])
    with pytest.raises(SystemExit) as raised:
        cli.main()
    assert message in str(raised.value)


def test_a_command_without_a_name_is_the_list(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["rsna-det"])
    cli.main()
    assert capsys.readouterr().out == cli.overview()


def test_a_command_is_the_main_module_with_its_own_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lightning starts the further processes of a run by this name."""
    seen: list[object] = []

    def noted(_: str) -> list[str]:
        seen.extend([sys.modules["__main__"].__spec__.name, *sys.argv[1:]])  # type: ignore[union-attr]
        raise KeyboardInterrupt

    monkeypatch.setattr(console, "command_line", noted)
    monkeypatch.setattr(sys, "argv", ["rsna-det", "studies", "p2", "seed=1"])
    with pytest.raises(SystemExit, match="130"):
        cli.main()
    assert seen == ["rsna_det.studies.__main__", "p2", "seed=1"]
    assert os.path.basename(sys.argv[0]) == "rsna-det"  # noqa: PTH119


@pytest.mark.parametrize("command", ["studies", "dashboard"])
def test_help_is_no_study(command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["rsna-det", command, "--help"])
    with pytest.raises(SystemExit) as raised:
        cli.main()
    assert raised.value.code == 0
    assert f"usage: python -m rsna_det.{command} <study>" in capsys.readouterr().out
