"""Files that are read back are named when they are damaged."""

from pathlib import Path

import pytest

from rsna_det.files.json_files import read_object


def test_an_object_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"epochs": 3, "more": null}')
    assert read_object(tmp_path / "a.json", needed=["epochs"], remedy="") == {"epochs": 3, "more": None}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "Expecting property name"),
        (b"", "Expecting value"),
        (b"\xda\xff", "can't decode"),
        (b"[1]", "it lacks epochs"),
        (b"3", "it lacks epochs"),
        (b"{}", "it lacks epochs"),
    ],
)
def test_a_damaged_one_is_named_with_the_remedy(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ValueError, match=rf"a\.json is damaged \(.*{message}.*\): train it anew"):
        read_object(tmp_path / "a.json", needed=["epochs"], remedy="train it anew")
