"""A run killed at any of its commits, and resumed, ends with the files and weights of one that was not."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from rsna_det.runs.folder import RunFolder
from rsna_det.runs.resume import saved_run
from rsna_det.runs.session import run
from tests.faults.killing import Kill, Moment, commits, files_of, killed
from tests.short_runs import TRAINING_WARNINGS, options_of

pytestmark = TRAINING_WARNINGS

EPOCHS = 2
# Times, hosts and the paths of the run's own folder differ between any two runs.
OF_EACH_RUN = ("provenance.json", "config.yaml", "result.json", "run.lock")
IN_THE_LAST_EPOCH = (
    *("epoch_01.candidates.parquet", "epoch_01.images.parquet", "epoch_01.png", "metrics.csv"),
    *("best.ckpt", "epoch_01.ckpt", "last.ckpt", "provenance.json", "result.json"),
)


def small(preset: str) -> list[str]:
    return [f"callbacks={preset}", "callbacks.images.count=1", f"trainer.max_epochs={EPOCHS}", "model.width=8"]


def resume(folder: Path) -> None:
    run(saved_run([f"resume={folder}"]), checkpoint=RunFolder(folder).last_checkpoint)


def plain(value: object) -> object:
    """What a checkpoint holds, without the folder that it lies in."""
    if isinstance(value, dict):
        return {Path(k).name if isinstance(k, str) and "/" in k else k: plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return Path(value).name if isinstance(value, str) and "/" in value else value


def same(ours: object, theirs: object) -> bool:
    """Equal to the bit."""
    if isinstance(ours, torch.Tensor) and isinstance(theirs, torch.Tensor):
        return torch.equal(ours, theirs)
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return ours.keys() == theirs.keys() and all(same(ours[key], theirs[key]) for key in ours)
    if isinstance(ours, list) and isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    return ours == theirs


def assert_the_same_run(folder: Path, whole: Path, *, rewritten: tuple[str, ...] = ()) -> None:
    """``rewritten`` checkpoints may differ in what the callbacks remember of their own."""
    ours, theirs = (files_of(path, besides=OF_EACH_RUN) for path in (folder, whole))
    assert sorted(ours) == sorted(theirs)
    for name in ours:
        if not name.endswith(".ckpt"):
            assert ours[name] == theirs[name], name
            continue
        mine, other = (torch.load(path / name, weights_only=True) for path in (folder, whole))
        for part in ("epoch", "global_step", "state_dict", "optimizer_states", "lr_schedulers"):
            assert same(mine[part], other[part]), (name, part)
        callbacks = [plain(checkpoint["callbacks"]) for checkpoint in (mine, other)]
        assert same(*callbacks) or name in rewritten, (name, "callbacks")
        assert same(mine.get("averaging_state"), other.get("averaging_state")), name
        assert same(mine.get("current_model_state"), other.get("current_model_state")), name
    mine, other = (json.loads((path / "result.json").read_text()) for path in (folder, whole))
    assert {**mine, "seconds": 0} == {**other, "seconds": 0}
    assert mine["metrics"]["val/map"] >= 0


TRIED_BY_FUZZ = ("epoch_01.candidates.parquet", "epoch_01.images.parquet", "epoch_01.png", "provenance.json")


class Runs:
    """A run of one preset: after its first epoch, and whole."""

    def __init__(self, preset: str, root: Path, place: Path) -> None:
        self.place, self.log = place, place / "log.txt"
        self.whole = place / "whole"
        self.options: Callable[[Path], object] = lambda folder: options_of(root, folder, *small(preset))
        run(self.options(self.whole))  # type: ignore[arg-type]
        self.first = place / "first"
        names = commits(lambda: run(self.options(self.first)), log=self.log)  # type: ignore[arg-type]
        shutil.rmtree(self.first)
        self.in_all = names
        # Killed right after its first commit of an epoch.
        self.kill(self.first, names.index("last.ckpt"), "after")
        copy = self.copied("noted")
        self.in_second = commits(lambda: resume(copy), log=self.log)

    def kill(self, folder: Path, number: int, moment: Moment) -> None:
        killed(lambda: run(self.options(folder)), Kill(number, moment), log=self.log)  # type: ignore[arg-type]

    def copied(self, name: str) -> Path:
        folder = self.place / name
        shutil.copytree(self.first, folder)
        return folder

    def check_second(self, number: int, moment: Moment) -> None:
        """Kill the second epoch at a commit, resume, and compare."""
        folder = self.copied(f"{number}_{moment}")
        killed(lambda: resume(folder), Kill(number, moment), log=self.log)
        resume(folder)
        assert_the_same_run(folder, self.whole)
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def every_epoch(synthetic_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs("every_epoch", synthetic_root, tmp_path_factory.mktemp("every_epoch"))


def test_the_last_checkpoint_is_the_commit_of_all_that_an_epoch_promises(every_epoch: Runs) -> None:
    last = every_epoch.in_second.index("last.ckpt")
    before = every_epoch.in_second[:last]
    promised = [name for name in IN_THE_LAST_EPOCH if name not in ("last.ckpt", "result.json")]
    # The second epoch of this run is not its best.
    assert set(promised) - set(before) <= {"best.ckpt"}
    assert every_epoch.in_second[-1] == "result.json"
    assert not {"epoch_01.ckpt", "best.ckpt", "epoch_01.png"} & set(every_epoch.in_second[last + 1 :])


@pytest.mark.parametrize("name", [name for name in IN_THE_LAST_EPOCH if name not in TRIED_BY_FUZZ])
def test_a_run_killed_at_a_commit_resumes_to_the_same_files(every_epoch: Runs, name: str) -> None:
    if name not in every_epoch.in_second:
        pytest.skip("not written in this epoch")
    # The last time that it is written: what follows is lost.
    number = len(every_epoch.in_second) - 1 - every_epoch.in_second[::-1].index(name)
    every_epoch.check_second(number, "before")


def test_a_run_killed_right_after_its_last_checkpoint_gets_its_result(every_epoch: Runs) -> None:
    every_epoch.check_second(every_epoch.in_second.index("last.ckpt"), "after")


def test_the_checkpoint_that_an_older_version_lost_is_written_again(every_epoch: Runs) -> None:
    folder = every_epoch.copied("older")
    (folder / "checkpoints" / "epoch_00.ckpt").unlink()
    resume(folder)
    assert_the_same_run(folder, every_epoch.whole, rewritten=("checkpoints/epoch_00.ckpt",))


@pytest.mark.hypothesis
@pytest.mark.skipif(settings().max_examples < 1000, reason="minutes: make fuzz")
@pytest.mark.parametrize("preset", ["default", "every_epoch", "ema"])
def test_every_commit_of_a_run(preset: str, synthetic_root: Path, tmp_path: Path) -> None:
    runs = Runs(preset, synthetic_root, tmp_path)
    for number in range(len(runs.in_second)):
        for moment in ("before", "after"):
            if number < len(runs.in_second) - 1 or moment == "before":
                runs.check_second(number, moment)  # type: ignore[arg-type]
    for number, moment in ((n, m) for n in range(runs.in_all.index("last.ckpt")) for m in ("before", "after")):
        folder = tmp_path / f"first_{number}_{moment}"
        runs.kill(folder, number, moment)  # type: ignore[arg-type]
        run(runs.options(folder))  # type: ignore[arg-type]
        assert_the_same_run(folder, runs.whole)
