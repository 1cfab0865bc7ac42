"""A predicted image as a picture on disk: reads the radiograph again and draws, in a process beside the network."""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image

from rsna_det.data.dicom.reading import read_radiograph
from rsna_det.drawing.annotated import annotated
from rsna_det.files.atomic import is_disk_full, whole_file
from rsna_det.structures import Detections

_REMEDY = "free some space, or draw none with `pictures=false`; the same command goes on with what is finished"


@dataclass(frozen=True, kw_only=True)
class PictureTask:
    """One picture to draw.

    Attributes:
        image_id: for the caption.
        source: the DICOM file.
        target: the PNG.
        boxes: of the detections, source pixels.
        scores: of the boxes, in falling order.
        truths: true boxes in source pixels; None where they are not known.
        cut: score above which a box counts.
        p_opacity: probability that the image shows an opacity; None for members without the global head.
    """

    image_id: str
    source: Path
    target: Path
    boxes: Float[np.ndarray, "detections 4"]
    scores: Float[np.ndarray, " detections"]
    truths: Float[np.ndarray, "truths 4"] | None
    cut: float
    p_opacity: float | None


def draw(task: PictureTask) -> float | str:
    """Write a task's picture, whole or not at all; one that cannot be drawn gives a message, so that others go on.

    Returns:
        The seconds it took, or what is wrong.

    Raises:
        OSError: if the disk is full; the message names the file and the remedy.
    """
    try:
        return _draw(task)
    except OSError as error:
        if is_disk_full(error):
            raise
        return f"{task.source}: its picture could not be drawn ({error})"
    except ValueError as error:
        return f"{task.source}: its picture could not be drawn ({error})"


def is_drawn(target: Path) -> bool:
    """Whether a picture is there; one whose name no file can have is not."""
    try:
        return target.is_file()
    except OSError:
        return False


def _draw(task: PictureTask) -> float:
    started = time.perf_counter()
    count = len(task.scores)
    caption = [task.image_id, f"{count} {'box' if count == 1 else 'boxes'} scored above {task.cut:g}"]
    if task.p_opacity is not None:
        caption.append(f"p(opacity) {task.p_opacity:.2f}")
    if task.truths is not None:
        caption.append(f"{len(task.truths)} labelled")
    found = Detections(boxes=torch.from_numpy(task.boxes), scores=torch.from_numpy(task.scores))
    picture = annotated(read_radiograph(task.source), detections=found, truths=task.truths, caption=caption)
    with whole_file(task.target, remedy=_REMEDY) as partial:
        Image.fromarray(picture).save(partial, format="PNG", compress_level=3)
    return time.perf_counter() - started
