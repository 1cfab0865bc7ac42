"""Timing pieces of work against each other, and the peak memory of one in a process of its own."""

import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

Work = Callable[[], object]

_GIVEN_BACK = {"MALLOC_MMAP_THRESHOLD_": str(2**20), "MALLOC_TRIM_THRESHOLD_": str(2**20)}


def alternating_medians(works: list[Work], *, repeats: int) -> list[float]:
    """Median seconds of each, run in turn so that a machine that slows down slows all of them.

    Args:
        works: what to time; each is run once before, unmeasured.
        repeats: measured runs of each.
    """
    seconds: list[list[float]] = [[] for _ in works]
    for work in works:
        work()
    for _ in range(repeats):
        for taken, work in zip(seconds, works, strict=True):
            started = time.perf_counter()
            work()
            taken.append(time.perf_counter() - started)
    return [statistics.median(taken) for taken in seconds]


def peak_mebibytes(make_work: Callable[..., Work], *arguments: object, processes: int = 3) -> float:
    """Peak memory of making the work and doing it twice, without what the process holds before (Linux only).

    Median of some processes. glibc keeps freed blocks below 32 MiB for later, and how many of them depends on the
    order of all allocations; here it gives every block from 1 MiB back, so that the peak is what was in use at once.

    Args:
        make_work: as a spawned process can import it.
        arguments: of it.
        processes: that measure, one after another.
    """
    context = multiprocessing.get_context("spawn")
    peaks = []
    for _ in range(processes):
        with _environment(_GIVEN_BACK), ProcessPoolExecutor(max_workers=1, mp_context=context) as pool:
            peaks.append(pool.submit(_peak, make_work, arguments).result())
    return statistics.median(peaks)


@contextmanager
def _environment(more: dict[str, str]) -> Iterator[None]:
    """Variables of the processes that are started within the block."""
    before = {name: os.environ.get(name) for name in more}
    os.environ.update(more)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def peak_of_this_process() -> float:
    """Peak resident memory so far, MiB (Linux only)."""
    # Not getrusage's: that of a spawned process begins with its parent's.
    return _status("VmHWM")


def _peak(make_work: Callable[..., Work], arguments: tuple[object, ...]) -> float:
    # Unpickling the function imported its module, and with it all libraries.
    imported = _status("VmRSS")
    work = make_work(*arguments)
    work()
    work()
    return peak_of_this_process() - imported


def _status(name: str) -> float:
    """A number of this process, MiB."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1024
