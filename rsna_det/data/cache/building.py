"""Decodes every DICOM file once into a memory-mapped array.

A cache is a folder with the pixels (``pixels.npy``) and the index of the files they came from. It is built under a
temporary name and gets its own when it is complete; an interrupted build resumes.
"""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

from rsna_det.data.cache.array_file import cache_bytes, file_size, header, sync
from rsna_det.data.cache.decoding_pool import DecodingTask, available_cores, decode_all
from rsna_det.data.cache.index import (
    INDEX_FILE,
    PIXELS_FILE,
    Entry,
    Source,
    append_to_index,
    cache_folder,
    find_sources,
    read_index,
    write_index,
)
from rsna_det.data.cache.opening import open_cache
from rsna_det.data.cache.pixels import PREPARE_AGAIN, CacheError, PixelCache
from rsna_det.data.dicom.limits import DEFAULT_LIMITS, Limits
from rsna_det.errors import DataError, InvalidValueError
from rsna_det.files.locks import wait_for_lock

log = logging.getLogger(__name__)

# So many images are written to disk for good at a time: what a killed build loses at most.
_BLOCK = 256
# Bytes left free beside the pixels: for the index, and for other programs.
_MARGIN = 32 * 2**20

Progress = Callable[[int, int], None]


def build_cache(
    *,
    root: Path,
    cache_dir: Path,
    side: int,
    workers: int | None = None,
    limits: Limits = DEFAULT_LIMITS,
    progress: Progress | None = None,
) -> PixelCache:
    """Decode all training images below ``root``, unless there is a cache of them that is still true.

    An interrupted build resumes. Of two processes that build the same cache the second waits for the first. A finished
    cache is compared with its checksums, all of it, and built again if some of it has changed.

    Args:
        root: folder in the challenge's layout.
        cache_dir: where caches lie; made if missing.
        side: side of the squares in network pixels.
        workers: processes that decode; None for all cores that this process may use.
        limits: on each file, and which doubts are accepted.
        progress: called with (images done, images in all) whenever one more is done.

    Raises:
        CacheError: files cannot be decoded (all are listed, the others are kept), or the disk is full.
        ResourceError: several workers in succession were killed.
        MissingFileError: ``root`` holds no images.
        DicomError: ``root`` holds two images of one id.
        InvalidValueError: a number is out of range.
    """
    if side < 1 or (workers is not None and workers < 1):
        raise InvalidValueError(f"side and workers must be at least 1, got {side=}, {workers=}")
    sources = find_sources(root)
    folder = cache_folder(root=root, cache_dir=cache_dir, side=side, sources=sources)
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        with wait_for_lock(folder.with_name(f"{folder.name}.lock")):
            finished = _open_or_warn(root=root, cache_dir=cache_dir, side=side)
            if finished is not None:
                return finished
            partial = folder.with_name(f"{folder.name}.partial")
            tasks, done = _left(partial, sources=sources, side=side, limits=limits)
            _fill(partial, tasks, done=done, workers=workers or available_cores(), progress=progress)
            _replace(folder, partial)
    except OSError as error:
        remedy = "free some space or name another data.cache_dir; the same command then resumes"
        raise CacheError(f"{folder} could not be written: {error}; {remedy}") from error
    cache = open_cache(root=root, cache_dir=cache_dir, side=side)
    if cache is None:
        raise CacheError(f"{root}: radiographs were added, removed or changed while they were decoded: {PREPARE_AGAIN}")
    return cache


def _left(partial: Path, *, sources: list[Source], side: int, limits: Limits) -> tuple[list[DecodingTask], int]:
    """The files that the partial cache lacks, and how many it has."""
    done = _resume(partial, sources=sources, side=side)
    file, offset = partial / PIXELS_FILE, len(header(num_images=len(sources), side=side))
    tasks = [
        DecodingTask(source=source, row=row, side=side, file=file, offset=offset + row * side * side, limits=limits)
        for row, source in enumerate(sources)
        if source.image_id not in done
    ]
    return tasks, len(done)


def _fill(partial: Path, tasks: list[DecodingTask], *, done: int, workers: int, progress: Progress | None) -> None:
    """Decode what the partial cache lacks."""
    total = done + len(tasks)
    failures: list[str] = []
    block: list[Entry] = []
    outcomes = decode_all(tasks, workers=workers)
    try:
        for count, outcome in enumerate(outcomes, start=done + 1):
            if isinstance(outcome, Entry):
                block.append(outcome)
            else:
                failures.append(outcome)
            if len(block) == _BLOCK:
                _keep(partial, block)
            if progress is not None:
                progress(count, total)
    finally:
        outcomes.close()
        _keep(partial, block)
    if failures:
        listed = "\n  ".join(failures)
        raise CacheError(
            f"{len(failures)} of {total} radiographs cannot be decoded (the others are kept in {partial}):\n"
            f"  {listed}\nRepair or remove these files, then {PREPARE_AGAIN}"
        )


def _resume(partial: Path, *, sources: list[Source], side: int) -> dict[str, Entry]:
    """Make the partial cache ready for writing; return the entries of its rows that are still true."""
    partial.mkdir(exist_ok=True)
    pixels = partial / PIXELS_FILE
    expected = cache_bytes(num_images=len(sources), side=side)
    known = _known(partial / INDEX_FILE) if file_size(pixels) == expected else {}
    unchanged = {source.image_id for source in sources if _is_same(known.get(source.image_id), source)}
    done = {image_id: entry for image_id, entry in known.items() if image_id in unchanged}
    written = pixels.stat().st_blocks * 512 if known else 0
    needed, free = expected - written + _MARGIN, shutil.disk_usage(partial).free
    if needed > free:
        raise OSError(f"{needed / 2**30:.2f} GiB are needed and {free / 2**30:.2f} GiB are free")
    if not known:
        with pixels.open("wb") as stream:
            stream.write(header(num_images=len(sources), side=side))
            stream.truncate(expected)
    write_index(partial / INDEX_FILE, done.values())
    return done


def _known(index: Path) -> dict[str, Entry]:
    try:
        return read_index(index)
    except DataError as error:
        log.warning("decoding from the start: %s", error)
        return {}


def _keep(partial: Path, block: list[Entry]) -> None:
    """Empty the block into the index; pixels first, so that the index never promises what is not on disk."""
    if block:
        sync(partial / PIXELS_FILE)
        append_to_index(partial / INDEX_FILE, block)
        block.clear()


def _replace(folder: Path, partial: Path) -> None:
    """Give the finished cache its name; a process that still reads an older one keeps the file that it has open."""
    old = folder.with_name(f"{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    partial.rename(folder)
    sync(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def _open_or_warn(*, root: Path, cache_dir: Path, side: int) -> PixelCache | None:
    try:
        cache = open_cache(root=root, cache_dir=cache_dir, side=side)
        damaged = cache.damaged() if cache is not None else []
    except CacheError as error:
        log.warning("decoding again: %s", error)
        return None
    if cache is not None and damaged:
        log.warning(
            "decoding again: %d squares in %s have changed (the first: %s)", len(damaged), cache.file, damaged[0]
        )
        return None
    return cache


def _is_same(entry: Entry | None, source: Source) -> bool:
    return entry is not None and (entry.file_size, entry.mtime_ns) == (source.file_size, source.mtime_ns)
