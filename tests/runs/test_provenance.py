"""What a run records of itself, and that the same seed gives the same numbers."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from rsna_det.config.compose import CONF
from rsna_det.data.fingerprint import fingerprint
from rsna_det.data.labels.reading import read_labels
from rsna_det.runs.provenance import git_state
from rsna_det.runs.session import run
from tests.short_runs import TRAINING_WARNINGS, options_of

pytestmark = TRAINING_WARNINGS


@pytest.fixture(scope="module")
def twins(synthetic_root: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two runs of two epochs, with augmentation, dropout and workers, that differ in their folder only."""
    folders = [tmp_path_factory.mktemp("runs") / name for name in ("first", "second")]
    for folder in folders:
        options = ["trainer.max_epochs=2", "augmentation=heavy", "data.num_workers=1"]
        run(options_of(synthetic_root, folder, *options))
    return folders


def record(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "provenance.json").read_text())
    return found


def test_the_same_seed_gives_the_same_numbers_to_the_bit(twins: list[Path]) -> None:
    first, second = twins
    assert (first / "metrics.csv").read_bytes() == (second / "metrics.csv").read_bytes()
    states = [torch.load(f / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for f in twins]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0] | states[1])
    tables = sorted(path.name for path in (first / "predictions").iterdir())
    assert tables
    for name in tables:
        assert (first / "predictions" / name).read_bytes() == (second / "predictions" / name).read_bytes()


def test_a_run_records_what_it_was_made_from(twins: list[Path], synthetic_root: Path) -> None:
    found = record(twins[0])
    assert found["seed"] == 0
    (start,) = found["starts"]
    assert start["outcome"] == "finished"
    assert start["packages"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert start["device"]["type"] == "cpu"
    assert len(start["epoch_seconds"]) == 2
    assert start["seconds"] >= sum(start["epoch_seconds"]) > 0
    assert start["git"] == git_state(CONF)
    assert found["data"]["root"] == str(synthetic_root)
    assert found["data"]["images"] == 24
    assert found["data"] == record(twins[1])["data"]
    saved = OmegaConf.load(twins[0] / found["configuration"])
    assert "${" not in (twins[0] / found["configuration"]).read_text()
    assert saved.trainer.gradient_clip_val == 0.1
    assert saved.run_dir == str(twins[0])


def test_a_run_that_fails_says_so_and_the_next_start_is_added(
    synthetic_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = options_of(synthetic_root, tmp_path / "run")

    def fit(*_: object) -> None:
        assert record(tmp_path / "run")["starts"][-1]["outcome"] == "running"
        raise ValueError("no luck")

    monkeypatch.setattr("rsna_det.runs.session._fit", fit)
    monkeypatch.setenv("PATH", "")
    for _ in range(2):
        with pytest.raises(ValueError, match="no luck"):
            run(options)
    starts = record(tmp_path / "run")["starts"]
    assert [entry["outcome"] for entry in starts] == ["ValueError: no luck"] * 2
    assert [entry["git"] for entry in starts] == [None, None]


def test_a_resumed_run_has_an_entry_for_each_start(synthetic_root: Path, tmp_path: Path) -> None:
    options = ["optimizer=paper", "data.limit_images=12"]
    run(options_of(synthetic_root, tmp_path, *options))
    checkpoint = tmp_path / "checkpoints" / "last.ckpt"
    run(options_of(synthetic_root, tmp_path, *options, "trainer.max_epochs=2"), checkpoint=checkpoint)
    starts = record(tmp_path)["starts"]
    assert [(start["first_epoch"], len(start["epoch_seconds"])) for start in starts] == [(0, 1), (1, 1)]


def test_data_are_known_by_labels_images_and_folds(synthetic_root: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    shutil.copytree(synthetic_root, root)
    images = read_labels(root=root).assign(fold=0)
    before = fingerprint(root=root, images=images, tables={"patients_csv": root / "patients.csv", "test_ids": None})
    assert "test_ids" not in before
    shuffled = fingerprint(root=root, images=images[::-1], tables={"patients_csv": root / "patients.csv"})
    assert shuffled == before
    other = fingerprint(root=root, images=images.assign(fold=1), tables={"patients_csv": root / "patients.csv"})
    assert {key for key in before if other[key] != before[key]} == {"folds"}
    next((root / "stage_2_train_images").iterdir()).unlink()
    fewer = fingerprint(root=root, images=images, tables={"patients_csv": root / "patients.csv"})
    assert {key for key in before if fewer[key] != before[key]} == {"images", "image_files"}


def test_git_is_not_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert git_state(tmp_path) is None
    git = shutil.which("git")
    if git is not None:
        who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        subprocess.run([git, "init", "-q", str(tmp_path)], check=True)
        (tmp_path / "old.py").touch()
        subprocess.run([git, "-C", str(tmp_path), "add", "old.py"], check=True)
        subprocess.run([git, "-C", str(tmp_path), *who, "commit", "-q", "-m", "first"], check=True)
        state = git_state(tmp_path)
        assert state is not None
        assert (len(str(state["commit"])), state["dirty"]) == (40, False)
        (tmp_path / "new.py").touch()
        changed = git_state(tmp_path)
        assert changed is not None
        assert changed["dirty"]
        installed = tmp_path / ".venv"
        installed.mkdir()
        (installed / "package.py").touch()
        assert git_state(installed) is None, "a package installed below a checkout is not of its commit"
    monkeypatch.setenv("PATH", "")
    assert git_state(tmp_path) is None
