"""Finds the cache of a folder's radiographs, as long as it is true: complete, and of files that have not changed."""

from contextlib import suppress
from pathlib import Path

from rsna_det.data.cache.array_file import cache_bytes, file_size
from rsna_det.data.cache.index import (
    INDEX_FILE,
    PIXELS_FILE,
    Entry,
    Source,
    cache_folder,
    find_changed,
    find_sources,
    folder_prefix,
    read_index,
    write_index,
)
from rsna_det.data.cache.pixels import PREPARE_AGAIN, CacheError, PixelCache
from rsna_det.errors import DataError

_SHOWN = 5


def open_cache(*, root: Path, cache_dir: Path, side: int) -> PixelCache | None:
    """The finished cache of the training images below ``root`` at ``side`` network pixels; None if there is none.

    Raises:
        CacheError: a radiograph has changed since it was decoded, or the cache is damaged.
        MissingFileError: ``root`` holds no images.
        DicomError: ``root`` holds two images of one id.
    """
    sources = find_sources(root)
    folder = cache_folder(root=root, cache_dir=cache_dir, side=side, sources=sources)
    if not folder.is_dir():
        _check_for_older(root=root, cache_dir=cache_dir, side=side, sources=sources)
        return None
    entries = _read_complete_index(folder, sources=sources)
    size, expected = file_size(folder / PIXELS_FILE), cache_bytes(num_images=len(sources), side=side)
    if size != expected:
        raise CacheError(f"{folder / PIXELS_FILE} has {size} bytes instead of {expected}: {PREPARE_AGAIN}")
    _check_unchanged(folder, entries=entries, sources=sources)
    if any(entries[source.image_id].mtime_ns != source.mtime_ns for source in sources):
        _note_new_times(folder, entries=entries, sources=sources)
    return PixelCache(
        file=folder / PIXELS_FILE,
        side=side,
        rows={entry.image_id: entry.row for entry in entries.values()},
        checksums={entry.image_id: entry.pixels_crc32 for entry in entries.values()},
        sizes={entry.image_id: (entry.height, entry.width) for entry in entries.values()},
    )


def _check_for_older(*, root: Path, cache_dir: Path, side: int, sources: list[Source]) -> None:
    """Tell a changed file from a cache that was never built: a changed size leads to another folder's name."""
    prefix = folder_prefix(root=root, side=side)
    names = sorted(path.name for path in cache_dir.iterdir()) if cache_dir.is_dir() else []
    for name in names:
        if not name.startswith(prefix) or not (cache_dir / name / INDEX_FILE).is_file() or "." in name[len(prefix) :]:
            continue
        # The cache of an older state is of no use, damaged or not.
        with suppress(DataError):
            entries = read_index(cache_dir / name / INDEX_FILE)
            if entries.keys() == {source.image_id for source in sources}:
                _check_unchanged(cache_dir / name, entries=entries, sources=sources)


def _check_unchanged(folder: Path, *, entries: dict[str, Entry], sources: list[Source]) -> None:
    changed = [str(source.path) for source in find_changed(entries, sources)]
    if changed:
        more = f" and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
        shown = ", ".join(changed[:_SHOWN])
        raise CacheError(f"{shown}{more}: changed since decoded into {folder}: {PREPARE_AGAIN}")


def _read_complete_index(folder: Path, *, sources: list[Source]) -> dict[str, Entry]:
    try:
        entries = read_index(folder / INDEX_FILE)
    except DataError as error:
        raise CacheError(f"{error}: {PREPARE_AGAIN}") from error
    rows = {source.image_id: row for row, source in enumerate(sources)}
    if {image_id: entry.row for image_id, entry in entries.items()} != rows:
        found = f"{folder / INDEX_FILE} does not list the {len(sources)} images of this cache"
        raise CacheError(f"{found}: {PREPARE_AGAIN}")
    return entries


def _note_new_times(folder: Path, *, entries: dict[str, Entry], sources: list[Source]) -> None:
    """Spare the next run from reading files that have a new time but the same content."""
    times = {source.image_id: source.mtime_ns for source in sources}
    # The cache may lie where this user cannot write; then the next run reads the files once more.
    with suppress(OSError):
        values = [entry.with_time(times[entry.image_id]) for entry in entries.values()]
        write_index(folder / INDEX_FILE, values)
