"""A cache is found as long as it is true, and never silently out of date."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from rsna_det.data.cache import index as cache_index
from rsna_det.data.cache.index import digest
from rsna_det.data.cache.opening import CacheError, open_cache
from rsna_det.data.dicom.limits import Limits
from rsna_det.data.layout import IMAGES_DIR
from tests.data.cache.folders import build, change, files_of, opened, write_oblong


def test_there_is_no_cache_before_one_is_built(root: Path, tmp_path: Path) -> None:
    assert opened(root, tmp_path) is None
    build(root, tmp_path)
    assert opened(root, tmp_path) is not None
    assert open_cache(root=root, cache_dir=tmp_path / "cache", side=48) is None
    names = sorted(path.name for path in (tmp_path / "cache").iterdir())
    assert [name.rpartition(".")[2] == "lock" for name in names] == [False, True]
    assert names[0].startswith("challenge_32px_")


def test_a_changed_file_of_the_same_size_is_noticed(root: Path, tmp_path: Path, decoded: list[str]) -> None:
    build(root, tmp_path)
    change(files_of(root)[2])
    with pytest.raises(CacheError, match=rf"{files_of(root)[2].name}: changed since .*rsna_det\.prepare` again"):
        opened(root, tmp_path)
    build(root, tmp_path)
    assert opened(root, tmp_path) is not None
    assert len(decoded) == 20
    assert not list((tmp_path / "cache").glob("*.old"))


def test_a_changed_size_is_noticed(root: Path, tmp_path: Path) -> None:
    build(root, tmp_path)
    write_oblong(files_of(root)[5], np.eye(30, dtype=np.uint8))
    with pytest.raises(CacheError, match=rf"{files_of(root)[5].name}: changed since"):
        opened(root, tmp_path)
    assert build(root, tmp_path).sizes[files_of(root)[5].stem] == (30, 30)


def test_many_changed_files_are_counted(root: Path, tmp_path: Path) -> None:
    build(root, tmp_path)
    for path in files_of(root):
        change(path)
    with pytest.raises(CacheError, match=r"and 5 more: changed since"):
        opened(root, tmp_path)


def test_a_touched_file_is_the_same_and_read_once(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(root, tmp_path)
    os.utime(files_of(root)[2], ns=(1, 1))
    read: list[Path] = []
    monkeypatch.setattr(cache_index, "digest", lambda path: (read.append(path), digest(path))[1])
    assert opened(root, tmp_path) is not None
    assert opened(root, tmp_path) is not None
    assert read == [files_of(root)[2]]


def test_added_and_removed_files_ask_for_another_cache(root: Path, tmp_path: Path) -> None:
    build(root, tmp_path)
    moved = files_of(root)[0].rename(tmp_path / files_of(root)[0].name)
    assert opened(root, tmp_path) is None
    moved.rename(root / IMAGES_DIR / moved.name)
    assert opened(root, tmp_path) is not None
    shutil.copy2(files_of(root)[0], root / IMAGES_DIR / "added.dcm")
    assert opened(root, tmp_path) is None


@pytest.mark.parametrize("damage", ["pixels.npy", "index.jsonl"])
def test_a_damaged_cache_is_named_and_built_again(root: Path, tmp_path: Path, damage: str) -> None:
    file = build(root, tmp_path).file.parent / damage
    file.write_bytes(file.read_bytes()[:-300])
    with pytest.raises(CacheError, match=rf"{damage} .*rsna_det\.prepare` again"):
        opened(root, tmp_path)
    assert len(build(root, tmp_path)) == 10
    file.write_bytes(b"{}\n" * 400)
    with pytest.raises(CacheError, match=damage):
        opened(root, tmp_path)


@pytest.mark.parametrize("bit", [0, 7])
@pytest.mark.parametrize("place", [0.02, 0.5, 0.999])
def test_a_flipped_bit_of_the_pixels_is_found_and_mended(root: Path, tmp_path: Path, place: float, bit: int) -> None:
    cache = build(root, tmp_path)
    sound = {image_id: cache.read(image_id).copy() for image_id in cache.sizes}
    content = bytearray(cache.file.read_bytes())
    content[int(place * len(content))] ^= 1 << bit
    cache.file.write_bytes(content)
    damaged = opened(root, tmp_path)
    assert damaged is not None
    wrong = damaged.damaged()
    for image_id in damaged.sizes:
        if image_id in wrong:
            with pytest.raises(CacheError, match=rf"the pixels of {image_id} in .*rsna_det\.prepare` again"):
                damaged.read(image_id)
        else:
            np.testing.assert_array_equal(damaged.read(image_id), sound[image_id])
    assert len(wrong) == 1
    mended = build(root, tmp_path)
    for image_id, pixels in sound.items():
        np.testing.assert_array_equal(mended.read(image_id), pixels)


def test_no_flipped_bit_of_the_index_passes(root: Path, tmp_path: Path) -> None:
    cache = build(root, tmp_path)
    index = cache.file.parent / "index.jsonl"
    content = index.read_bytes()
    sizes = dict(cache.sizes)
    for place in range(0, len(content), 29):
        index.write_bytes(content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :])
        # A digit of a time that was changed is found as well: nothing of a line can change.
        with pytest.raises(CacheError, match=r"index\.jsonl.*rsna_det\.prepare` again"):
            opened(root, tmp_path)
    index.write_bytes(content)
    again = opened(root, tmp_path)
    assert again is not None
    assert dict(again.sizes) == sizes


def test_a_damaged_head_of_the_pixels_is_named(root: Path, tmp_path: Path) -> None:
    cache = build(root, tmp_path)
    content = bytearray(cache.file.read_bytes())
    place = content.index(b"(10, 32, 32)")
    content[place : place + 12] = b"(10, 16, 64)"
    cache.file.write_bytes(content)
    damaged = opened(root, tmp_path)
    assert damaged is not None
    with pytest.raises(CacheError, match=r"pixels\.npy does not begin or end as it was written.*prepare` again"):
        damaged.read(files_of(root)[0].stem)
    assert len(build(root, tmp_path)) == 10
    assert build(root, tmp_path).damaged() == []


def test_a_cache_without_checksums_is_built_again(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(cache_index, "DECODER_VERSION", 1)
        old = build(root, tmp_path).file.parent
    assert opened(root, tmp_path) is None
    new = build(root, tmp_path)
    assert new.file.parent != old
    assert new.damaged() == []


def test_accepted_doubts_are_cached(root: Path, tmp_path: Path) -> None:
    write_oblong(files_of(root)[5], np.full((30, 30), 9, np.uint8))
    with pytest.raises(CacheError, match=r"1 of 10 .*\n.*same grey level, 9.*reading\.accept=\[one_grey_level\]"):
        build(root, tmp_path)
    cache = build(root, tmp_path, limits=Limits(accept=frozenset({"one_grey_level"})))
    assert cache.read(files_of(root)[5].stem).max() == 9
