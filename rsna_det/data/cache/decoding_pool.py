"""Decodes DICOM files on several cores, each into its place in one file of pixels.

Processes and not threads: pydicom holds Python's lock for part of the work. They write the pixels themselves, so that
only a line of the index travels back. They use ordinary writes, never a memory map: on a full disk a write fails with
an error, whereas a memory map kills the process.
"""

import os
import time
import zlib
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from jaxtyping import UInt8

from rsna_det.data.cache.index import Entry, Source, digest
from rsna_det.data.cache.process_pool import ProcessPool, WorkerKilledError
from rsna_det.data.cache.resize import fit_square
from rsna_det.data.dicom.limits import DEFAULT_LIMITS, Limits
from rsna_det.data.dicom.problems import DicomError, error_of
from rsna_det.data.dicom.reading import read_radiograph
from rsna_det.errors import MissingFileError, StorageError
from rsna_det.files.names import shown

Result = TypeVar("Result")

# A process takes as long to start as it takes to decode some hundreds of radiographs.
_WORTH_A_PROCESS = 256
# Tasks handed to the processes at once: enough to keep them busy, few enough to stop soon.
_AHEAD = 512


@dataclass(frozen=True, kw_only=True)
class DecodingTask:
    """One file to decode, fitted into ``side`` network pixels and written at byte ``offset`` of ``file``."""

    source: Source
    row: int
    side: int
    file: Path
    offset: int
    limits: Limits = DEFAULT_LIMITS


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
        ResourceError: several workers in succession were killed.
    """
    workers = min(workers, -(-len(tasks) // _WORTH_A_PROCESS))
    if workers <= 1:
        yield from map(decode, tasks)
        return
    with worker_pool(workers=workers, images=len(tasks)) as pool:
        started = deque[tuple[Path, Future[Entry | str]]]()
        for task in tasks:
            started.append((task.source.path, pool.submit(decode, task)))
            if len(started) >= _AHEAD:
                yield outcome(*started.popleft())
        while started:
            yield outcome(*started.popleft())


def outcome(path: Path, future: "Future[Result]") -> Result | str:
    """What became of a file; where the worker that read it was killed, a message.

    Raises:
        ResourceError: several workers in succession were killed.
    """
    try:
        return future.result()
    except WorkerKilledError as error:
        return f"{shown(path)}: {error}"


def read_square(path: Path, side: int, *, limits: Limits = DEFAULT_LIMITS) -> Square | str:
    """Decode one file into a square of ``side`` network pixels; a damaged one yields a message, not an exception."""
    started = time.perf_counter()
    try:
        pixels, square = _square(path, side, limits)
    except DicomError as error:
        return str(error)
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
    """
    pool = ProcessPool(workers) if workers > 1 and images >= _WORTH_A_PROCESS else ThreadPoolExecutor(1)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def decode(task: DecodingTask) -> Entry | str:
    """Decode one file; a damaged one yields a message, not an exception, so that the others are decoded.

    Raises:
        OSError: the pixels cannot be written.
    """
    source = task.source
    try:
        content = digest(source.path)
        pixels, square = _square(source.path, task.side, task.limits)
    except (DicomError, MissingFileError, StorageError) as error:
        return str(error)
    written = square.tobytes()
    with task.file.open("r+b") as stream:
        stream.seek(task.offset)
        stream.write(written)
    height, width = pixels.shape
    return Entry(
        image_id=source.image_id,
        row=task.row,
        height=height,
        width=width,
        file_size=source.file_size,
        mtime_ns=source.mtime_ns,
        digest=content,
        pixels_crc32=zlib.crc32(written),
    )


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _square(path: Path, side: int, limits: Limits) -> tuple[UInt8[np.ndarray, "..."], UInt8[np.ndarray, "..."]]:
    """A radiograph, and the same fitted into the network's square."""
    pixels = read_radiograph(path, limits=limits)
    try:
        return pixels, fit_square(pixels, side)
    except MemoryError as error:
        raise error_of(path, error, found="", remedy="") from error
