"""Hashes and text files of commit 7ceb7a4 mean today what they meant then. These tests need no git history."""

import json
import shutil
from pathlib import Path

import pytest

from tests.compatibility.conftest import Commands
from tests.compatibility.old_commands import PLANNED, RECORDED, hashes_in, write_labels

DATA = Path(__file__).with_name("data")
HASHES = json.loads((DATA / "planned.json").read_text())

NEW_RUNS = {"the study pretraining": 1}
"""How many runs a study has today that it did not have then."""


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("labels")
    write_labels(folder)
    return folder


def test_every_command_has_its_hashes() -> None:
    assert list(PLANNED) == list(HASHES)


@pytest.mark.parametrize("what", PLANNED)
def test_a_planned_run_keeps_its_hash(what: str, today: Commands, labels: Path) -> None:
    done = today("rsna_det.train", "-m", *PLANNED[what], "--dry-run", folder=labels)
    assert done.status == 0, done.output
    found = hashes_in(done.output)
    assert [known for known in found if known in HASHES[what]] == HASHES[what], done.output
    assert len(found) == len(HASHES[what]) + NEW_RUNS.get(what, 0), done.output


class TestRecordedStudy:
    """A study with one finished run: its description, its configuration, its result and the record of its start."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        shutil.copytree(DATA / "studies", tmp_path / "studies")
        return tmp_path

    @pytest.fixture
    def run(self, folder: Path) -> Path:
        (result,) = folder.glob("studies/negatives/*/result.json")
        (result.parent / "checkpoints").mkdir()
        # A finished run's checkpoint is not read.
        (result.parent / "checkpoints" / "last.ckpt").touch()
        return result.parent

    def test_its_run_is_known_as_finished(self, today: Commands, folder: Path, run: Path) -> None:
        done = today("rsna_det.studies", "negatives", folder=folder)
        assert done.status == 0, done.output
        assert hashes_in(done.output) == [run.name]
        assert "1 finished" in done.output

    def test_its_saved_configuration_is_read(self, today: Commands, folder: Path, run: Path) -> None:
        done = today("rsna_det.train", f"resume={run.relative_to(folder)}", folder=folder)
        assert done.status == 0, done.output
        assert "is finished: nothing to do" in done.output

    def test_the_same_command_trains_nothing(self, today: Commands, folder: Path, run: Path) -> None:
        before = {path: path.read_text() for path in run.rglob("*") if path.suffix in {".yaml", ".json"}}
        done = today("rsna_det.train", "-m", *RECORDED, folder=folder)
        assert done.status == 0, done.output
        assert [path.parent for path in folder.glob("studies/negatives/*/cell.yaml")] == [run]
        assert {path: path.read_text() for path in run.rglob("*") if path.suffix in {".yaml", ".json"}} == before
        assert not (folder / "data").exists(), "radiographs were drawn: something was about to train"
