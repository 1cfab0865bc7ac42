"""Writes a folder in the challenge's layout with drawn radiographs, so that everything can be tried without its data.

The files are real DICOM files (JPEG baseline, 8 bit) and the tables have the challenge's columns and habits: one row
per box, the class table repeating an id once per box, several images of one person.
"""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from rsna_det.data.layout import CLASS_CSV, IMAGES_DIR, LABELS_CSV
from rsna_det.data.synthetic.dicom_file import to_dicom
from rsna_det.data.synthetic.radiograph import DRAWING_VERSION, Radiograph, draw_radiograph
from rsna_det.errors import DataError, InvalidValueError, StorageError
from rsna_det.files.json import read_object

_PATIENTS_CSV = "patients.csv"
_PARAMETERS_FILE = "synthetic.json"


class SyntheticDataError(DataError):
    """A folder that holds something other than the synthetic data asked for."""


def write_synthetic(
    *, root: Path, num_images: int, side: int, seed: int, progress: Callable[[int, int], None] | None = None
) -> None:
    """Write ``num_images`` drawn radiographs of ``side`` x ``side`` pixels and their tables below ``root``.

    About 28% are "Lung Opacity", 40% "No Lung Opacity / Not Normal"; six images or more have all three categories. The
    folder gets its name only when it is complete; an existing one with the same parameters is kept.

    Args:
        root: the folder to write; its parents are made.
        num_images: at least 1.
        side: at least 32 pixels.
        seed: with an image's number it decides the drawing.
        progress: called with (images done, images in all) after each image.

    Raises:
        SyntheticDataError: ``root`` holds something else.
        InvalidValueError: a number is out of range.
        StorageError: the folder cannot be written, for instance because the disk is full.
    """
    if num_images < 1 or side < 32 or seed < 0:
        raise InvalidValueError(f"expected num_images >= 1, side >= 32, seed >= 0; got {num_images=}, {side=}, {seed=}")
    parameters = _parameters(num_images=num_images, side=side, seed=seed)
    if _is_there(root=root, parameters=parameters):
        return
    partial = root.with_name(f".{root.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        _write(folder=partial, num_images=num_images, side=side, seed=seed, progress=progress)
        (partial / _PARAMETERS_FILE).write_text(json.dumps(parameters, indent=2) + "\n", encoding="utf-8")
        partial.replace(root)
    except OSError as error:
        # Another process may have finished the same folder meanwhile.
        if not _is_there(root=root, parameters=parameters):
            raise StorageError(
                f"synthetic data could not be written: {error.strerror or error} ({root}); free some space, or name "
                "another folder with data.root"
            ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def is_drawn(*, root: Path, num_images: int, side: int, seed: int) -> bool:
    """Whether :func:`write_synthetic` would find its work done; writes nothing.

    Raises:
        SyntheticDataError: ``root`` holds something else.
    """
    return _is_there(root=root, parameters=_parameters(num_images=num_images, side=side, seed=seed))


def _parameters(*, num_images: int, side: int, seed: int) -> dict[str, int]:
    return {"num_images": num_images, "side": side, "seed": seed, "drawing_version": DRAWING_VERSION}


def _is_there(*, root: Path, parameters: dict[str, int]) -> bool:
    """Whether ``root`` is complete already; an empty folder may be written into."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    remedy = "remove that folder or name another one with data.root"
    record = root / _PARAMETERS_FILE
    if not record.is_file():
        raise SyntheticDataError(f"{root} holds no synthetic data (there is no {_PARAMETERS_FILE}): {remedy}")
    found = read_object(record, remedy=remedy)
    if found != parameters:
        raise SyntheticDataError(
            f"{root} was drawn with {_in_words(found)}; this command asks for {_in_words(parameters)}: {remedy}"
        )
    return True


def _in_words(parameters: Mapping[str, object]) -> str:
    return ", ".join(f"{name}={value}" for name, value in parameters.items())


def _write(*, folder: Path, num_images: int, side: int, seed: int, progress: Callable[[int, int], None] | None) -> None:
    images = folder / IMAGES_DIR
    images.mkdir(parents=True)
    drawn: list[Radiograph] = []
    for index in range(num_images):
        radiograph = draw_radiograph(seed=seed, index=index, side=side)
        to_dicom(radiograph).save_as(images / f"{radiograph.image_id}.dcm", enforce_file_format=True)
        drawn.append(replace(radiograph, pixels=np.zeros((0, 0), np.uint8)))
        if progress is not None:
            progress(index + 1, num_images)
    drawn.sort(key=lambda radiograph: radiograph.image_id)
    _label_table(drawn).to_csv(folder / LABELS_CSV, index=False)
    classes = [(r.image_id, r.category.label) for r in drawn for _ in range(max(1, len(r.boxes)))]
    pd.DataFrame(classes, columns=["patientId", "class"]).to_csv(folder / CLASS_CSV, index=False)
    people = [(r.image_id, r.true_patient) for r in drawn]
    pd.DataFrame(people, columns=["patientId", "true_patient"]).to_csv(folder / _PATIENTS_CSV, index=False)


def _label_table(drawn: list[Radiograph]) -> pd.DataFrame:
    nan = float("nan")
    rows: list[tuple[str, float, float, float, float, int]] = []
    for radiograph in drawn:
        for x1, y1, x2, y2 in radiograph.boxes.tolist():
            rows.append((radiograph.image_id, x1, y1, x2 - x1, y2 - y1, 1))
        if not len(radiograph.boxes):
            rows.append((radiograph.image_id, nan, nan, nan, nan, 0))
    return pd.DataFrame(rows, columns=["patientId", "x", "y", "width", "height", "Target"])
