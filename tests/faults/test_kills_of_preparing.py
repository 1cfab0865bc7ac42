"""Preparing that is killed at any of its commits, and started again, ends with the files of one that was not."""

from pathlib import Path

import pytest

from rsna_det.config.check import check_config
from rsna_det.config.compose import compose_config
from rsna_det.config.options import PrepareOptions
from rsna_det.prepare import prepare
from tests.faults.killing import Kill, Moment, commits, files_of, killed


class Preparing:
    """Of a small challenge folder, into a cache and a folder of reports."""

    def __init__(self, root: Path, place: Path) -> None:
        self.root, self.place, self.log = root, place, place / "log.txt"
        self.commits = commits(lambda: self.prepare("whole"), log=self.log)

    def prepare(self, name: str) -> None:
        out = self.place / name
        (out / "reports").mkdir(parents=True, exist_ok=True)
        options = {"root": str(self.root), "cache_dir": str(out / "cache"), "image_size": 64, "num_folds": 4}
        config = compose_config("prepare", [*(f"data.{key}={value}" for key, value in options.items()), "workers=1"])
        config.run_dir = str(out / "reports")
        prepare(check_config(config, PrepareOptions))


@pytest.fixture(scope="module")
def preparing(synthetic_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Preparing:
    return Preparing(synthetic_root, tmp_path_factory.mktemp("preparing"))


@pytest.mark.parametrize("moment", ["before", "after"])
def test_preparing_killed_at_any_commit_ends_with_the_same_files(preparing: Preparing, moment: Moment) -> None:
    index, cache, report = preparing.commits
    assert (index, report) == ("index.jsonl", "folds.csv")
    assert cache.startswith("synthetic_64px_")
    for number in range(len(preparing.commits)):
        name = f"{moment}_{number}"
        killed(lambda name=name: preparing.prepare(name), Kill(number, moment), log=preparing.log)  # type: ignore[misc]
        preparing.prepare(name)
        assert files_of(preparing.place / name) == files_of(preparing.place / "whole")
