"""The wheel, outside the checkout: every command runs, a small training runs, predictions are those of the checkout."""

import json
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest

from rsna_det import cli
from rsna_det.predict.__main__ import main as predict
from tests.short_runs import CHECKOUT, TRAINING_WARNINGS, environment, short_run

SOURCES = ("rsna_det", "experiments", "conf", "pyproject.toml", "setup.py", "README.md", "LICENSE")

# All in one process: importing torch takes longer than all the rest.
DRIVER = """
import contextlib, io, json, sys
import rsna_det
from rsna_det import cli

assert rsna_det.__file__.startswith({site!r}), rsna_det.__file__

def run(*words):
    sys.argv = ["rsna-det", *words]
    cli.main()

def help_of(name):
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):
        run(name, "--help")
    return out.getvalue()

run("train", *{train!r})
run("predict", *{predict!r}, "out=wheel")
json.dump({{name: help_of(name) for name in cli.COMMANDS}}, open("help.json", "w"))
"""

TRAIN = [
    "data=synthetic",
    "data.num_images=16",
    "data.source_side=64",
    "data.num_folds=2",
    *short_run(Path("data/synthetic")),
]
# Scores near the prior of 0.01 count: a detector of one epoch finds nothing else.
PREDICT = [
    "checkpoints='runs/*/*/checkpoints/best.ckpt'",
    "images='data/synthetic/stage_2_train_images/*[0-7].dcm'",
    "cut=0.001",
    "relative_cut=0",
    "nms_iou=0.7",
    "pictures=1",
    "workers=1",
]

pytestmark = TRAINING_WARNINGS


def checked(*command: str, **options: object) -> str:
    done = subprocess.run(command, check=False, capture_output=True, text=True, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stdout + done.stderr
    return str(done.stdout)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the wheel is installed into, without its dependencies."""
    if find_spec("pip") is None or find_spec("setuptools") is None:
        pytest.skip("building a wheel without a network takes pip and setuptools here: pip install setuptools")
    # A copy: setuptools leaves build/ beside what it builds, and takes along what an earlier build left there.
    folder = tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        source = CHECKOUT / name
        if source.is_dir():
            shutil.copytree(source, folder / "source" / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / "source" / name)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    checked(*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(folder), str(folder / "source"))
    (wheel,) = folder.glob("*.whl")
    checked(*pip, "install", "--no-deps", "--no-index", "--target", str(folder / "site"), str(wheel))
    return folder / "site"


@pytest.fixture(scope="module")
def place(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The working directory in which the wheel's commands ran."""
    folder = tmp_path_factory.mktemp("elsewhere")
    code = DRIVER.format(site=str(site), train=TRAIN, predict=PREDICT)
    checked(sys.executable, "-c", code, cwd=folder, env=environment(PYTHONPATH=str(site)))
    return folder


def test_all_files_come_along(site: Path) -> None:
    for folder, inside, kinds in (
        (CHECKOUT / "rsna_det", site / "rsna_det", ("*.py", "py.typed", "README.md")),
        (CHECKOUT / "conf", site / "rsna_det" / "conf", ("*.yaml", "README.md")),
        (CHECKOUT / "experiments", site / "experiments", ("*.py", "*.j2", "*.md")),
    ):
        for kind in kinds:
            ours = {path.relative_to(folder) for path in folder.rglob(kind)}
            theirs = {path.relative_to(inside) for path in inside.rglob(kind)}
            assert ours
            assert ours == {path for path in theirs if path.parts[0] != "conf"}


def test_the_console_script_starts(site: Path, tmp_path: Path) -> None:
    script = str(site / "bin" / "rsna-det")
    assert checked(script, "--version", cwd=tmp_path, env=environment(PYTHONPATH=str(site))).startswith("rsna-det 0.")


def test_every_command_has_help(place: Path) -> None:
    answers = json.loads((place / "help.json").read_text())
    assert set(answers) == set(cli.COMMANDS)
    for name, answer in answers.items():
        assert f"usage: python -m rsna_det.{name}" in answer


def test_a_run_has_its_own_log_without_chatter_and_no_commit_that_is_not_its(place: Path) -> None:
    (folder,) = place.glob("runs/heavy_aug_norot/*")
    assert (folder / "train.log").read_text()
    assert (place / "wheel" / "predict.log").is_file()
    assert "pytorch_lightning" not in (folder / "train.log").read_text()
    (start,) = json.loads((folder / "provenance.json").read_text())["starts"]
    assert start["outcome"] == "finished"
    assert start["git"] is None


def test_predictions_are_those_of_the_checkout(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setattr(sys, "argv", ["predict", *PREDICT, "out=checkout"])
    predict()
    ours, theirs = (pd.read_parquet(folder / "detections.parquet") for folder in (Path("checkout"), Path("wheel")))
    assert len(ours) > 8
    pd.testing.assert_frame_equal(theirs, ours, check_exact=True)
