"""Preparing that is killed at any of its commits, and started again, ends with the files of one that was not."""

from pathlib import Path
from typing import get_args

import pytest
from hypothesis import settings

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

    def check(self, number: int, moment: Moment) -> None:
        """Kill it, start it again, compare."""
        name = f"{moment}_{number}"
        killed(lambda: self.prepare(name), Kill(number, moment), log=self.log)
        self.prepare(name)
        assert files_of(self.place / name) == files_of(self.place / "whole")


@pytest.fixture(scope="module")
def preparing(synthetic_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Preparing:
    return Preparing(synthetic_root, tmp_path_factory.mktemp("preparing"))


def test_preparing_killed_before_its_cache_has_its_name_ends_with_the_same_files(preparing: Preparing) -> None:
    index, cache, report = preparing.commits
    assert (index, report) == ("index.jsonl", "folds.csv")
    assert cache.startswith("synthetic_64px_")
    preparing.check(1, "before")


@pytest.mark.hypothesis
@pytest.mark.skipif(settings().max_examples < 1000, reason="a minute: make fuzz")
def test_every_commit_of_preparing(preparing: Preparing) -> None:
    for number in range(len(preparing.commits)):
        for moment in get_args(Moment):
            preparing.check(number, moment)
