"""A study's runs: which there are, where they stand, that each is trained once and resumes where it was interrupted."""

import json
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from omegaconf import DictConfig

from rsna_det import train
from rsna_det.config.compose import CONF, asked_for
from rsna_det.config.console import set_up
from rsna_det.config.options import TrainOptions
from rsna_det.errors import ConfigError, ResourceError
from rsna_det.runs.folder import RunFolder
from rsna_det.runs.records import Result
from rsna_det.runs.resume import saved_run
from rsna_det.studies import __main__ as studies
from rsna_det.studies.launchers import check_launcher
from rsna_det.studies.plan import launched_study, plan_study, record_launch, study_names
from rsna_det.studies.worker import RunFailedError, state_of, work_on
from tests.short_runs import composed, environment
from tests.short_runs import short_run as _short_run


def short_run(root: Path, *overrides: str) -> list[str]:
    return _short_run(root, "data.num_folds=2", *overrides)


RUNS_A_FOLD = {
    "augmentations": 5,
    "dropout": 3,
    "encoders": 10,
    "ensemble": 1,
    "multitask": 2,
    "negatives": 2,
    "p2": 2,
    "pretraining": 3,
    "published": 2,
    "resolution": 2,
}


@pytest.fixture(autouse=True)
def resolvers() -> None:
    set_up()


def test_no_study_is_left_out_here() -> None:
    assert list(RUNS_A_FOLD) == study_names()


@pytest.mark.parametrize("name", RUNS_A_FOLD)
def test_every_run_of_every_study_composes_and_fits(name: str) -> None:
    study = plan_study([f"sweep={name}", "data.root=somewhere", "data.fold=3"])
    assert len(study.runs) == RUNS_A_FOLD[name]
    assert study.folder == Path("studies") / name
    assert all("data.fold=3" in run.overrides for run in study.runs)
    assert re.search(r"(Figure|Table|Section|section|text)", (CONF / "sweep" / f"{name}.yaml").read_text())


def test_a_study_covers_the_folds_and_takes_the_command_lines_word(synthetic_root: Path) -> None:
    study = plan_study(["sweep=negatives", *short_run(synthetic_root)])
    folds = [[word for word in run.overrides if word.startswith("data.fold=")] for run in study.runs]
    assert folds == [["data.fold=0"], ["data.fold=0"], ["data.fold=1"], ["data.fold=1"]]
    assert study.label(study.runs[0]) == "data.fold=0 data.train_negatives=True"
    more = plan_study(["sweep=negatives", *short_run(synthetic_root, "seed=0,1", "data.train_negatives=true")])
    assert len(more.runs) == 4
    # Two names of one run are one run.
    same = plan_study(["sweep=negatives", *short_run(synthetic_root, "experiment=no_aug", "augmentation=none,none")])
    assert len(same.runs) == 4


def test_what_cannot_run_is_said_before_anything_does() -> None:
    with pytest.raises(ConfigError, match=r"data\.root=<folder>"):
        plan_study(["sweep=negatives"])
    with pytest.raises(ConfigError, match=r"there is no study augmentation; the closest: augmentations"):
        plan_study(["sweep=augmentation"])
    with pytest.raises(ConfigError, match=r"trainer\.max_epochs"):
        plan_study(["sweep=negatives", "data.root=somewhere", "trainer.max_epoch=3"])
    assert asked_for(["-m", "sweep=null"], "sweep") is None


def test_a_fold_that_is_not_there_is_said_before_anything_trains(synthetic_root: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.fold is 7; expected 0 to 1, of data\.num_folds=2"):
        plan_study(["sweep=negatives", f"data.root={synthetic_root}", "data.num_folds=2", "data.fold=0,7"])


def test_a_mistyped_flag_is_no_start(synthetic_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = ["-m", "+sweep=negatives", f"data.root={synthetic_root}", f"paths.studies={tmp_path}"]
    monkeypatch.setattr(sys, "argv", ["train", *study, "--dryrun"])
    with pytest.raises(SystemExit, match="--dryrun is not a flag of a study, which takes -m, --multirun, --dry-run"):
        train.main()
    assert not list(tmp_path.glob("**/launches"))
    monkeypatch.setattr(sys, "argv", ["train", "--dry-run"])
    with pytest.raises(SystemExit, match=r"name one with \+sweep=<study>"):
        train.main()


def test_a_launcher_without_its_plugin_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    with pytest.raises(ResourceError, match=r"pip install 'rsna-det\[slurm\]'"):
        check_launcher(["hydra/launcher=slurm"])
    check_launcher(["hydra/launcher=basic"])


def test_the_last_start_is_remembered(synthetic_root: Path, tmp_path: Path) -> None:
    place = f"paths.studies={tmp_path}"
    with pytest.raises(ConfigError, match="study negatives was never started in"):
        launched_study("negatives", [place])
    for epochs in (1, 2):
        options = short_run(synthetic_root, place, f"trainer.max_epochs={epochs}")
        study = plan_study(["sweep=negatives", *options])
        record_launch(study)
    found = launched_study("negatives", [place])
    assert found == study
    assert found.runs[0].epochs == 2


class TestRun:
    """One run, with a training that only pretends."""

    @pytest.fixture
    def config(self, synthetic_root: Path, tmp_path: Path) -> DictConfig:
        return composed(synthetic_root, tmp_path / "run", "sweep=negatives", "trainer.max_epochs=3")

    def train(self, options: TrainOptions, checkpoint: Path | None) -> None:
        self.started.append(checkpoint)
        folder = options.run_dir
        assert state_of(RunFolder(folder), epochs=3).state != "finished"
        (folder / "checkpoints").mkdir(exist_ok=True)
        (folder / "checkpoints" / "last.ckpt").touch()
        if len(self.started) == 1:
            raise KeyboardInterrupt
        if len(self.started) == 2:
            raise ValueError("no luck\ntoday")
        (folder / "result.json").write_text(
            Result(epochs=3, seconds=1.0, best_val_map=None, metrics={}).model_dump_json()
        )

    def test_it_is_interrupted_then_fails_then_finishes_and_is_left_alone(self, config: DictConfig) -> None:
        self.started: list[Path | None] = []
        folder = Path(config.run_dir)
        assert state_of(RunFolder(folder), epochs=3).state == "missing"
        with pytest.raises(KeyboardInterrupt):
            work_on(config, overrides=["seed=0"], train=self.train)
        assert state_of(RunFolder(folder), epochs=3).state == "interrupted"
        with pytest.raises(RunFailedError, match="no luck today"):
            work_on(config, overrides=["seed=0"], train=self.train)
        failed = state_of(RunFolder(folder), epochs=3)
        assert (failed.state, failed.detail) == ("failed", "no luck today")
        assert "Traceback" in (folder / "failed.txt").read_text()
        for _ in range(2):
            work_on(config, overrides=["seed=0"], train=self.train)
            assert state_of(RunFolder(folder), epochs=3).state == "finished"
        assert self.started == [None, folder / "checkpoints" / "last.ckpt", folder / "checkpoints" / "last.ckpt"]
        assert not (folder / "failed.txt").exists()
        assert state_of(RunFolder(folder), epochs=4).state == "interrupted"

    def test_a_run_of_another_process_is_skipped(self, config: DictConfig, caplog: pytest.LogCaptureFixture) -> None:
        folder = Path(config.run_dir)
        folder.mkdir()
        hold = "import sys, time\nfrom pathlib import Path\nfrom rsna_det.files.locks import lock\n"
        hold += "with lock(Path(sys.argv[1])):\n    print(flush=True)\n    time.sleep(60)"
        with subprocess.Popen([sys.executable, "-c", hold, str(folder / "run.lock")], stdout=subprocess.PIPE) as other:
            assert other.stdout is not None
            other.stdout.readline()
            self.started = []
            work_on(config, overrides=[], train=self.train)
            running = state_of(RunFolder(folder), epochs=3)
            other.kill()
        assert not self.started
        assert "skipped" in caplog.text
        assert running.state == "running"
        assert running.detail.startswith(f"process {other.pid} on ")

    def test_its_folder_says_what_it_is_and_is_that_of_a_run(self, config: DictConfig) -> None:
        self.started = [None, None]
        work_on(config, overrides=["data.fold=0", "encoder=tiny"], train=self.train)
        folder = Path(config.run_dir)
        described = yaml.safe_load((folder / "cell.yaml").read_text())
        assert (described["study"], described["overrides"]) == ("negatives", ["data.fold=0", "encoder=tiny"])
        assert described["options"]["model.width"] == 16
        assert "trainer.devices" not in described["options"]
        assert saved_run([f"resume={folder}"]).model["width"] == 16


def test_a_study_from_the_command_line(
    synthetic_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One of two runs fails in its Trainer; the next start tries only that one."""
    monkeypatch.chdir(tmp_path)
    options = short_run(synthetic_root, "data.fold=0", "data.train_negatives=true")
    arguments = [
        "-m",
        "+sweep=negatives",
        *options,
        "trainer.limit_train_batches=1",
        "+trainer.limit_test_batches=-1.0,1",
    ]
    monkeypatch.setattr(sys, "argv", ["train", *arguments, "--dry-run"])
    train.main()
    assert "2 missing" in capsys.readouterr().out
    command = [sys.executable, "-m", "rsna_det.train", *arguments]
    for start in range(2):
        done = subprocess.run(command, env=environment(), check=False, capture_output=True, text=True)
        assert done.returncode == 1
        assert "1 failed" in done.stdout, done.stderr
        assert "1 finished" in done.stdout
        assert "limit_test_batches" in done.stdout
        assert ("is finished: nothing to do" in done.stderr) == (start == 1)
    (result,) = tmp_path.glob("studies/negatives/*/result.json")
    starts = json.loads((result.parent / "provenance.json").read_text())["starts"]
    assert [entry["outcome"] for entry in starts] == ["finished"]
    monkeypatch.setattr(sys, "argv", ["studies", "negatives"])
    studies.main()
    assert re.search(rf"{result.parent.name}.*finished", capsys.readouterr().out)
    assert len(list(tmp_path.glob("studies/negatives/launches/*.json"))) == 2
