"""Folders are visited once, through links as well, and links in a circle come to an end."""

import os
from pathlib import Path

import pytest

from rsna_det.files.paths import matching_paths
from rsna_det.files.walking import walk


def visited(root: Path) -> list[str]:
    return [str(folder.path.relative_to(root)) for folder in walk(root) if folder.same_as is None and not folder.error]


def files(root: Path) -> list[str]:
    return [str((folder.path / name).relative_to(root)) for folder in walk(root) for name in folder.files]


def test_links_to_folders_are_entered_after_real_folders(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "deep").mkdir(parents=True)
    (elsewhere / "deep" / "x").touch()
    root = tmp_path / "root"
    (root / "z").mkdir(parents=True)
    (root / "z" / "y").touch()
    (root / "a").symlink_to(elsewhere)
    (root / "b").symlink_to(root / "z")
    assert visited(root) == [".", "z", "a", "a/deep"]
    assert files(root) == ["z/y", "a/deep/x"]
    assert [folder.same_as for folder in walk(root) if folder.same_as] == [root / "z"]


def test_circles_come_to_an_end(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for number in range(20):
        (tmp_path / "a" / f"up{number}").symlink_to(tmp_path)
    (tmp_path / "a" / "x.ckpt").touch()
    (tmp_path / "self").symlink_to(tmp_path / "self")
    assert visited(tmp_path) == [".", "a"]
    assert files(tmp_path) == ["self", "a/x.ckpt"]
    assert matching_paths(str(tmp_path / "**" / "*.ckpt"), option="o") == [tmp_path / "a" / "x.ckpt"]


def test_any_depth_goes_through_links(tmp_path: Path) -> None:
    (tmp_path / "far" / "checkpoints").mkdir(parents=True)
    (tmp_path / "far" / "checkpoints" / "best.ckpt").touch()
    (tmp_path / "runs" / "near" / "checkpoints").mkdir(parents=True)
    (tmp_path / "runs" / "near" / "checkpoints" / "best.ckpt").touch()
    (tmp_path / "runs" / "linked").symlink_to(tmp_path / "far")
    found = matching_paths(str(tmp_path / "runs" / "**" / "checkpoints" / "*.ckpt"), option="o")
    assert [str(path.relative_to(tmp_path)) for path in found] == [
        "runs/linked/checkpoints/best.ckpt",
        "runs/near/checkpoints/best.ckpt",
    ]
    assert matching_paths(str(tmp_path / "far" / "**"), option="o") == [tmp_path / "far", tmp_path / "far/checkpoints"]


def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "closed").mkdir()
    (tmp_path / "open").mkdir()
    scan = os.scandir

    def denied(path: Path) -> object:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", denied)
    assert [(folder.path.name, folder.error is not None) for folder in walk(tmp_path)][1:] == [
        ("closed", True),
        ("open", False),
    ]
