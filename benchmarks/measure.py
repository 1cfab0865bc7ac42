"""Timing two pieces of work against each other, and the peak memory of one in a process of its own."""

import multiprocessing
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

Work = Callable[[], object]


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


def peak_mebibytes(make_work: Callable[..., Work], *arguments: object) -> float:
    """Peak resident memory of a process that makes the work and does it twice: median of three (Linux only)."""
    context = multiprocessing.get_context("spawn")
    peaks = []
    for _ in range(3):
        with ProcessPoolExecutor(max_workers=1, mp_context=context) as pool:
            peaks.append(pool.submit(_peak, make_work, arguments).result())
    return statistics.median(peaks)


def peak_of_this_process() -> float:
    """Peak resident memory so far, MiB (Linux only)."""
    # Not getrusage's: that of a spawned process begins with its parent's.
    high_water = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(high_water.split()[1]) / 1024


def _peak(make_work: Callable[..., Work], arguments: tuple[object, ...]) -> float:
    work = make_work(*arguments)
    work()
    work()
    return peak_of_this_process()
