"""Decodes every DICOM file once into a memory-mapped array, and finds that array again as long as it is true.

A cache is a folder with the pixels (``pixels.npy``) and the index of the files they came from. It is built under a
temporary name, goes on where a killed run stopped, and gets its own name when it is complete.
"""

import io
import logging
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

from rsna_det.data.cache.decoding_pool import DecodingPoolError, DecodingTask, available_cores, decode_all
from rsna_det.data.cache.index import (
    INDEX_FILE,
    PIXELS_FILE,
    Entry,
    Source,
    append_to_index,
    cache_folder,
    find_changed,
    find_sources,
    folder_prefix,
    read_index,
    write_index,
)
from rsna_det.data.cache.pixels import PixelCache
from rsna_det.errors import ResourceError
from rsna_det.files.locks import wait_for_lock

_LOG = logging.getLogger(__name__)
_REMEDY = "run `python -m rsna_det.prepare` again"
# So many images are written to disk for good at a time: what a killed run loses at most.
_BLOCK = 256
# Bytes left free beside the pixels: for the index, and for whoever else writes.
_MARGIN = 32 * 2**20
_SHOWN = 5

Progress = Callable[[int, int], None]


class CacheError(ResourceError):
    """What keeps a cache from being built or used; the message names the files and the remedy."""


def cache_bytes(*, num_images: int, side: int) -> int:
    """Bytes that the pixels of a cache take on disk."""
    return len(_header(num_images=num_images, side=side)) + num_images * side * side


def open_cache(*, root: Path, cache_dir: Path, side: int) -> PixelCache | None:
    """The finished cache of the training images below ``root`` at ``side`` network pixels; None when there is none.

    Raises:
        CacheError: a radiograph has changed since it was decoded, or the cache is damaged.
        DicomError, FileNotFoundError: ``root`` holds no images, or two of one id.
    """
    sources = find_sources(root)
    folder = cache_folder(root=root, cache_dir=cache_dir, side=side, sources=sources)
    if not folder.is_dir():
        _check_for_older(root=root, cache_dir=cache_dir, side=side, sources=sources)
        return None
    entries = _read_complete_index(folder, sources=sources)
    size, expected = _file_size(folder / PIXELS_FILE), cache_bytes(num_images=len(sources), side=side)
    if size != expected:
        raise CacheError(f"{folder / PIXELS_FILE} has {size} bytes instead of {expected}: {_REMEDY}")
    _check_unchanged(folder, entries=entries, sources=sources)
    if any(entries[source.image_id].mtime_ns != source.mtime_ns for source in sources):
        _note_new_times(folder, entries=entries, sources=sources)
    return PixelCache(
        file=folder / PIXELS_FILE,
        side=side,
        rows={entry.image_id: entry.row for entry in entries.values()},
        sizes={entry.image_id: (entry.height, entry.width) for entry in entries.values()},
    )


def build_cache(
    *, root: Path, cache_dir: Path, side: int, workers: int | None = None, progress: Progress | None = None
) -> PixelCache:
    """Decodes all training images below ``root``, unless there is a cache of them that is still true.

    A run that was stopped is gone on with. Of two runs that build the same cache the second waits for the first.

    Args:
        root: folder in the challenge's layout.
        cache_dir: where caches lie; made when missing.
        side: side of the squares in network pixels.
        workers: processes that decode; None for all cores this process may use.
        progress: called with (images done, images in all) whenever one more is done.

    Raises:
        CacheError: files cannot be decoded (all are listed, the others are kept), or the disk is full.
        DicomError, FileNotFoundError: ``root`` holds no images, or two of one id.
        ValueError: a number is out of range.
    """
    if side < 1 or (workers is not None and workers < 1):
        raise ValueError(f"side and workers must be at least 1, got {side=}, {workers=}")
    sources = find_sources(root)
    folder = cache_folder(root=root, cache_dir=cache_dir, side=side, sources=sources)
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        with wait_for_lock(folder.with_name(f"{folder.name}.lock")):
            finished = _open_or_warn(root=root, cache_dir=cache_dir, side=side)
            if finished is not None:
                return finished
            partial = folder.with_name(f"{folder.name}.partial")
            _fill(partial, sources=sources, side=side, workers=workers or available_cores(), progress=progress)
            _replace(folder, partial)
    except (OSError, DecodingPoolError) as error:
        remedy = "free some space or name another data.cache_dir, then start again: it goes on where it stopped"
        raise CacheError(f"{folder} could not be written: {error}; {remedy}") from error
    cache = open_cache(root=root, cache_dir=cache_dir, side=side)
    if cache is None:
        raise CacheError(f"{root}: radiographs were added, removed or changed while they were decoded: {_REMEDY}")
    return cache


def _fill(partial: Path, *, sources: list[Source], side: int, workers: int, progress: Progress | None) -> None:
    """Decodes what the partial cache lacks."""
    done = _resume(partial, sources=sources, side=side)
    offset = len(_header(num_images=len(sources), side=side))
    tasks = [
        DecodingTask(source=source, row=row, side=side, file=partial / PIXELS_FILE, offset=offset + row * side * side)
        for row, source in enumerate(sources)
        if source.image_id not in done
    ]
    failures: list[str] = []
    block: list[Entry] = []
    outcomes = decode_all(tasks, workers=workers)
    try:
        for count, outcome in enumerate(outcomes, start=len(done) + 1):
            if isinstance(outcome, Entry):
                block.append(outcome)
            else:
                failures.append(outcome)
            if len(block) == _BLOCK:
                _keep(partial, block)
            if progress is not None:
                progress(count, len(sources))
    finally:
        outcomes.close()
        _keep(partial, block)
    if failures:
        listed = "\n  ".join(failures)
        raise CacheError(
            f"{len(failures)} of {len(sources)} radiographs cannot be decoded (the others are kept, {partial}):\n"
            f"  {listed}\nMend or remove these files, then {_REMEDY}"
        )


def _resume(partial: Path, *, sources: list[Source], side: int) -> dict[str, Entry]:
    """Makes the partial cache ready for writing; returns the entries of the rows in it that are still true."""
    partial.mkdir(exist_ok=True)
    pixels = partial / PIXELS_FILE
    expected = cache_bytes(num_images=len(sources), side=side)
    known = read_index(partial / INDEX_FILE) if _file_size(pixels) == expected else {}
    unchanged = {source.image_id for source in sources if _is_same(known.get(source.image_id), source)}
    done = {image_id: entry for image_id, entry in known.items() if image_id in unchanged}
    written = pixels.stat().st_blocks * 512 if known else 0
    needed, free = expected - written + _MARGIN, shutil.disk_usage(partial).free
    if needed > free:
        raise OSError(f"{needed / 2**30:.2f} GiB are needed and {free / 2**30:.2f} GiB are free")
    if not known:
        with pixels.open("wb") as stream:
            stream.write(_header(num_images=len(sources), side=side))
            stream.truncate(expected)
    write_index(partial / INDEX_FILE, done.values())
    return done


def _keep(partial: Path, block: list[Entry]) -> None:
    """Empties the block into the index; pixels first, so that the index never promises what is not on disk."""
    if block:
        _sync(partial / PIXELS_FILE)
        append_to_index(partial / INDEX_FILE, block)
        block.clear()


def _replace(folder: Path, partial: Path) -> None:
    """Gives the finished cache its name; whoever still reads one of that name keeps the file that it has open."""
    old = folder.with_name(f"{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    partial.rename(folder)
    _sync(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def _open_or_warn(*, root: Path, cache_dir: Path, side: int) -> PixelCache | None:
    try:
        return open_cache(root=root, cache_dir=cache_dir, side=side)
    except CacheError as error:
        _LOG.warning("decoding anew: %s", error)
        return None


def _check_for_older(*, root: Path, cache_dir: Path, side: int, sources: list[Source]) -> None:
    """Tells a changed file from a cache that was never built: a changed size leads to another folder's name."""
    prefix = folder_prefix(root=root, side=side)
    names = sorted(path.name for path in cache_dir.iterdir()) if cache_dir.is_dir() else []
    for name in names:
        if not name.startswith(prefix) or not (cache_dir / name / INDEX_FILE).is_file() or "." in name[len(prefix) :]:
            continue
        entries = read_index(cache_dir / name / INDEX_FILE)
        if entries.keys() == {source.image_id for source in sources}:
            _check_unchanged(cache_dir / name, entries=entries, sources=sources)


def _check_unchanged(folder: Path, *, entries: dict[str, Entry], sources: list[Source]) -> None:
    changed = [str(source.path) for source in find_changed(entries, sources)]
    if changed:
        more = f" and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
        shown = ", ".join(changed[:_SHOWN])
        raise CacheError(f"{shown}{more}: changed since decoded into {folder}: {_REMEDY}")


def _read_complete_index(folder: Path, *, sources: list[Source]) -> dict[str, Entry]:
    try:
        entries = read_index(folder / INDEX_FILE)
    except (ValueError, TypeError) as error:
        raise CacheError(f"{folder / INDEX_FILE} is damaged ({error}): {_REMEDY}") from error
    rows = {source.image_id: row for row, source in enumerate(sources)}
    if {image_id: entry.row for image_id, entry in entries.items()} != rows:
        raise CacheError(f"{folder / INDEX_FILE} does not list the {len(sources)} images of this cache: {_REMEDY}")
    return entries


def _note_new_times(folder: Path, *, entries: dict[str, Entry], sources: list[Source]) -> None:
    """Spares the next run from reading files that have a new time and the same content."""
    times = {source.image_id: source.mtime_ns for source in sources}
    # The cache may lie where this user cannot write; then the next run reads the files once more.
    with suppress(OSError):
        values = [entry.with_time(times[entry.image_id]) for entry in entries.values()]
        write_index(folder / INDEX_FILE, values)


def _header(*, num_images: int, side: int) -> bytes:
    stream = io.BytesIO()
    fields = {"descr": "|u1", "fortran_order": False, "shape": (num_images, side, side)}
    np.lib.format.write_array_header_1_0(stream, fields)
    return stream.getvalue()


def _is_same(entry: Entry | None, source: Source) -> bool:
    return entry is not None and (entry.file_size, entry.mtime_ns) == (source.file_size, source.mtime_ns)


def _file_size(file: Path) -> int:
    return file.stat().st_size if file.is_file() else -1


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
