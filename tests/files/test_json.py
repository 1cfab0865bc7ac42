"""Files that are read back are named when they are damaged."""

from pathlib import Path

import pytest

from rsna_det.errors import DataError, MissingFileError, StorageError
from rsna_det.files.json import read_object


def test_an_object_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"epochs": 3, "more": null}')
    assert read_object(tmp_path / "a.json", remedy="") == {"epochs": 3, "more": None}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "Expecting property name"),
        (b"", "Expecting value"),
        (b"\xda\xff", "can't decode"),
        (b"[1]", "it holds no object"),
        (b"3", "it holds no object"),
    ],
)
def test_a_damaged_one_is_named_with_the_remedy(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(DataError, match=rf"a\.json is damaged \(.*{message}.*\): train again"):
        read_object(tmp_path / "a.json", remedy="train again")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"a\.json: there is no such file"):
        read_object(tmp_path / "a.json", remedy="")
    (tmp_path / "a.json").mkdir()
    with pytest.raises(
        StorageError, match=r"a\.json cannot be read \(Is a directory\): a folder lies where the file belongs"
    ):
        read_object(tmp_path / "a.json", remedy="")
