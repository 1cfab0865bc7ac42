"""Caches are built atomically and resumably; what goes wrong is named and keeps what was decoded."""

import errno
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from rsna_det.data.cache import decoding_pool
from rsna_det.data.cache.array_file import cache_bytes
from rsna_det.data.cache.building import build_cache
from rsna_det.data.cache.decoding_pool import DecodingTask, decode
from rsna_det.data.cache.index import read_index
from rsna_det.data.cache.opening import CacheError
from rsna_det.data.cache.pixels import DicomSource, PixelCache
from rsna_det.data.dicom.reading import DicomError, find_dicoms
from rsna_det.data.layout import IMAGES_DIR
from rsna_det.files.locks import wait_for_lock
from rsna_det.files.reading import readable
from tests.data.cache.folders import build, change, files_of, opened, partial_of


def test_a_second_build_decodes_nothing(root: Path, tmp_path: Path, decoded: list[str]) -> None:
    told: list[tuple[int, int]] = []
    build(root, tmp_path, progress=lambda *counts: told.append(counts))
    assert told == [(count, 10) for count in range(1, 11)]
    assert len(decoded) == 10
    build(root, tmp_path)
    assert len(decoded) == 10


def test_several_processes_decode_the_same(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding_pool, "_WORTH_A_PROCESS", 5)
    many = build(root, tmp_path, workers=2)
    one = build_cache(root=root, cache_dir=tmp_path / "other", side=32, workers=1)
    assert many.file.read_bytes() == one.file.read_bytes()
    assert many.file.stat().st_size == cache_bytes(num_images=10, side=32)


def test_an_interrupted_build_resumes(root: Path, tmp_path: Path, decoded: list[str]) -> None:
    def stop(done: int, total: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(root, tmp_path, progress=stop)
    assert opened(root, tmp_path) is None
    first = list(decoded)
    told: list[int] = []
    cache = build(root, tmp_path, progress=lambda done, _: told.append(done))
    assert len(first) == 4
    assert sorted(decoded) == [path.stem for path in files_of(root)]
    assert told == [5, 6, 7, 8, 9, 10]
    fresh = build_cache(root=root, cache_dir=tmp_path / "fresh", side=32, workers=1)
    assert cache.file.read_bytes() == fresh.file.read_bytes()


_SLOW_BUILD = """
import sys, time
from pathlib import Path
from rsna_det.data.cache import building
building._BLOCK = 2
def tell(done, total):
    print(done, flush=True)
    time.sleep(0.05)
if __name__ == "__main__":
    building.build_cache(root=Path(sys.argv[1]), cache_dir=Path(sys.argv[2]), side=32, workers=1, progress=tell)
"""


def test_a_killed_build_resumes(root: Path, tmp_path: Path, decoded: list[str]) -> None:
    script = tmp_path / "build.py"
    script.write_text(_SLOW_BUILD)
    command = [sys.executable, str(script), str(root), str(tmp_path / "cache")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while process.stdout.readline().strip() != "5":
            assert process.poll() is None
        process.send_signal(signal.SIGKILL)
    assert opened(root, tmp_path) is None
    # Blocks of two: of five images four are kept for certain, a sixth may have followed.
    kept = set(read_index(partial_of(tmp_path) / "index.jsonl"))
    assert 4 <= len(kept) <= 6
    cache = build(root, tmp_path)
    assert kept.isdisjoint(decoded)
    assert len(kept) + len(decoded) == 10
    fresh = build_cache(root=root, cache_dir=tmp_path / "fresh", side=32, workers=1)
    assert cache.file.read_bytes() == fresh.file.read_bytes()


def test_a_half_written_line_is_decoded_again(root: Path, tmp_path: Path, decoded: list[str]) -> None:
    with pytest.raises(ZeroDivisionError):
        build(root, tmp_path, progress=lambda done, _: 1 // (3 - done))
    index = partial_of(tmp_path) / "index.jsonl"
    index.write_text(index.read_text()[:-20])
    decoded.clear()
    build(root, tmp_path)
    assert len(decoded) == 10 - 2


def test_a_damaged_partial_cache_is_decoded_from_the_start(
    root: Path, tmp_path: Path, decoded: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ZeroDivisionError):
        build(root, tmp_path, progress=lambda done, _: 1 // (3 - done))
    index = partial_of(tmp_path) / "index.jsonl"
    index.write_text("{\n" + index.read_text())
    decoded.clear()
    build(root, tmp_path)
    assert len(decoded) == 10
    assert "decoding from the start: " in caplog.text
    assert "index.jsonl is damaged" in caplog.text


def test_a_file_changed_between_two_runs_is_decoded_again(root: Path, tmp_path: Path, decoded: list[str]) -> None:
    with pytest.raises(ZeroDivisionError):
        build(root, tmp_path, progress=lambda done, _: 1 // (3 - done))
    change(files_of(root)[0])
    decoded.clear()
    build(root, tmp_path)
    assert files_of(root)[0].stem in decoded
    assert len(decoded) == 10 - 3 + 1


def test_damaged_files_do_not_stop_the_others(root: Path, tmp_path: Path, decoded: list[str]) -> None:
    bad = [files_of(root)[1], files_of(root)[6]]
    whole = [path.read_bytes() for path in bad]
    bad[0].write_bytes(whole[0][:-200] + bytes(200))
    bad[1].write_bytes(b"no DICOM".ljust(len(whole[1])))
    with pytest.raises(DicomError):
        DicomSource(paths=find_dicoms(root / IMAGES_DIR), side=32).read(bad[1].stem)
    bad[0].write_bytes(b"nor this".ljust(len(whole[0])))
    with pytest.raises(CacheError, match=r"2 of 10 radiographs cannot be decoded") as caught:
        build(root, tmp_path)
    assert all(str(path) in str(caught.value) for path in bad)
    assert opened(root, tmp_path) is None
    assert len(decoded) == 10
    for path, content in zip(bad, whole, strict=True):
        path.write_bytes(content)
    decoded.clear()
    build(root, tmp_path)
    assert decoded == [path.stem for path in bad]


def test_unreadable_file_is_listed(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: Path) -> str:
        with readable(path):
            raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(decoding_pool, "digest", denied)
    with pytest.raises(CacheError, match=r"10 of 10 .*") as caught:
        build(root, tmp_path)
    assert f"{files_of(root)[9]} cannot be read (Permission denied)" in str(caught.value)


def test_too_little_space_is_an_error_before_anything_is_decoded(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decoded: list[str]
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=2**24)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    # 10 * 1024 * 1024 bytes and 32 MiB kept free are 42 MiB = 0.04 GiB; there are 16 MiB = 0.02 GiB.
    with pytest.raises(CacheError, match=r"0\.04 GiB are needed and 0\.02 GiB are free; free some space") as caught:
        build(root, tmp_path, side=1024)
    assert "data.cache_dir" in str(caught.value)
    assert decoded == []


def test_a_disk_that_fills_up_keeps_what_was_decoded(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fills(task: DecodingTask) -> object:
        if task.row == 7:
            raise OSError(errno.ENOSPC, "No space left on device", str(task.file))
        return decode(task)

    monkeypatch.setattr(decoding_pool, "decode", fills)
    with pytest.raises(CacheError, match=r"No space left.*free some space"):
        build(root, tmp_path)
    monkeypatch.setattr(decoding_pool, "decode", decode)
    assert len(read_index(partial_of(tmp_path) / "index.jsonl")) == 7
    told: list[int] = []
    build(root, tmp_path, progress=lambda done, _: told.append(done))
    assert told == [8, 9, 10]


def test_a_limit_on_file_sizes_is_an_error_and_no_signal(root: Path, tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, before[1]))
    try:
        with pytest.raises(CacheError, match="File too large"):
            build(root, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert len(build(root, tmp_path)) == 10


def test_the_second_builder_waits_for_the_first(
    root: Path, tmp_path: Path, decoded: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    build(root, tmp_path)
    lock = next((tmp_path / "cache").glob("*.lock"))
    shutil.rmtree(lock.with_suffix(""))
    decoded.clear()
    built: list[PixelCache] = []
    builders = [threading.Thread(target=lambda: built.append(build(root, tmp_path))) for _ in range(2)]
    with caplog.at_level(logging.WARNING), wait_for_lock(lock):
        for builder in builders:
            builder.start()
        while len(caplog.records) < 2:
            time.sleep(0.01)
        assert decoded == []
    for builder in builders:
        builder.join()
    assert f"waiting for process {os.getpid()} on" in caplog.text
    # One of the two built it; the other found it.
    assert len(decoded) == 10
    assert built[0].file == built[1].file


def test_files_that_come_while_others_are_decoded(root: Path, tmp_path: Path) -> None:
    def add(done: int, total: int) -> None:
        shutil.copy2(files_of(root)[0], root / IMAGES_DIR / "late.dcm")

    with pytest.raises(CacheError, match=r"added, removed or changed while"):
        build(root, tmp_path, progress=add)


def test_wrong_arguments(root: Path, tmp_path: Path) -> None:
    for wrong in ({"side": 0}, {"workers": 0}):
        with pytest.raises(ValueError, match="at least 1"):
            build(root, tmp_path, **wrong)
    with pytest.raises(ValueError, match="at least 1"):
        DicomSource(paths={}, side=0)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        build(tmp_path / "nowhere", tmp_path)
    (tmp_path / "empty" / IMAGES_DIR).mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"holds no \.dcm file"):
        build(tmp_path / "empty", tmp_path)
