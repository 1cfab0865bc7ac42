"""A reader that goes away early is no error."""

import subprocess
import sys

import pytest

from tests.short_runs import environment

HELP = {
    "the console script": ["rsna_det.cli"],
    "training": ["rsna_det.train", "--help"],
    "a whole configuration": ["rsna_det.predict", "--cfg", "all"],
    "a list": ["rsna_det.studies", "negatives", "data.root=x"],
}


@pytest.mark.parametrize("name", HELP)
def test_a_closed_pipe_ends_a_command_without_a_word(name: str) -> None:
    command = [sys.executable, "-m", *HELP[name]]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(PYTHONWARNINGS="ignore")
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()
        process.wait(60)
    assert "Traceback" not in said
    assert "BrokenPipe" not in said


def test_what_is_read_is_all_there() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "rsna_det.cli"], capture_output=True, text=True, check=True, env=environment()
    )
    assert done.stdout.rstrip().endswith("lists a command's options.")


@pytest.mark.parametrize(
    ("arguments", "ended_by_system"),
    [(["--help"], True), (["--cfg", "job"], True), (["--cfg=job"], True), ([], False), (["data.root=x"], False)],
)
def test_only_a_command_that_lists_is_ended_by_the_system(arguments: list[str], ended_by_system: bool) -> None:
    """A process that works holds sockets, W&B's for one, whose end is no reason to die without a word."""
    script = (
        "import signal, sys; from rsna_det.config.console import set_up; set_up(); "
        "print(signal.getsignal(signal.SIGPIPE) is signal.SIG_DFL)"
    )
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment())
    assert done.stdout.strip() == str(ended_by_system)
