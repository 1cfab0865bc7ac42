"""Two processes do not write into one folder of results."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rsna_det.config.compose import compose_config
from rsna_det.evaluate import __main__ as evaluate
from rsna_det.files.output_lock import check_not_in_use, in_use
from rsna_det.predict import __main__ as predict

HOLD = """
import sys, time
from pathlib import Path
from rsna_det.output_lock import in_use
with in_use(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def held(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """A folder that another process writes into, and that process."""
    folder = tmp_path / "made" / "out"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        yield folder, other.pid
        other.kill()


def test_the_second_is_told_who_writes(held: tuple[Path, int]) -> None:
    folder, process = held
    with pytest.raises(FileExistsError, match=rf"out is being written by process {process} on .*another `out`"):
        check_not_in_use(folder)
    with pytest.raises(FileExistsError, match=rf"process {process}"), in_use(folder):
        pass


@pytest.mark.parametrize(("command", "options"), [(predict, ["checkpoints=a", "images=b"]), (evaluate, ["runs=a"])])
def test_an_entry_point_leaves_a_folder_in_use_alone(
    command: object, options: list[str], held: tuple[Path, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, process = held
    monkeypatch.setattr(sys, "argv", ["command", f"out={folder}", *options])
    with pytest.raises(SystemExit, match=f"error: .*is being written by process {process}"):
        command.main()  # type: ignore[attr-defined]
    assert [path.name for path in folder.iterdir()] == [".in_use.lock"]


def test_an_evaluation_that_is_late_is_refused_as_well(held: tuple[Path, int]) -> None:
    folder, process = held
    config = compose_config("evaluate", ["runs=a"])
    config.run_dir = str(folder)
    with pytest.raises(FileExistsError, match=f"process {process}"):
        evaluate.run(config)


def test_a_folder_is_free_again(tmp_path: Path) -> None:
    with in_use(tmp_path / "out"):
        pass
    check_not_in_use(tmp_path / "out")
    check_not_in_use(tmp_path / "nowhere")
