"""What commit 7ceb7a4 wrote on a user's disk works with today's commands, and gives the same numbers."""

import fcntl
import io
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml

from tests.compatibility import old_commands as written
from tests.compatibility.conftest import ROOT, Commands

COMMIT = "7ceb7a44449d04bea51ee93a97a397abdc9acc0f"
COORDINATES = ["x1", "y1", "x2", "y2"]
SOURCE_PIXELS = 1e-4
RENAMED = {"found": "true_positives", "share_right": "precision", "boxes": "detections"}
"""Columns of an evaluation's CSV files: their name then -> today's."""


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory, today: Commands) -> Path:
    """The folder in which somebody worked with the old commit; each test changes only what no other test reads."""
    base = tmp_path_factory.getbasetemp()
    # Several pytest workers share it.
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    _skip_without_history()
    with _locked(shared / "old_artefacts.lock"):
        if not (shared / "old_artefacts.written").exists():
            _write_artefacts(shared, today)
            (shared / "old_artefacts.written").touch()
    return shared / "old_artefacts"


def _git(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    git = shutil.which("git")
    if git is None:
        pytest.skip("git is not installed, and the old commit's code comes from the history")
    return subprocess.run([git, "-C", ROOT, *arguments], check=False, capture_output=True)


def _skip_without_history() -> None:
    if _git("cat-file", "-e", f"{COMMIT}^{{commit}}").returncode:
        pytest.skip(f"no commit {COMMIT[:7]} here, whose code writes the artefacts: no git checkout, or a shallow one")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _write_artefacts(shared: Path, commands: Commands) -> None:
    """In its final place: checkpoints and predictions remember where they lie."""
    checkout, target = shared / "old_checkout", shared / "old_artefacts"
    for path in (checkout, target):
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir()
    with tarfile.open(fileobj=io.BytesIO(_git("archive", COMMIT, "rsna_det", "conf").stdout)) as archive:
        archive.extractall(checkout, filter="data")
    done = commands("write_artefacts", str(target), folder=target, checkout=checkout)
    assert done.status == 0, done.output


def only(folder: Path, pattern: str) -> Path:
    (path,) = folder.glob(pattern)
    return path


def state(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of every file, without logs and locks."""
    return {
        str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file() and path.suffix not in {".log", ".lock"}
    }


def weights(run: Path) -> dict[str, torch.Tensor]:
    saved: dict[str, Any] = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    found: dict[str, torch.Tensor] = saved["state_dict"]
    return found


def assert_same_weights(ours: Path, theirs: Path) -> None:
    """Buffers exactly; parameters as far as the order of sums allows.

    The old code computed the boxes of all anchors, today's those of the positive ones in windows around them: the same
    numbers, added up in another order, and Adam divides a gradient by its own size, so that it carries the last digits
    into the weights. They may differ by a thousandth of what the resumed epoch moved them.
    """
    resumed, whole = weights(ours), weights(theirs)
    before: dict[str, Any] = torch.load(ours / "checkpoints" / "epoch_00.ckpt", weights_only=True)
    parameters = before["optimizer_states"][0]["state"]
    assert resumed.keys() == whole.keys()
    learnt = [name for name, value in whole.items() if not torch.equal(value, before["state_dict"][name])]
    assert 0 < len(learnt) <= len(parameters)
    for name, value in whole.items():
        if name not in learnt:
            assert torch.equal(resumed[name], value), name
    moved = torch.cat([(whole[name] - before["state_dict"][name]).flatten() for name in learnt])
    apart = torch.cat([(whole[name] - resumed[name]).flatten() for name in learnt])
    assert apart.norm() <= 1e-3 * moved.norm()


def assert_same_tables(ours: Path, theirs: Path) -> None:
    """All tables of the old folder: coordinates, which are decoded in float64 today, to their last digit, all else
    exactly."""
    names = sorted(path.name for path in theirs.glob("*.parquet"))
    assert names
    for name in names:
        tables = [pd.read_parquet(folder / name) for folder in (ours, theirs)]
        boxes = [table[[c for c in COORDINATES if c in table]].astype(float) for table in tables]
        pd.testing.assert_frame_equal(*boxes, rtol=0, atol=SOURCE_PIXELS)
        others = [table.drop(columns=COORDINATES, errors="ignore") for table in tables]
        pd.testing.assert_frame_equal(*others, check_exact=True)


def assert_same_submission(ours: pd.DataFrame, theirs: pd.DataFrame) -> None:
    """Scores exactly, boxes as in the tables."""
    assert ours.columns.tolist() == theirs.columns.tolist()
    assert ours["patientId"].tolist() == theirs["patientId"].tolist()
    for one, other in zip(ours["PredictionString"].fillna(""), theirs["PredictionString"].fillna(""), strict=True):
        numbers, expected = ([float(word) for word in text.split()] for text in (one, other))
        assert numbers[::5] == expected[::5]
        assert numbers == pytest.approx(expected, rel=0, abs=SOURCE_PIXELS)


def assert_same_numbers(ours: Path, theirs: Path) -> None:
    """The old report's numbers, and its tables; today's may have more."""
    old, new = (json.loads((out / "report.json").read_text()) for out in (theirs, ours))
    assert old["images"] > 0
    assert {name: new.get(name) for name in old} == old
    names = sorted(path.name for path in theirs.glob("*.csv"))
    assert names
    for name in names:
        before = pd.read_csv(theirs / name).rename(columns=RENAMED)
        pd.testing.assert_frame_equal(pd.read_csv(ours / name)[before.columns], before, check_exact=True)


def test_a_finished_run_is_known_as_finished(today: Commands, folder: Path) -> None:
    run = only(folder, "runs/finished/*")
    before = state(run)
    done = today("rsna_det.train", f"resume={run.relative_to(folder)}", folder=folder)
    assert done.status == 0, done.output
    assert "is finished: nothing to do" in done.output
    assert state(run) == before


def test_an_interrupted_run_ends_as_if_it_had_not_been_interrupted(today: Commands, folder: Path) -> None:
    run, twin = only(folder, "runs/interrupted/*"), only(folder, "runs/finished/*")
    assert not (run / "result.json").exists()
    inputs = state(folder / "data"), state(folder / "cache")
    first_epoch, wandb_id = state(run)["checkpoints/epoch_00.ckpt"], (run / "wandb_id").read_text().strip()

    done = today("rsna_det.train", f"resume={run.relative_to(folder)}", folder=folder)
    assert done.status == 0, done.output

    assert (run / "metrics.csv").read_text() == (twin / "metrics.csv").read_text()
    assert_same_tables(run / "predictions", twin / "predictions")
    assert_same_weights(run, twin)
    ours, theirs = (json.loads((path / "result.json").read_text()) for path in (run, twin))
    # The last step's loss is no metric of the run, and no longer among its results.
    theirs["metrics"].pop("step_loss")
    for name in ("epochs", "best_val_map", "metrics"):
        assert ours[name] == theirs[name]

    assert state(run)["checkpoints/epoch_00.ckpt"] == first_epoch, "the first epoch was trained again"
    assert (run / "wandb_id").read_text().strip() == wandb_id
    assert len(list(run.glob(f"wandb/offline-run-*-{wandb_id}"))) == 2
    starts = json.loads((run / "provenance.json").read_text())["starts"]
    assert [start["first_epoch"] for start in starts] == [0, 1]
    assert (state(folder / "data"), state(folder / "cache")) == inputs, "data or cache were written again"


def test_a_study_trains_only_what_is_missing_and_is_reported(today: Commands, folder: Path) -> None:
    study = folder / "studies" / "negatives"
    finished = only(study, "*/result.json").parent
    (killed,) = (path.parent for path in study.glob("*/cell.yaml") if path.parent != finished)
    listed = today("rsna_det.studies", "negatives", folder=folder)
    assert listed.status == 0, listed.output
    assert {"1 finished", finished.name, killed.name} <= set(_phrases(listed.output, "1 finished")), listed.output
    before, first_epoch = state(finished), state(killed)["checkpoints/epoch_00.ckpt"]
    options = yaml.safe_load((killed / "cell.yaml").read_text())["options"]

    done = today("rsna_det.train", *written.STUDY, folder=folder)
    assert done.status == 0, done.output

    assert {path.parent for path in study.glob("*/cell.yaml")} == {finished, killed}
    assert state(finished) == before
    assert state(killed)["checkpoints/epoch_00.ckpt"] == first_epoch, "the first epoch was trained again"
    assert yaml.safe_load((killed / "cell.yaml").read_text())["options"] == options
    assert pd.read_csv(killed / "metrics.csv")["epoch"].tolist() == [0, 1]
    listed = today("rsna_det.studies", "negatives", folder=folder)
    assert "2 finished" in listed.output

    reported = today("experiments.negatives", folder=folder)
    assert reported.status == 0, reported.output
    page = (study / "report" / "negatives.html").read_text()
    assert finished.name in page
    assert killed.name in page


def _phrases(output: str, *phrases: str) -> list[str]:
    return [*output.split(), *(phrase for phrase in phrases if phrase in output)]


class TestEvaluation:
    """From the old tables, the old numbers."""

    def test_of_a_run(self, today: Commands, folder: Path) -> None:
        done = today(
            "rsna_det.evaluate",
            *(*written.EVALUATION, "save_operating_point=false", "out=today/evaluation"),
            folder=folder,
        )
        assert done.status == 0, done.output
        ours, theirs = folder / "today" / "evaluation", folder / "out" / "evaluation"
        assert_same_numbers(ours, theirs)
        points = [yaml.safe_load((out / "operating_point.yaml").read_text()) for out in (ours, theirs)]
        assert points[0] == points[1]

    def test_of_a_prediction(self, today: Commands, folder: Path) -> None:
        done = today(
            "rsna_det.evaluate",
            *(*written.EVALUATION_OF_PREDICTION, "out=today/evaluation_of_prediction"),
            folder=folder,
        )
        assert done.status == 0, done.output
        assert_same_numbers(folder / "today" / "evaluation_of_prediction", folder / "out" / "evaluation_of_prediction")


class TestPrediction:
    """With the old checkpoints and the operating point that the old evaluation left beside them."""

    def assert_same_boxes(self, ours: Path, theirs: Path) -> None:
        assert_same_submission(*(pd.read_csv(out / "submission.csv", dtype=str) for out in (ours, theirs)))
        assert len(pd.read_parquet(theirs / "detections.parquet")) > 0
        assert_same_tables(ours, theirs)

    def test_again(self, today: Commands, folder: Path) -> None:
        done = today("rsna_det.predict", *written.PREDICTION, "out=today/prediction", folder=folder)
        assert done.status == 0, done.output
        ours, theirs = folder / "today" / "prediction", folder / "out" / "prediction"
        self.assert_same_boxes(ours, theirs)
        for name in ("files.csv", "members.csv"):
            assert (ours / name).read_text() == (theirs / name).read_text()
        points = [yaml.safe_load((out / "operating_point.yaml").read_text()) for out in (ours, theirs)]
        assert points[0] == points[1]
        assert sorted(path.name for path in (ours / "pictures").iterdir()) == sorted(
            path.name for path in (theirs / "pictures").iterdir()
        )

    def test_a_killed_one_keeps_its_finished_part(self, today: Commands, folder: Path) -> None:
        out = folder / "out" / "killed_prediction"
        part = json.loads(only(out, "parts/*.part.json").read_text())
        assert 0 < len(part["sizes"]) < len(list((folder / written.COPIED_RADIOGRAPHS).iterdir()))
        for image_id in part["sizes"]:
            damage(folder / written.COPIED_RADIOGRAPHS / f"{image_id}.dcm")
        command = ("rsna_det.predict", *written.KILLED_PREDICTION, "out=out/killed_prediction")
        other = today(*command, "cut=0.5", folder=folder)
        assert other.status == 1
        assert "differs in: operating point" in other.output
        assert "Traceback" not in other.output
        done = today(*command, folder=folder)
        assert done.status == 0, done.output
        self.assert_same_boxes(out, folder / "out" / "prediction")
        assert not (out / "parts").exists()

    def test_a_finished_one_is_not_overwritten(self, today: Commands, folder: Path) -> None:
        out = folder / "out" / "prediction"
        before = state(out)
        done = today("rsna_det.predict", *written.PREDICTION, "out=out/prediction", folder=folder)
        assert done.status == 1
        assert "overwrite=true" in done.output
        assert "Traceback" not in done.output
        assert state(out) == before


def damage(radiograph: Path) -> None:
    """Wipe out half of a file behind its size and time: whoever reads it again cannot or finds other boxes."""
    times, content = radiograph.stat(), radiograph.read_bytes()
    wiped = len(content) // 2
    radiograph.write_bytes(content[:-wiped] + bytes(wiped))
    os.utime(radiograph, ns=(times.st_atime_ns, times.st_mtime_ns))
