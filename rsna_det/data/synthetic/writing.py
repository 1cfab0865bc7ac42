"""Writes a folder in the challenge's layout with drawn radiographs, so that everything can be tried without its data.

The files are real DICOM files (JPEG baseline, 8 bit) and the tables have the challenge's columns and habits: one row
per box, the class table repeating an id once per box, several images of one person. An image depends on ``seed``,
``side`` and its own number alone, so the first images of a large folder are those of a small one.
"""

import hashlib
import io
import json
import os
import shutil
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from jaxtyping import Float, UInt8
from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, JPEGBaseline8Bit, SecondaryCaptureImageStorage

from rsna_det.data.synthetic.anatomy import Anatomy, Frame, draw_chest, expose
from rsna_det.data.synthetic.pathology import add_abnormality, add_device, add_opacities
from rsna_det.errors import DataError
from rsna_det.structures import Category

# Raised when the same parameters draw something else, so that an older folder is not taken for a new one.
DRAWING_VERSION = 1
_PARAMETERS_FILE = "synthetic.json"
_JPEG_QUALITY = 90
_IMPLEMENTATION = UID("2.25.214710530318416374218460218834096551471")


class SyntheticDataError(DataError):
    """A folder that is in the way of the synthetic data asked for."""


@dataclass(frozen=True, kw_only=True)
class Radiograph:
    """One drawn radiograph with its labels; boxes are ``x1, y1, x2, y2`` in its own whole pixels."""

    image_id: str
    true_patient: str
    category: Category
    view: str
    sex: str
    age: int
    boxes: Float[np.ndarray, "boxes 4"]
    pixels: UInt8[np.ndarray, "side side"]


def write_synthetic(
    *, root: Path, num_images: int, side: int, seed: int, progress: Callable[[int, int], None] | None = None
) -> None:
    """Writes ``num_images`` drawn radiographs of ``side`` x ``side`` pixels and their tables below ``root``.

    About 28% are "Lung Opacity", 40% "No Lung Opacity / Not Normal"; six images or more have all three categories. The
    folder appears under its name only when it is complete; one that is there already with the same parameters is left.

    Args:
        root: the folder to write; its parents are made.
        num_images: at least 1.
        side: from 32 pixels.
        seed: what the drawings depend on, with their numbers.
        progress: called with (images done, images in all) after each image.

    Raises:
        SyntheticDataError: ``root`` holds something else.
        ValueError: a number is out of range.
        OSError: the folder cannot be written, for instance because the disk is full.
    """
    if num_images < 1 or side < 32 or seed < 0:
        raise ValueError(f"expected num_images >= 1, side >= 32, seed >= 0; got {num_images=}, {side=}, {seed=}")
    parameters = {"num_images": num_images, "side": side, "seed": seed, "drawing_version": DRAWING_VERSION}
    if _is_there(root=root, parameters=parameters):
        return
    partial = root.with_name(f".{root.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        _write(folder=partial, num_images=num_images, side=side, seed=seed, progress=progress)
        (partial / _PARAMETERS_FILE).write_text(json.dumps(parameters, indent=2) + "\n", encoding="utf-8")
        partial.replace(root)
    except OSError as error:
        # Somebody else may have finished the same folder meanwhile.
        if not _is_there(root=root, parameters=parameters):
            raise OSError(error.errno, f"synthetic data could not be written: {error.strerror}", str(root)) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def draw_radiograph(*, seed: int, index: int, side: int) -> Radiograph:
    """Draws image number ``index``: the same one for the same arguments."""
    rng = np.random.default_rng([seed, 0, index])
    person = _person(seed=seed, index=index)
    person_rng = np.random.default_rng([seed, 1, person])
    anatomy = Anatomy.draw(person_rng)
    category = _category(seed=seed, index=index)
    ill = category is not Category.NORMAL
    if ill and rng.random() < (0.30 if category is Category.ABNORMAL else 0.15):
        anatomy = replace(anatomy, heart_width=anatomy.heart_width * rng.uniform(1.3, 1.55))
    chest = draw_chest(frame=Frame.draw(side=side, rng=rng), anatomy=anatomy, rng=rng)
    if category is Category.OPACITY and rng.random() < 0.35:
        chest = replace(chest, attenuation=add_device(chest=chest, rng=rng))
    boxes, attenuation = np.zeros((0, 4), np.float32), chest.attenuation
    if category is Category.OPACITY:
        attenuation, boxes = add_opacities(chest=chest, rng=rng)
    elif category is Category.ABNORMAL:
        attenuation = add_abnormality(chest=chest, rng=rng)
    pixels = expose(attenuation, rng=rng)
    _stamp_side_marker(pixels, rng=rng)
    return Radiograph(
        image_id=str(uuid.UUID(bytes=_digest(f"image {seed} {index}"), version=4)),
        true_patient=f"{person:08d}",
        category=category,
        view="AP" if rng.random() < (0.6 if ill else 0.3) else "PA",
        sex=str(person_rng.choice(["F", "M"])),
        age=int(np.clip(person_rng.normal(48, 17), 1, 92)),
        boxes=boxes,
        pixels=pixels,
    )


def to_dicom(radiograph: Radiograph) -> FileDataset:
    """The radiograph as a DICOM data set with the challenge's attributes (Secondary Capture, JPEG baseline)."""
    side = radiograph.pixels.shape[0]
    jpeg = io.BytesIO()
    Image.fromarray(radiograph.pixels).save(jpeg, "JPEG", quality=_JPEG_QUALITY)
    study, series, instance = (_uid(f"{kind} {radiograph.image_id}") for kind in ("study", "series", "instance"))
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = SecondaryCaptureImageStorage, instance
    meta.TransferSyntaxUID, meta.ImplementationClassUID = JPEGBaseline8Bit, _IMPLEMENTATION
    dataset = FileDataset("", Dataset(), file_meta=meta, preamble=b"\0" * 128)
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.SOPClassUID, dataset.SOPInstanceUID = SecondaryCaptureImageStorage, instance
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, series
    dataset.StudyDate, dataset.StudyTime, dataset.StudyID, dataset.AccessionNumber = "19010101", "000000.00", "", ""
    dataset.Modality, dataset.ConversionType, dataset.ReferringPhysicianName = "CR", "WSD", ""
    dataset.SeriesDescription = f"view: {radiograph.view}"
    dataset.PatientName = dataset.PatientID = radiograph.image_id
    dataset.PatientBirthDate, dataset.PatientSex = "", radiograph.sex
    dataset.PatientAge = f"{radiograph.age:03d}Y"
    dataset.BodyPartExamined, dataset.ViewPosition, dataset.PatientOrientation = "CHEST", radiograph.view, ""
    dataset.SeriesNumber = dataset.InstanceNumber = 1
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows = dataset.Columns = side
    dataset.PixelSpacing = [round(0.15 * 1024 / side, 5)] * 2
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    dataset.LossyImageCompression, dataset.LossyImageCompressionMethod = "01", "ISO_10918_1"
    dataset.LossyImageCompressionRatio = round(side * side / len(jpeg.getvalue()), 2)
    dataset.PixelData = encapsulate([jpeg.getvalue()])
    return dataset


def _is_there(*, root: Path, parameters: dict[str, int]) -> bool:
    """Whether ``root`` is complete already; an empty folder may be written into."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    record = root / _PARAMETERS_FILE
    found = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else None
    if found == parameters:
        return True
    what = f"synthetic data with {found}" if found else f"no synthetic data (there is no {_PARAMETERS_FILE})"
    raise SyntheticDataError(f"{root} holds {what}, asked for {parameters}: remove that folder or name another one")


def _write(*, folder: Path, num_images: int, side: int, seed: int, progress: Callable[[int, int], None] | None) -> None:
    images = folder / "stage_2_train_images"
    images.mkdir(parents=True)
    drawn: list[Radiograph] = []
    for index in range(num_images):
        radiograph = draw_radiograph(seed=seed, index=index, side=side)
        to_dicom(radiograph).save_as(images / f"{radiograph.image_id}.dcm", enforce_file_format=True)
        drawn.append(replace(radiograph, pixels=np.zeros((0, 0), np.uint8)))
        if progress is not None:
            progress(index + 1, num_images)
    drawn.sort(key=lambda radiograph: radiograph.image_id)
    _label_table(drawn).to_csv(folder / "stage_2_train_labels.csv", index=False)
    classes = [(r.image_id, r.category.label) for r in drawn for _ in range(max(1, len(r.boxes)))]
    pd.DataFrame(classes, columns=["patientId", "class"]).to_csv(
        folder / "stage_2_detailed_class_info.csv", index=False
    )
    people = [(r.image_id, r.true_patient) for r in drawn]
    pd.DataFrame(people, columns=["patientId", "true_patient"]).to_csv(folder / "patients.csv", index=False)


def _label_table(drawn: list[Radiograph]) -> pd.DataFrame:
    nan = float("nan")
    rows: list[tuple[str, float, float, float, float, int]] = []
    for radiograph in drawn:
        for x1, y1, x2, y2 in radiograph.boxes.tolist():
            rows.append((radiograph.image_id, x1, y1, x2 - x1, y2 - y1, 1))
        if not len(radiograph.boxes):
            rows.append((radiograph.image_id, nan, nan, nan, nan, 0))
    return pd.DataFrame(rows, columns=["patientId", "x", "y", "width", "height", "Target"])


def _category(*, seed: int, index: int) -> Category:
    """Six images in a row have each category at least once; the other three are drawn to give 28%, 40% and 32%."""
    rng = np.random.default_rng([seed, 2, index // 6])
    extra = rng.choice(3, size=3, p=[0.467, 0.307, 0.226])
    return Category(int(rng.permutation([0, 1, 2, *extra])[index % 6]))


def _person(*, seed: int, index: int) -> int:
    """The number of the person in image ``index``: in a third of cases the one of the image before."""
    while index > 0 and np.random.default_rng([seed, 3, index]).random() < 0.33:
        index -= 1
    return index


def _stamp_side_marker(pixels: UInt8[np.ndarray, "side side"], *, rng: np.random.Generator) -> None:
    side = pixels.shape[0]
    corner = (int(side * rng.uniform(0.86, 0.93)), int(side * rng.uniform(0.06, 0.14)))
    cv2.putText(pixels, "L", corner, cv2.FONT_HERSHEY_SIMPLEX, side / 700, 245, max(1, side // 250), cv2.LINE_AA)


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def _uid(text: str) -> UID:
    """A valid unique identifier below the root that is reserved for UUIDs."""
    return UID(f"2.25.{uuid.UUID(bytes=_digest(text), version=4).int}")
