"""A file is there whole or not at all, whatever stops its writing."""

import errno
from pathlib import Path

import pytest

from rsna_det.errors import MissingFileError, StorageError
from rsna_det.files.atomic import is_disk_full, whole_file, write_text


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file that is there already."""
    path = tmp_path / "table.csv"
    write_text(path, "before\n")
    return path


def test_the_file_takes_its_place_once_it_is_whole(file: Path) -> None:
    with whole_file(file) as partial:
        partial.write_text("half")
        assert file.read_text() == "before\n"
        partial.write_text("whole")
    assert file.read_text() == "whole"
    assert list(file.parent.iterdir()) == [file]


def test_a_folder_in_its_place_is_to_be_moved(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").mkdir()
    with pytest.raises(
        StorageError, match=r"metrics\.csv could not be written .*: a folder lies where .*: move it away$"
    ):
        write_text(tmp_path / "metrics.csv", "a")


def write_half(file: Path, error: BaseException, **options: str) -> None:
    """Fail in the middle."""
    with whole_file(file, **options) as partial:
        partial.write_text("half")
        raise error


@pytest.mark.parametrize(
    "error", [ValueError("not to be written"), KeyboardInterrupt(), MissingFileError("another file")]
)
def test_what_else_goes_wrong_passes_and_leaves_nothing(file: Path, error: BaseException) -> None:
    with pytest.raises(type(error)) as raised:
        write_half(file, error)
    assert raised.value is error
    assert file.read_text() == "before\n"
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EACCES])
def test_a_disk_error_names_file_and_remedy(file: Path, number: int) -> None:
    with pytest.raises(StorageError, match=r"table\.csv could not be written \(.*why\): try elsewhere$") as raised:
        write_half(file, OSError(number, "why"), remedy="try elsewhere")
    assert is_disk_full(raised.value) == (number != errno.EACCES)
    assert file.read_text() == "before\n"
    assert list(file.parent.iterdir()) == [file]


def test_a_name_that_is_too_long_or_a_folder_that_is_not_there(tmp_path: Path) -> None:
    for path in (tmp_path / ("a" * 250), tmp_path / "nowhere" / "file"):
        with pytest.raises(StorageError, match=r"could not be written .*free some space, or check its permissions"):
            write_text(path, "text")
    assert list(tmp_path.iterdir()) == []


def test_other_errors_are_no_full_disk() -> None:
    assert not is_disk_full(None)
    assert not is_disk_full(ValueError("28"))
    assert not is_disk_full(OSError("28"))


def test_a_link_under_the_unfinished_name_is_not_written_through(tmp_path: Path) -> None:
    """Somebody's file stays as it is, and so does what a killed process left, but for its name."""
    precious = tmp_path / "precious"
    precious.write_text("precious")
    for target in (precious, tmp_path / "nowhere"):
        (tmp_path / "table.csv.partial").symlink_to(target)
        write_text(tmp_path / "table.csv", "table")
        assert (tmp_path / "table.csv").read_text() == "table"
        assert not (tmp_path / "table.csv").is_symlink()
    assert precious.read_text() == "precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["precious", "table.csv"]


def test_what_a_killed_process_left_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "table.csv.partial").write_text("a longer text, half of it written")
    with whole_file(tmp_path / "table.csv") as partial, partial.open("r+b") as file:
        assert not file.read()
        file.write(b"new")
    assert (tmp_path / "table.csv").read_text() == "new"


def test_a_folder_under_the_unfinished_name_is_named(tmp_path: Path) -> None:
    (tmp_path / "table.csv.partial").mkdir()
    with pytest.raises(StorageError, match=r"table\.csv could not be written \(.*table\.csv\.partial"):
        write_text(tmp_path / "table.csv", "table")
