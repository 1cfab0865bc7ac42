"""A command composes and checks its options once, takes its folder, and ends as the user can read it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from rsna_det.config import command as module
from rsna_det.config.command import Command
from rsna_det.config.options import EvaluateOptions
from rsna_det.errors import ConfigError, InUseError


@dataclass
class Worker:
    """Notes what the command hands to it."""

    status: int = 0
    problem: Exception | None = None
    got: EvaluateOptions | None = None

    def work(self, options: EvaluateOptions) -> int:
        self.got = options
        if self.problem is not None:
            raise self.problem
        return self.status

    def check(self, options: EvaluateOptions) -> None:
        if options.epoch == 13:
            raise ConfigError("not that epoch")


def start(monkeypatch: pytest.MonkeyPatch, worker: Worker, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["evaluate", *arguments])
    Command(
        name="evaluate", options=EvaluateOptions, work=worker.work, folder=lambda o: o.out, check=worker.check
    ).main()


def test_options_are_composed_once_and_the_folder_has_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    composed: list[str] = []
    compose = module.compose
    monkeypatch.setattr(module, "compose", lambda name, **options: composed.append(name) or compose(name, **options))
    worker = Worker()
    start(monkeypatch, worker, f"out={tmp_path}/out", "runs=some", "splits=3")
    assert composed == ["evaluate"]
    assert worker.got is not None
    assert (worker.got.out, worker.got.run_dir, worker.got.splits) == (tmp_path / "out", tmp_path / "out", 3)
    saved = tmp_path / "out" / ".hydra"
    assert yaml.safe_load((saved / "overrides.yaml").read_text()) == [f"out={tmp_path}/out", "runs=some", "splits=3"]
    assert yaml.safe_load((saved / "config.yaml").read_text())["splits"] == 3
    assert yaml.safe_load((saved / "hydra.yaml").read_text())["hydra"]["job"]["name"] == "evaluate"
    assert (tmp_path / "out" / "evaluate.log").is_file()


def test_what_the_work_returns_is_the_exit_status(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit) as ended:
        start(monkeypatch, Worker(status=1), f"out={tmp_path}", "runs=some")
    assert ended.value.code == 1


def test_what_is_refused_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Worker()
    for wrong in ("epoch=13", "splits=many", "paths.runs=3", "colour=red", "+colour=red", "seed=null"):
        with pytest.raises(SystemExit, match=r"^error: "):
            start(monkeypatch, worker, f"out={tmp_path}/out", "runs=some", wrong)
    assert worker.got is None
    assert list(tmp_path.iterdir()) == []


def test_a_bug_keeps_its_traceback_and_is_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="shapes differ"):
        start(monkeypatch, Worker(problem=ValueError("shapes differ")), f"out={tmp_path}", "runs=some")
    assert "Traceback" in (tmp_path / "evaluate.log").read_text()


def test_a_folder_in_use_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def taken(folder: Path) -> object:
        raise InUseError(f"{folder} is being written")

    monkeypatch.setattr(module, "in_use", taken)
    with pytest.raises(SystemExit, match=r"error: .* is being written"):
        start(monkeypatch, Worker(), f"out={tmp_path}/out", "runs=some")
    assert not (tmp_path / "out").exists()


def test_hydras_own_flags_are_answered(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    worker = Worker()
    start(monkeypatch, worker, "--cfg", "job", "runs=some", "splits=7")
    assert yaml.safe_load(capsys.readouterr().out)["splits"] == 7
    assert worker.got is None


@pytest.mark.parametrize("flags", [[], ["-m"]])
def test_the_locked_folder_is_the_one_that_is_written(
    flags: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sweep of the command has a folder of Hydra's own, and writes into `out` all the same."""
    locked: list[Path] = []

    @contextmanager
    def noted(folder: Path) -> Iterator[None]:
        locked.append(folder)
        folder.mkdir(parents=True, exist_ok=True)
        yield

    monkeypatch.setattr(module, "in_use", noted)
    monkeypatch.chdir(tmp_path)
    start(monkeypatch, Worker(), *flags, f"out={tmp_path}/out", "runs=some")
    assert locked == [tmp_path / "out"]


def test_hydras_files_can_be_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start(monkeypatch, Worker(), f"out={tmp_path}/out", "runs=some", "hydra.output_subdir=null")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [".in_use.lock", "evaluate.log"]


@pytest.mark.parametrize("wrong", ["out=null", "out=5", "paths.runs=null", "out=''"])
def test_a_wrong_place_is_named(wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=rf"error: {wrong.partition('=')[0]} "):
        start(monkeypatch, Worker(), "runs=some", wrong)
    assert list(tmp_path.iterdir()) == []
