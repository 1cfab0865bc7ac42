"""Draws predicted images into PNG files, in processes beside the network; each radiograph is read again for it."""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image

from rsna_det.data.dicom.limits import DEFAULT_LIMITS, Limits
from rsna_det.data.dicom.problems import DicomError
from rsna_det.data.dicom.reading import read_radiograph
from rsna_det.drawing.annotated import annotated
from rsna_det.files.atomic import is_disk_full, whole_file
from rsna_det.files.names import shown
from rsna_det.structures import Detections

_REMEDY = "free some space, or draw none with `pictures=false`; the same command then resumes"


@dataclass(frozen=True, kw_only=True)
class PictureTask:
    """One picture to draw.

    Attributes:
        image_id: for the caption.
        source: the DICOM file.
        target: the PNG.
        boxes: of the detections, source pixels.
        scores: of the boxes, highest first.
        truths: true boxes, source pixels; None if they are not known.
        cut: score threshold of the boxes, for the caption.
        p_opacity: probability that the image shows an opacity; None for members without the global head.
        limits: on the file, and which doubts are accepted.
    """

    image_id: str
    source: Path
    target: Path
    boxes: Float[np.ndarray, "detections 4"]
    scores: Float[np.ndarray, " detections"]
    truths: Float[np.ndarray, "truths 4"] | None
    cut: float
    p_opacity: float | None
    limits: Limits = DEFAULT_LIMITS


def draw(task: PictureTask) -> float | str:
    """Draw a picture; one that cannot be drawn gives a message, so that the others are.

    Returns:
        The seconds it took, or what is wrong.

    Raises:
        StorageError: if the disk is full; the message names the file and the remedy.
    """
    started = time.perf_counter()
    try:
        _draw(task)
    except (DicomError, OSError, MemoryError) as error:
        if is_disk_full(error):
            raise
        return f"{shown(task.source)}: its picture could not be drawn ({str(error) or 'memory ran out'})"
    return time.perf_counter() - started


def is_drawn(target: Path) -> bool:
    """Whether a picture exists; not if its name is one that no file can have."""
    try:
        return target.is_file()
    except OSError:
        return False


def _draw(task: PictureTask) -> None:
    count = len(task.scores)
    caption = [task.image_id, f"{count} {'box' if count == 1 else 'boxes'} scored above {task.cut:g}"]
    if task.p_opacity is not None:
        caption.append(f"p(opacity) {task.p_opacity:.2f}")
    if task.truths is not None:
        caption.append(f"{len(task.truths)} labelled")
    found = Detections(boxes=torch.from_numpy(task.boxes), scores=torch.from_numpy(task.scores))
    pixels = read_radiograph(task.source, limits=task.limits)
    picture = annotated(pixels, detections=found, truths=task.truths, caption=caption)
    with whole_file(task.target, remedy=_REMEDY) as partial:
        Image.fromarray(picture).save(partial, format="PNG", compress_level=3)
