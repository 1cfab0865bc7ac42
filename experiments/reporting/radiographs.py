"""Radiographs reduced for a page, read from the data folder of a run."""

import base64
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from rsna_det.data.dicom.problems import DicomError
from rsna_det.data.dicom.reading import find_dicoms, read_radiograph
from rsna_det.data.layout import IMAGES_DIR
from rsna_det.runs.folder import RunFolder

log = logging.getLogger(__name__)

SIDE = 448
"""Longer side of a radiograph on a page, in its pixels."""

_QUALITY = 82


@dataclass(frozen=True, kw_only=True)
class Thumbnail:
    """A radiograph on a page.

    Attributes:
        width: of the radiograph itself, source pixels.
        height: likewise.
        jpeg: its reduced picture, base64.
    """

    width: int
    height: int
    jpeg: str


def thumbnails(image_ids: Iterable[str], *, run: RunFolder) -> dict[str, Thumbnail]:
    """Reduced radiographs; those that cannot be read are left out with a warning.

    Args:
        image_ids: of the radiographs.
        run: whose configuration names their folder.
    """
    try:
        paths = find_dicoms(_data_root(run) / IMAGES_DIR)
    except (OSError, DicomError) as error:
        log.warning("the page has no radiographs: %s", error)
        return {}
    found = {}
    for image_id in dict.fromkeys(image_ids):
        if image_id not in paths:
            log.warning("the page lacks the radiograph %s: it is not in %s", image_id, _data_root(run))
            continue
        try:
            found[image_id] = thumbnail(read_radiograph(paths[image_id]))
        except DicomError as error:
            log.warning("the page lacks a radiograph: %s", error)
    return found


def thumbnail(image: UInt8[np.ndarray, "height width"]) -> Thumbnail:
    """Reduce and encode a radiograph; a small one stays as it is."""
    height, width = image.shape
    scale = min(1.0, SIDE / max(height, width))
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    _, jpeg = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return Thumbnail(width=width, height=height, jpeg=base64.b64encode(jpeg.tobytes()).decode("ascii"))


def _data_root(run: RunFolder) -> Path:
    return Path(str(run.options().data["root"])).expanduser()
