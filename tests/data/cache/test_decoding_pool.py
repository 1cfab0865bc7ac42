"""Workers that decode: what a killed one says."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from rsna_det.data.cache import building, decoding_pool
from rsna_det.data.cache.decoding_pool import worker_pool
from rsna_det.data.cache.index import Source, find_sources
from rsna_det.errors import ResourceError
from tests.data.cache.folders import build


class _Deadly(Source):
    """Kills the process that it is sent to, as the system does where memory runs out."""

    def __reduce__(self) -> tuple[Callable[[int], object], tuple[int]]:
        return os._exit, (1,)


def test_a_killed_worker_says_what_to_do(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_all_cores_are_found() -> None:
    assert 1 <= decoding_pool.available_cores() <= (os.cpu_count() or 1)
