"""A predicted image as a picture on disk: reads the radiograph again and draws, in a process beside the network."""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image

from rsna_det.data.dicom import read_radiograph
from rsna_det.evaluation.annotated import annotated
from rsna_det.structures import Detections


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


def draw(task: PictureTask) -> float:
    """Write a task's picture, whole or not at all.

    Returns:
        The seconds it took.

    Raises:
        DicomError: if the radiograph cannot be read.
        OSError: if the picture cannot be written.
    """
    started = time.perf_counter()
    count = len(task.scores)
    caption = [task.image_id, f"{count} {'box' if count == 1 else 'boxes'} scored above {task.cut:g}"]
    if task.p_opacity is not None:
        caption.append(f"p(opacity) {task.p_opacity:.2f}")
    if task.truths is not None:
        caption.append(f"{len(task.truths)} labelled")
    found = Detections(boxes=torch.from_numpy(task.boxes), scores=torch.from_numpy(task.scores))
    picture = annotated(read_radiograph(task.source), detections=found, truths=task.truths, caption=caption)
    partial = task.target.with_name(f"{task.target.name}.partial")
    try:
        Image.fromarray(picture).save(partial, format="PNG", compress_level=3)
        partial.replace(task.target)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    return time.perf_counter() - started
