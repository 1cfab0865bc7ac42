"""The cache: the same pixels as the files, built atomically and resumably, never silently out of date."""

import errno
import logging
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest

from rsna_det.data.cache import building, decoding_pool
from rsna_det.data.cache import index as cache_index
from rsna_det.data.cache.array_file import cache_bytes
from rsna_det.data.cache.building import build_cache
from rsna_det.data.cache.decoding_pool import DecodingTask, decode, worker_pool
from rsna_det.data.cache.index import Source, digest, find_sources, read_index
from rsna_det.data.cache.opening import CacheError, open_cache
from rsna_det.data.cache.pixels import DicomSource, PixelCache, PixelSource
from rsna_det.data.dicom.reading import DicomError, find_dicoms
from rsna_det.data.layout import IMAGES_DIR
from rsna_det.errors import ResourceError
from rsna_det.files.locks import wait_for_lock
from rsna_det.files.reading import readable


@pytest.fixture
def root(tmp_path: Path, synthetic_root: Path) -> Path:
    """Ten small radiographs that a test may change."""
    folder = tmp_path / "challenge"
    (folder / IMAGES_DIR).mkdir(parents=True)
    for path in sorted((synthetic_root / IMAGES_DIR).iterdir())[:10]:
        shutil.copy2(path, folder / IMAGES_DIR)
    return folder


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of the images that are decoded from now on, in this process."""
    ids: list[str] = []

    def spy(task: DecodingTask) -> object:
        ids.append(task.source.image_id)
        return decode(task)

    monkeypatch.setattr(decoding_pool, "decode", spy)
    return ids


def _build(root: Path, tmp_path: Path, **options: object) -> PixelCache:
    return build_cache(**({"root": root, "cache_dir": tmp_path / "cache", "side": 32, "workers": 1} | options))


def _open(root: Path, tmp_path: Path) -> PixelCache | None:
    return open_cache(root=root, cache_dir=tmp_path / "cache", side=32)


def _files(root: Path) -> list[Path]:
    return sorted((root / IMAGES_DIR).iterdir())


def _partial(tmp_path: Path) -> Path:
    return next((tmp_path / "cache").glob("*.partial"))


def _write_oblong(path: Path, pixels: np.ndarray) -> None:
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.PixelData = pixels.tobytes()
    dataset.save_as(path)


def test_cache_and_files_give_the_same_pixels(root: Path, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, size=(40, 60), dtype=np.uint8)
    _write_oblong(_files(root)[3], pixels)
    cache: PixelSource = _build(root, tmp_path)
    files: PixelSource = DicomSource(paths=find_dicoms(root / IMAGES_DIR), side=32)
    assert cache.sizes == files.sizes
    assert cache.sizes[_files(root)[3].stem] == (40, 60)
    assert cache.side == files.side == 32
    assert len(cache.sizes) == 10
    for image_id in files.sizes:
        np.testing.assert_array_equal(cache.read(image_id), files.read(image_id))
    # The oblong one, 40 high and 60 wide, fills 32 * 40 / 60 = 21.3 rows.
    assert cache.read(_files(root)[3].stem)[22:].max() == 0
    assert cache.read(_files(root)[3].stem)[:21].min(axis=1).max() > 0


def test_reads_are_read_only_views(root: Path, tmp_path: Path) -> None:
    cache = _build(root, tmp_path)
    image_id = _files(root)[0].stem
    view = cache.read(image_id)
    assert (view.shape, view.dtype, view.flags.writeable, view.flags.owndata) == ((32, 32), np.uint8, False, False)
    assert image_id in cache
    assert "nobody" not in cache
    with pytest.raises(KeyError, match=r"no image 'nobody' among 10"):
        cache.read("nobody")
    with pytest.raises(KeyError, match="no DICOM file for image 'nobody' among 0"):
        DicomSource(paths={}, side=32).read("nobody")


def test_a_worker_gets_the_cache_without_its_pixels(root: Path, tmp_path: Path) -> None:
    cache = _build(root, tmp_path)
    before = {image_id: cache.read(image_id).copy() for image_id in cache.sizes}
    content = pickle.dumps(cache)
    assert len(content) < 10 * 200 < 10 * 32 * 32
    copy = pickle.loads(content)  # noqa: S301 (our own bytes)
    for image_id, pixels in before.items():
        np.testing.assert_array_equal(copy.read(image_id), pixels)


def test_there_is_no_cache_before_one_is_built(root: Path, tmp_path: Path) -> None:
    assert _open(root, tmp_path) is None
    _build(root, tmp_path)
    assert _open(root, tmp_path) is not None
    assert open_cache(root=root, cache_dir=tmp_path / "cache", side=48) is None
    names = sorted(path.name for path in (tmp_path / "cache").iterdir())
    assert [name.rpartition(".")[2] == "lock" for name in names] == [False, True]
    assert names[0].startswith("challenge_32px_")


def test_a_second_build_decodes_nothing(root: Path, tmp_path: Path, decoded: list[str]) -> None:
    told: list[tuple[int, int]] = []
    _build(root, tmp_path, progress=lambda *counts: told.append(counts))
    assert told == [(count, 10) for count in range(1, 11)]
    assert len(decoded) == 10
    _build(root, tmp_path)
    assert len(decoded) == 10


def test_several_processes_decode_the_same(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding_pool, "_WORTH_A_PROCESS", 5)
    many = _build(root, tmp_path, workers=2)
    one = build_cache(root=root, cache_dir=tmp_path / "other", side=32, workers=1)
    assert many.file.read_bytes() == one.file.read_bytes()
    assert many.file.stat().st_size == cache_bytes(num_images=10, side=32)


def test_an_interrupted_build_resumes(root: Path, tmp_path: Path, decoded: list[str]) -> None:
    def stop(done: int, total: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _build(root, tmp_path, progress=stop)
    assert _open(root, tmp_path) is None
    first = list(decoded)
    told: list[int] = []
    cache = _build(root, tmp_path, progress=lambda done, _: told.append(done))
    assert len(first) == 4
    assert sorted(decoded) == [path.stem for path in _files(root)]
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
    assert _open(root, tmp_path) is None
    # Blocks of two: of five images four are kept for certain, a sixth may have followed.
    kept = set(read_index(_partial(tmp_path) / "index.jsonl"))
    assert 4 <= len(kept) <= 6
    cache = _build(root, tmp_path)
    assert kept.isdisjoint(decoded)
    assert len(kept) + len(decoded) == 10
    fresh = build_cache(root=root, cache_dir=tmp_path / "fresh", side=32, workers=1)
    assert cache.file.read_bytes() == fresh.file.read_bytes()


def test_a_half_written_line_is_decoded_again(root: Path, tmp_path: Path, decoded: list[str]) -> None:
    with pytest.raises(ZeroDivisionError):
        _build(root, tmp_path, progress=lambda done, _: 1 // (3 - done))
    index = _partial(tmp_path) / "index.jsonl"
    index.write_text(index.read_text()[:-20])
    decoded.clear()
    _build(root, tmp_path)
    assert len(decoded) == 10 - 2


def test_a_damaged_partial_cache_is_decoded_from_the_start(
    root: Path, tmp_path: Path, decoded: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ZeroDivisionError):
        _build(root, tmp_path, progress=lambda done, _: 1 // (3 - done))
    index = _partial(tmp_path) / "index.jsonl"
    index.write_text("{\n" + index.read_text())
    decoded.clear()
    _build(root, tmp_path)
    assert len(decoded) == 10
    assert "decoding from the start: " in caplog.text
    assert "index.jsonl is damaged" in caplog.text


def test_a_file_changed_between_two_runs_is_decoded_again(root: Path, tmp_path: Path, decoded: list[str]) -> None:
    with pytest.raises(ZeroDivisionError):
        _build(root, tmp_path, progress=lambda done, _: 1 // (3 - done))
    _change(_files(root)[0])
    decoded.clear()
    _build(root, tmp_path)
    assert _files(root)[0].stem in decoded
    assert len(decoded) == 10 - 3 + 1


def _change(path: Path) -> None:
    """Other content of the same size: the last byte of the patient's sex."""
    content = bytearray(path.read_bytes())
    place = content.index(b"CHEST")
    content[place : place + 5] = b"TORSO"
    path.write_bytes(content)
    os.utime(path, ns=(1, 1))


def test_a_changed_file_of_the_same_size_is_noticed(root: Path, tmp_path: Path, decoded: list[str]) -> None:
    _build(root, tmp_path)
    _change(_files(root)[2])
    with pytest.raises(CacheError, match=rf"{_files(root)[2].name}: changed since .*rsna_det\.prepare` again"):
        _open(root, tmp_path)
    _build(root, tmp_path)
    assert _open(root, tmp_path) is not None
    assert len(decoded) == 20
    assert not list((tmp_path / "cache").glob("*.old"))


def test_a_changed_size_is_noticed(root: Path, tmp_path: Path) -> None:
    _build(root, tmp_path)
    _write_oblong(_files(root)[5], np.full((30, 30), 9, np.uint8))
    with pytest.raises(CacheError, match=rf"{_files(root)[5].name}: changed since"):
        _open(root, tmp_path)
    assert _build(root, tmp_path).sizes[_files(root)[5].stem] == (30, 30)


def test_many_changed_files_are_counted(root: Path, tmp_path: Path) -> None:
    _build(root, tmp_path)
    for path in _files(root):
        _change(path)
    with pytest.raises(CacheError, match=r"and 5 more: changed since"):
        _open(root, tmp_path)


def test_a_touched_file_is_the_same_and_read_once(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _build(root, tmp_path)
    os.utime(_files(root)[2], ns=(1, 1))
    read: list[Path] = []
    monkeypatch.setattr(cache_index, "digest", lambda path: (read.append(path), digest(path))[1])
    assert _open(root, tmp_path) is not None
    assert _open(root, tmp_path) is not None
    assert read == [_files(root)[2]]


def test_added_and_removed_files_ask_for_another_cache(root: Path, tmp_path: Path) -> None:
    _build(root, tmp_path)
    moved = _files(root)[0].rename(tmp_path / _files(root)[0].name)
    assert _open(root, tmp_path) is None
    moved.rename(root / IMAGES_DIR / moved.name)
    assert _open(root, tmp_path) is not None
    shutil.copy2(_files(root)[0], root / IMAGES_DIR / "added.dcm")
    assert _open(root, tmp_path) is None


def test_damaged_files_do_not_stop_the_others(root: Path, tmp_path: Path, decoded: list[str]) -> None:
    bad = [_files(root)[1], _files(root)[6]]
    whole = [path.read_bytes() for path in bad]
    bad[0].write_bytes(whole[0][:-200] + bytes(200))
    bad[1].write_bytes(b"no DICOM".ljust(len(whole[1])))
    with pytest.raises(DicomError):
        DicomSource(paths=find_dicoms(root / IMAGES_DIR), side=32).read(bad[1].stem)
    bad[0].write_bytes(b"nor this".ljust(len(whole[0])))
    with pytest.raises(CacheError, match=r"2 of 10 radiographs cannot be decoded") as caught:
        _build(root, tmp_path)
    assert all(str(path) in str(caught.value) for path in bad)
    assert _open(root, tmp_path) is None
    assert len(decoded) == 10
    for path, content in zip(bad, whole, strict=True):
        path.write_bytes(content)
    decoded.clear()
    _build(root, tmp_path)
    assert decoded == [path.stem for path in bad]


def test_unreadable_file_is_listed(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: Path) -> str:
        with readable(path):
            raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(decoding_pool, "digest", denied)
    with pytest.raises(CacheError, match=r"10 of 10 .*") as caught:
        _build(root, tmp_path)
    assert f"{_files(root)[9]} cannot be read (Permission denied)" in str(caught.value)


def test_too_little_space_is_told_before_anything_is_decoded(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decoded: list[str]
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=2**24)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    # 10 * 1024 * 1024 bytes and 32 MiB kept free are 42 MiB = 0.04 GiB; there are 16 MiB = 0.02 GiB.
    with pytest.raises(CacheError, match=r"0\.04 GiB are needed and 0\.02 GiB are free; free some space") as caught:
        _build(root, tmp_path, side=1024)
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
        _build(root, tmp_path)
    monkeypatch.setattr(decoding_pool, "decode", decode)
    assert len(read_index(_partial(tmp_path) / "index.jsonl")) == 7
    told: list[int] = []
    _build(root, tmp_path, progress=lambda done, _: told.append(done))
    assert told == [8, 9, 10]


def test_a_limit_on_file_sizes_is_an_error_and_no_signal(root: Path, tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, before[1]))
    try:
        with pytest.raises(CacheError, match="File too large"):
            _build(root, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert len(_build(root, tmp_path)) == 10


@pytest.mark.parametrize("damage", ["pixels.npy", "index.jsonl"])
def test_a_damaged_cache_is_told_and_built_again(root: Path, tmp_path: Path, damage: str) -> None:
    file = _build(root, tmp_path).file.parent / damage
    file.write_bytes(file.read_bytes()[:-300])
    with pytest.raises(CacheError, match=rf"{damage} .*rsna_det\.prepare` again"):
        _open(root, tmp_path)
    assert len(_build(root, tmp_path)) == 10
    file.write_bytes(b"{}\n" * 400)
    with pytest.raises(CacheError, match=damage):
        _open(root, tmp_path)


class _Deadly(Source):
    """Kills the process that it is sent to, as the system does where memory runs out."""

    def __reduce__(self) -> tuple[Callable[[int], object], tuple[int]]:
        return os._exit, (1,)


def test_a_killed_worker_says_what_to_do(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding_pool, "_WORTH_A_PROCESS", 5)
    with monkeypatch.context() as patch:
        patch.setattr(building, "find_sources", lambda folder: [_Deadly(**vars(s)) for s in find_sources(folder)])
        with pytest.raises(ResourceError, match=r"because memory ran out: try fewer workers \(workers=N, now 2\)"):
            _build(root, tmp_path, workers=2)
    assert len(_build(root, tmp_path, workers=2)) == 10


def test_a_killed_worker_of_a_prediction_says_what_to_do() -> None:
    message = r"a worker process was killed, most likely because memory ran out: try fewer workers"
    with pytest.raises(ResourceError, match=message), worker_pool(workers=2, images=1000) as pool:
        pool.submit(os._exit, 1).result()


def test_the_second_builder_waits_for_the_first(
    root: Path, tmp_path: Path, decoded: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    _build(root, tmp_path)
    lock = next((tmp_path / "cache").glob("*.lock"))
    shutil.rmtree(lock.with_suffix(""))
    decoded.clear()
    built: list[PixelCache] = []
    builders = [threading.Thread(target=lambda: built.append(_build(root, tmp_path))) for _ in range(2)]
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
        shutil.copy2(_files(root)[0], root / IMAGES_DIR / "late.dcm")

    with pytest.raises(CacheError, match=r"added, removed or changed while"):
        _build(root, tmp_path, progress=add)


def test_wrong_arguments(root: Path, tmp_path: Path) -> None:
    for wrong in ({"side": 0}, {"workers": 0}):
        with pytest.raises(ValueError, match="at least 1"):
            _build(root, tmp_path, **wrong)
    with pytest.raises(ValueError, match="at least 1"):
        DicomSource(paths={}, side=0)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        _build(tmp_path / "nowhere", tmp_path)
    (tmp_path / "empty" / IMAGES_DIR).mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"holds no \.dcm file"):
        _build(tmp_path / "empty", tmp_path)


def test_all_cores_are_found() -> None:
    assert 1 <= decoding_pool.available_cores() <= (os.cpu_count() or 1)


def test_real_radiographs(real_data: Path, tmp_path: Path) -> None:
    root = tmp_path / "real"
    (root / IMAGES_DIR).mkdir(parents=True)
    for path in sorted((real_data / IMAGES_DIR).iterdir())[:4]:
        (root / IMAGES_DIR / path.name).symlink_to(path)
    cache = build_cache(root=root, cache_dir=tmp_path / "cache", side=256, workers=1)
    assert len(find_sources(root)) == 4
    for path in _files(root):
        frame = next(pydicom.encaps.generate_frames(pydicom.dcmread(path).PixelData, number_of_frames=1))
        plain = cv2.imdecode(np.frombuffer(frame, np.uint8), cv2.IMREAD_GRAYSCALE)
        expected = plain.reshape(256, 4, 256, 4).mean(axis=(1, 3))
        assert np.abs(cache.read(path.stem) - expected).max() <= 0.51
        assert cache.sizes[path.stem] == (1024, 1024)
