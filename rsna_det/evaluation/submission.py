"""Detections <-> the challenge's CSV, and the checks of such a file.

One row per image, ``patientId,PredictionString``; the latter is empty or has ``score x y width height`` of each box in
source pixels. Numbers have as few digits as give the same float32 back, and a width is the exact decimal difference of
its edges, so reading loses nothing and rounding never moves a box outside its image.
"""

import csv
import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from decimal import Context, Decimal
from pathlib import Path

import numpy as np
import torch

from rsna_det.errors import DataError, MissingFileError
from rsna_det.files.atomic import whole_file
from rsna_det.structures import Detections

HEADER = ["patientId", "PredictionString"]
_NUMBERS = ("score", "x", "y", "width", "height")
# The smallest float32 has 45 decimal places, so no sum or difference of coordinates is rounded.
_EXACT = Context(prec=120)


def prediction_string(detections: Detections) -> str:
    """The boxes of one image by descending score, without those that have no area."""
    parts: list[str] = []
    for box, score in zip(detections.boxes.float().cpu().numpy(), detections.scores.float().cpu().numpy(), strict=True):
        x1, y1, x2, y2 = (Decimal(_shortest(value)) for value in box)
        if x2 > x1 and y2 > y1:
            sides = _EXACT.subtract(x2, x1), _EXACT.subtract(y2, y1)
            parts += [_shortest(score), *(f"{value:f}" for value in (x1, y1, *sides))]
    return " ".join(parts)


def write_submission(detections: Mapping[str, Detections], path: Path) -> None:
    """Write one row per image, in the mapping's order; the file is whole or not there.

    Raises:
        StorageError: if it cannot be written; the message names the file.
    """
    with whole_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        writer.writerows([image_id, prediction_string(boxes)] for image_id, boxes in detections.items())


def read_submission(path: Path) -> dict[str, Detections]:
    """Image id -> its boxes in source pixels, by descending score.

    Raises:
        MissingFileError: if there is no such file.
        DataError: if it breaks a rule that can be checked on its own (see :func:`validate_submission`).
    """
    rows, problems = _rows(path)
    problems += [problem for number, image_id, text in rows for problem in _box_problems(number, image_id, text, None)]
    _raise(path, problems)
    return {image_id: _detections(text) for _, image_id, text in rows}


def validate_submission(
    path: Path, *, expected_ids: Collection[str], sizes: Mapping[str, tuple[int, int]] | None = None
) -> None:
    """Check a file against the challenge's rules.

    The header; every expected id once and no other; groups of five numbers; scores above 0 and up to 1; boxes with an
    area, inside their image if its size is known.

    Args:
        path: of the CSV.
        expected_ids: of the images.
        sizes: height and width of the images whose size is known, source pixels.

    Raises:
        MissingFileError: if there is no such file.
        DataError: listing all problems.
    """
    rows, problems = _rows(path)
    present, expected = {image_id for _, image_id, _ in rows}, set(expected_ids)
    problems += [f"row {n}: image {i!r} is not among the expected" for n, i, _ in rows if i not in expected]
    problems += [f"image {i!r} is missing" for i in sorted(expected - present)]
    for number, image_id, text in rows:
        problems += _box_problems(number, image_id, text, (sizes or {}).get(image_id))
    _raise(path, problems)


def _raise(path: Path, problems: Sequence[str]) -> None:
    if problems:
        lines = "\n".join(f"  {problem}" for problem in problems)
        raise DataError(f"{path} is not a valid submission, {len(problems)} problems:\n{lines}")


def _rows(path: Path) -> tuple[list[tuple[int, str, str]], list[str]]:
    """Line number, id and text of every row, and the problems of the file as a table."""
    if not path.is_file():
        raise MissingFileError(f"there is no submission {path}: write one with `python -m rsna_det.predict`")
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.reader(file, strict=True)
            lines = [(reader.line_num, cells) for cells in reader]
    except (csv.Error, UnicodeDecodeError) as error:
        return [], [f"not a CSV in UTF-8 ({error})"]
    if not lines or lines[0][1] != HEADER:
        return [], [f"the header is {','.join(lines[0][1]) if lines else 'missing'}; expected {','.join(HEADER)}"]
    problems = [f"row {n}: {len(cells)} cells; expected 2" for n, cells in lines[1:] if len(cells) != len(HEADER)]
    rows = [(number, cells[0], cells[1]) for number, cells in lines[1:] if len(cells) == len(HEADER)]
    counts = Counter(image_id for _, image_id, _ in rows)
    problems += [f"image {i!r} appears {count} times; expected once" for i, count in counts.items() if count > 1]
    return rows, problems


def _box_problems(number: int, image_id: str, text: str, size: tuple[int, int] | None) -> Iterator[str]:
    where = f"row {number}: image {image_id!r}"
    words = text.split()
    if len(words) % len(_NUMBERS):
        yield f"{where} has {len(words)} numbers; expected groups of five: {' '.join(_NUMBERS)}"
        return
    for start in range(0, len(words), len(_NUMBERS)):
        group = words[start : start + len(_NUMBERS)]
        wrong = [word for word in group if not _is_number(word)]
        if wrong:
            yield f"{where} has {', '.join(map(repr, wrong))}; expected finite numbers"
            continue
        yield from (f"{where}: {problem}" for problem in _wrong_with(group, size))


def _wrong_with(group: Sequence[str], size: tuple[int, int] | None) -> Iterator[str]:
    score, x, y, width, height = map(Decimal, group)
    if not 0 < score <= 1:
        yield f"score {score}; expected above 0 and up to 1"
    if not (width > 0 and height > 0):
        yield f"a box of {width} x {height}; expected a positive width and height"
    elif size is not None:
        beyond = _EXACT.add(x, width) > size[1] or _EXACT.add(y, height) > size[0]
        if beyond or x < 0 or y < 0:
            yield f"box {' '.join(group[1:])} reaches outside the image of {size[1]} x {size[0]} pixels"


def _is_number(word: str) -> bool:
    try:
        return math.isfinite(float(word))
    except ValueError:
        return False


def _shortest(value: np.float32) -> str:
    """The fewest digits that give the same float32 back, without an exponent."""
    return np.format_float_positional(value, unique=True, trim="-")


def _detections(text: str) -> Detections:
    words = text.split()
    scores = np.array(words[0::5], np.float64).astype(np.float32)
    x, y, width, height = ([Decimal(word) for word in words[i::5]] for i in range(1, 5))
    edges = [x, y, *([_EXACT.add(a, b) for a, b in zip(*pair, strict=True)] for pair in ((x, width), (y, height)))]
    boxes = np.stack([np.array([np.float32(str(value)) for value in edge], np.float32) for edge in edges], axis=1)
    order = np.argsort(-scores, kind="stable")
    return Detections(boxes=torch.from_numpy(boxes[order]), scores=torch.from_numpy(scores[order]))
