"""Tags about display that are not followed: refused where they say something else than what is shown."""

from collections.abc import Iterator
from pathlib import Path

from pydicom import Dataset
from pydicom.multival import MultiValue

from rsna_det.data.dicom.limits import PRESENTATION_LUT_SHAPE, Limits
from rsna_det.data.dicom.problems import dicom_error

PRESENTATION_TAGS = (
    "PresentationLUTShape",
    "PresentationLUTSequence",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)
"""What is read of a file for it."""

_INVERSE, _IDENTITY = "INVERSE", "IDENTITY"
# What an enhanced file says here, others say in the header itself (PS3.3, C.7.6.16).
_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
_DISPLAYED = ("FrameVOILUTSequence", "PixelValueTransformationSequence")


def check_presentation(path: Path, dataset: Dataset, limits: Limits) -> None:
    """Compare the tags that are not followed with what is.

    Raises:
        DicomError: a presentation LUT may exchange or change black and white, which can be accepted; or a window or
            rescale lies in the functional groups of an enhanced file.
    """
    _check_groups(path, dataset)
    if PRESENTATION_LUT_SHAPE in limits.accept:
        return
    photometric = str(dataset.PhotometricInterpretation)
    for found in _doubts(dataset, photometric):
        remedy = f"correct one of them, or follow {photometric} with `reading.accept=[{PRESENTATION_LUT_SHAPE}]`"
        raise dicom_error(path, found, remedy)


def _check_groups(path: Path, dataset: Dataset) -> None:
    for groups in _GROUPS:
        for item in dataset.get(groups) or ():
            for name in _DISPLAYED:
                if item.get(name):
                    found = f"an enhanced file whose {name} lies in its {groups}, which is not followed"
                    raise dicom_error(
                        path, found, "export it as a plain file, with its window and rescale in the header"
                    )


def _doubts(dataset: Dataset, photometric: str) -> Iterator[str]:
    """PresentationLUTShape says once more whether small values are bright (PS3.3, C.8.11.3.1.2), here or in an item."""
    expected = _INVERSE if photometric == "MONOCHROME1" else _IDENTITY
    items = list(dataset.get("PresentationLUTSequence") or ())
    if any("LUTData" in item or "LUTDescriptor" in item for item in items):
        yield f"PresentationLUTSequence holds a table beside {photometric}, so that its grey levels may be others"
    for header in (dataset, *items):
        shape = _shape(header)
        if shape in (_INVERSE, _IDENTITY) and shape != expected:
            yield f"PresentationLUTShape {shape} contradicts {photometric}, so that black and white may be exchanged"
        elif shape and shape != expected:
            yield f"PresentationLUTShape {shape} beside {photometric}; expected {expected}, or none"


def _shape(header: Dataset) -> str:
    value = header.get("PresentationLUTShape") or ""
    values = value if isinstance(value, MultiValue) else [value]
    return " and ".join(str(each).strip().upper() for each in values)
