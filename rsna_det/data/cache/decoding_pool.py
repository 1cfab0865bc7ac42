"""Decodes DICOM files on several cores, each into its place in one file of pixels.

Processes and not threads: pydicom holds Python's lock for part of the work. They write the pixels themselves, so that
only a line of the index travels back. They use ordinary writes, never a memory map: on a full disk a write fails with
an error, whereas a memory map kills the process.
"""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Generator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from rsna_det.data.cache.index import Entry, Source, digest
from rsna_det.data.cache.resize import fit_square
from rsna_det.data.dicom.problems import DicomError
from rsna_det.data.dicom.reading import read_radiograph
from rsna_det.errors import MissingFileError, ResourceError, StorageError

# A process takes as long to start as it takes to decode some hundreds of radiographs.
_WORTH_A_PROCESS = 256
# Tasks handed to the processes at once: enough to keep them busy, few enough to stop soon.
_AHEAD = 512
_CHUNK = 8


@dataclass(frozen=True, kw_only=True)
class DecodingTask:
    """One file to decode, fitted into ``side`` network pixels and written at byte ``offset`` of ``file``."""

    source: Source
    row: int
    side: int
    file: Path
    offset: int


@dataclass(frozen=True, kw_only=True)
class Square:
    """A radiograph fitted into the network's square; ``height`` and ``width`` in source pixels, ``seconds`` it took."""

    pixels: UInt8[np.ndarray, "side side"]
    height: int
    width: int
    seconds: float


def decode_all(tasks: Sequence[DecodingTask], *, workers: int) -> Generator[Entry | str, None, None]:
    """Yield, in the tasks' order, an entry for each decoded file or what is wrong with a damaged one.

    Raises:
        OSError: the pixels cannot be written.
        ResourceError: a worker was killed.
    """
    workers = min(workers, -(-len(tasks) // _WORTH_A_PROCESS))
    if workers <= 1:
        yield from map(decode, tasks)
        return
    with _processes(workers) as pool, _killed_workers_named(workers):
        for start in range(0, len(tasks), _AHEAD):
            yield from pool.map(decode, tasks[start : start + _AHEAD], chunksize=_CHUNK)


def read_square(path: Path, side: int) -> Square | str:
    """Decode one file into a square of ``side`` network pixels; a damaged one yields a message, not an exception."""
    started = time.perf_counter()
    try:
        pixels = read_radiograph(path)
    except DicomError as error:
        return str(error)
    square = fit_square(pixels, side)
    height, width = pixels.shape
    return Square(pixels=square, height=height, width=width, seconds=time.perf_counter() - started)


@contextmanager
def worker_pool(*, workers: int, images: int) -> Generator[Executor, None, None]:
    """Run functions of many images beside the caller: in processes, or for a few images in one thread.

    Only one thread, since silencing pydicom's warnings is not thread-safe. What has not been started is dropped when
    the caller fails or is interrupted.

    Args:
        workers: processes at most.
        images: number of images that they will work on.

    Raises:
        ResourceError: a worker was killed.
    """
    pool = _processes(workers) if workers > 1 and images >= _WORTH_A_PROCESS else ThreadPoolExecutor(1)
    try:
        with _killed_workers_named(workers):
            yield pool
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _killed_workers_named(workers: int) -> Generator[None, None, None]:
    try:
        yield
    except BrokenProcessPool as error:
        raise ResourceError(
            "a worker process was killed, most likely because memory ran out: try fewer workers "
            f"(workers=N, now {workers}); the same command resumes"
        ) from error


def decode(task: DecodingTask) -> Entry | str:
    """Decode one file; a damaged one yields a message, not an exception, so that the others are decoded.

    Raises:
        OSError: the pixels cannot be written.
    """
    source = task.source
    try:
        content = digest(source.path)
        pixels = read_radiograph(source.path)
    except (DicomError, MissingFileError, StorageError) as error:
        return str(error)
    square = fit_square(pixels, task.side)
    with task.file.open("r+b") as stream:
        stream.seek(task.offset)
        stream.write(square.tobytes())
    height, width = pixels.shape
    return Entry(
        image_id=source.image_id,
        row=task.row,
        height=height,
        width=width,
        file_size=source.file_size,
        mtime_ns=source.mtime_ns,
        digest=content,
    )


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processes(workers: int) -> ProcessPoolExecutor:
    # Spawned, since a fork copies the locks of threads that it does not copy.
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)


def _start_worker() -> None:
    """Make a worker one thread that leaves Ctrl-C to its parent and does not outlive it."""
    cv2.setNumThreads(1)
    # Ctrl-C reaches the whole process group; only the parent handles it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
