"""What a path or a glob on the command line means."""

import sys
from pathlib import Path

import pytest

from rsna_det.errors import InvalidValueError, MissingFileError, StorageError
from rsna_det.files.paths import matching_paths


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two files of one name, and the working directory."""
    for number in ("1", "2"):
        (tmp_path / "r" / number).mkdir(parents=True)
        (tmp_path / "r" / number / "x.ckpt").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_globs_may_be_relative_or_of_any_depth(folder: Path) -> None:
    assert len(matching_paths(str(folder / "**" / "*.ckpt"), option="o")) == 2
    assert matching_paths("r/[12]/x.ckpt", option="o") == [Path("r/1/x.ckpt"), Path("r/2/x.ckpt")]


def test_a_path_that_exists_is_taken_literally(folder: Path) -> None:
    (folder / "[1]*").touch()
    assert matching_paths("[1]*", option="o") == [Path("[1]*")]
    assert matching_paths("r/1", option="o") == [Path("r/1")]


def test_what_matches_nothing_names_the_option(folder: Path) -> None:
    with pytest.raises(MissingFileError, match=r"^runs=r/3: there is no such file or folder$"):
        matching_paths("r/3", option="runs")
    with pytest.raises(MissingFileError, match=r"^runs=r/\*/y: no file or folder matches$"):
        matching_paths("r/*/y", option="runs")
    with pytest.raises(StorageError, match=r"cannot be read .File name too long"):
        matching_paths("a" * 300, option="runs")


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="from Python 3.13 on `**` may stand anywhere")
def test_a_wrong_glob_is_an_error(folder: Path) -> None:
    with pytest.raises(InvalidValueError, match=r"^runs=r/1\*\* is no glob: "):
        matching_paths("r/1**", option="runs")
