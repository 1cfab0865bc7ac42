"""Workers that decode: a killed one takes only its own file with it, and Ctrl-C ends them without a word."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rsna_det.data.cache import building, decoding_pool
from rsna_det.data.cache.decoding_pool import outcome, read_square, worker_pool
from rsna_det.data.cache.index import Source, find_sources
from rsna_det.data.cache.opening import CacheError
from rsna_det.data.dicom import reading
from rsna_det.data.layout import IMAGES_DIR
from rsna_det.errors import ResourceError
from tests.data.cache.folders import build, files_of
from tests.short_runs import interruptible


class _Deadly(Source):
    """Kills the process that it is sent to, as the system does where memory runs out."""

    def __reduce__(self) -> tuple[Callable[[int], object], tuple[int]]:
        return os._exit, (1,)


def test_a_killed_worker_loses_only_its_file(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding_pool, "_WORTH_A_PROCESS", 5)
    sources = find_sources(root)
    with monkeypatch.context() as patch:
        deadly = [_Deadly(**vars(source)) if row == 3 else source for row, source in enumerate(sources)]
        patch.setattr(building, "find_sources", lambda _: deadly)
        with pytest.raises(CacheError, match=r"1 of 10 radiographs cannot be decoded") as caught:
            build(root, tmp_path, workers=2)
    assert f"{sources[3].path}: a worker process was killed, most likely because memory ran out" in str(caught.value)
    told: list[int] = []
    cache = build(root, tmp_path, workers=1, progress=lambda done, _: told.append(done))
    assert told == [10]
    for path in files_of(root):
        square = read_square(path, 32)
        assert not isinstance(square, str)
        assert np.array_equal(cache.read(path.stem), square.pixels)


def test_workers_killed_one_after_another_say_what_to_do(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding_pool, "_WORTH_A_PROCESS", 5)
    with monkeypatch.context() as patch:
        patch.setattr(building, "find_sources", lambda folder: [_Deadly(**vars(s)) for s in find_sources(folder)])
        with pytest.raises(ResourceError, match=r"because memory ran out: try fewer workers \(workers=N, now 2\)"):
            build(root, tmp_path, workers=2)
    assert len(build(root, tmp_path, workers=2)) == 10


def test_a_killed_worker_of_a_prediction_says_what_to_do() -> None:
    message = r"a worker process was killed, most likely because memory ran out: try fewer workers"
    with pytest.raises(ResourceError, match=message), worker_pool(workers=2, images=1000) as pool:
        pool.submit(os._exit, 1).result()


def test_the_others_go_on_beside_a_killed_worker() -> None:
    with worker_pool(workers=2, images=1000) as pool:
        futures = [pool.submit(os._exit, 1) if n == 5 else pool.submit(divmod, n, 4) for n in range(12)]
        results = [outcome(Path(f"{n}.dcm"), future) for n, future in enumerate(futures)]
    assert [result for n, result in enumerate(results) if n != 5] == [divmod(n, 4) for n in range(12) if n != 5]
    assert str(results[5]).startswith("5.dcm: a worker process was killed")


def _dies_once(marker: Path) -> str:
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "alive"


def test_a_worker_killed_by_chance_loses_nothing(tmp_path: Path) -> None:
    with worker_pool(workers=2, images=1000) as pool:
        assert pool.submit(_dies_once, tmp_path / "marker").result() == "alive"


def test_memory_that_runs_out_is_that_files_problem(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = files_of(root)[0]

    def fails(*_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(decoding_pool, "fit_square", fails)
        assert str(read_square(path, 32)).startswith(
            f"{path}: it cannot be read (memory ran out); close other programs"
        )
    with monkeypatch.context() as patch:
        patch.setattr(reading, "decode_frame", fails)
        assert str(read_square(path, 32)).startswith(
            f"{path}: it cannot be read (memory ran out); close other programs"
        )


_LONG_BUILD = """
import sys
from pathlib import Path
from rsna_det.data.cache import building, decoding_pool
decoding_pool._WORTH_A_PROCESS = 5
def tell(done, total):
    print(done, flush=True)
if __name__ == "__main__":
    print("begin", flush=True)
    building.build_cache(root=Path(sys.argv[1]), cache_dir=Path(sys.argv[2]), side=64, workers=2, progress=tell)
"""


@pytest.mark.parametrize("moment", ["begin", "40"])
def test_ctrl_c_ends_the_pool_without_further_tracebacks(root: Path, tmp_path: Path, moment: str) -> None:
    """As the workers start, and while they work: only the command itself sees the interrupt."""
    images = root / IMAGES_DIR
    first = files_of(root)[0].read_bytes()
    for number in range(1500):
        (images / f"n{number}.dcm").write_bytes(first)
    script = tmp_path / "build.py"
    script.write_text(_LONG_BUILD)
    command = interruptible(str(script), str(root), str(tmp_path / "cache"))
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        while process.stdout.readline().strip() != moment:
            assert process.poll() is None
        # As they start: a spawned process needs this long to import.
        time.sleep(0.3 if moment == "begin" else 0)
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=120)
    assert process.returncode == -signal.SIGINT
    assert "InvalidStateError" not in errors
    assert errors.count("Traceback") == 1
    assert errors.rstrip().endswith("KeyboardInterrupt")


def test_all_cores_are_found() -> None:
    assert 1 <= decoding_pool.available_cores() <= (os.cpu_count() or 1)
