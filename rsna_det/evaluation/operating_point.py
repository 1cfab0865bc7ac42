"""The operating point: every number between candidates and detections, in a small file next to the checkpoints.

Evaluation chooses and writes it, prediction reads it, and both get their detections from :func:`image_detections`, so
they score the same on the same images.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import yaml
from jaxtyping import Float
from pydantic import ConfigDict, TypeAdapter, ValidationError
from torch import Tensor

from rsna_det.boxes.decoding import DecodingSettings, check_thresholds, detections
from rsna_det.boxes.geometry import scale_about_centre
from rsna_det.errors import DataError, InvalidValueError, MissingFileError
from rsna_det.evaluation.candidate_rows import CandidateRows
from rsna_det.files.atomic import write_text
from rsna_det.files.yaml import read_mapping
from rsna_det.structures import Detections

OPERATING_POINT = "operating_point.yaml"
"""The file's name, in a run's ``checkpoints`` folder and in a folder of predictions."""

LARGEST_SIDE = 8192
"""Of a square network image, network pixels."""

SIZE_RULES = ("none", "percentile", "rescale")


@dataclass(frozen=True, kw_only=True)
class OperatingPoint:
    """How candidates become detections.

    Attributes:
        image_size: side of the square network image, network pixels.
        score_floor: as in :class:`~rsna_det.boxes.decoding.DecodingSettings`.
        max_candidates: likewise.
        nms_iou: likewise.
        relative_cut: likewise.
        cut: likewise, but not below ``score_floor``.
        size_rule: ``percentile`` and ``rescale`` make boxes smaller, for a test set labelled by the consensus of
            several readers (paper, section 7); ``none`` for data labelled like the training set.
        size_scale: of the percentile rule: multiple of the members' spread that is subtracted.
        rescale_factor: of the rescale rule: factor of a box's width and height about its centre; 1 or less, since a
            larger box could reach outside its image.
        epoch: that it was chosen at; None if no epoch was chosen.

    Raises:
        InvalidValueError: for a number out of range or an unknown rule.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    image_size: int
    score_floor: float
    max_candidates: int
    nms_iou: float
    relative_cut: float
    cut: float
    size_rule: str = "none"
    size_scale: float = 1.6
    rescale_factor: float = 0.875
    epoch: int | None = None

    def __post_init__(self) -> None:
        check_thresholds(
            score_floor=self.score_floor,
            max_candidates=self.max_candidates,
            nms_iou=self.nms_iou,
            relative_cut=self.relative_cut,
            cut=self.cut,
        )
        if not 1 <= self.image_size <= LARGEST_SIDE:
            raise InvalidValueError(f"image_size is {self.image_size}; expected 1 to {LARGEST_SIDE}")
        if self.size_rule not in SIZE_RULES:
            raise InvalidValueError(f"size_rule is {self.size_rule!r}; expected one of {', '.join(SIZE_RULES)}")
        if not 0 <= self.size_scale < math.inf:
            raise InvalidValueError(f"size_scale is {self.size_scale}; expected 0 or more")
        if not 0 < self.rescale_factor <= 1:
            raise InvalidValueError(
                f"rescale_factor is {self.rescale_factor}; expected above 0 and up to 1, since a larger box could "
                "reach outside its image"
            )
        if self.epoch is not None and self.epoch < 0:
            raise InvalidValueError(f"epoch is {self.epoch}; expected 0 or more")
        if self.cut < self.score_floor:
            raise InvalidValueError(
                f"cut is {self.cut}, below the score floor of {self.score_floor}: no candidate lies in between, so "
                "choose a cut from the floor up"
            )

    @classmethod
    def of_run(cls, *, decoding: DecodingSettings, image_size: int, **changes: Any) -> "OperatingPoint":
        """The operating point of a run's own validation.

        Args:
            decoding: of the run.
            image_size: of the run, network pixels.
            changes: fields that differ, by name.

        Raises:
            InvalidValueError: as the class.
        """
        numbers: dict[str, Any] = {
            "image_size": image_size,
            "score_floor": decoding.score_floor,
            "max_candidates": decoding.max_candidates,
            "nms_iou": decoding.nms_iou,
            "relative_cut": decoding.relative_cut,
            "cut": decoding.cut,
        }
        return cls(**(numbers | changes))


def image_detections(rows: CandidateRows, point: OperatingPoint) -> list[Detections]:
    """The final boxes of every image of a candidates table, source pixels.

    Boxes are rescaled last, if the rule says so. Score floor, cap and percentile rule have acted on the candidates.
    """
    factor = point.rescale_factor if point.size_rule == "rescale" else 1.0
    numbers = {"nms_iou": point.nms_iou, "relative_cut": point.relative_cut, "cut": point.cut}
    return [resized_detections(boxes=boxes, scores=scores, **numbers, factor=factor) for boxes, scores in rows]


def resized_detections(
    *,
    boxes: Float[Tensor, "candidates 4"],
    scores: Float[Tensor, " candidates"],
    nms_iou: float,
    relative_cut: float,
    cut: float,
    factor: float,
) -> Detections:
    """The detections among one image's candidates, scaled by ``factor`` about their centres.

    Other arguments as those of :func:`~rsna_det.boxes.decoding.detections`.
    """
    final = detections(boxes=boxes, scores=scores, nms_iou=nms_iou, relative_cut=relative_cut, cut=cut)
    return final if factor == 1 else replace(final, boxes=scale_about_centre(final.boxes, factor=factor))


def write_operating_point(point: OperatingPoint, path: Path, *, evidence: Mapping[str, object]) -> None:
    """Write the file, whole or not at all.

    Args:
        point: to write.
        path: of the file.
        evidence: what it was chosen on, in plain values, for people; it is not read back.

    Raises:
        StorageError: if it cannot be written; the message names the file.
    """
    header = "# How candidates become detections; `python -m rsna_det.predict` reads it. Written by rsna_det.\n"
    text = header + yaml.safe_dump(asdict(point) | {"evidence": dict(evidence)}, sort_keys=False)
    write_text(path, text)


def read_operating_point(path: Path) -> OperatingPoint:
    """Read an operating point.

    Raises:
        MissingFileError: if there is no such file.
        DataError: if it is not one, or holds unknown keys or values out of range; the message names the file.
    """
    if not path.is_file():
        raise MissingFileError(f"there is no operating point {path}: write one with `python -m rsna_det.evaluate`")
    content = read_mapping(path, remedy=f"expected {_names()}; choose the operating point again, or remove the file")
    content.pop("evidence", None)
    try:
        point: OperatingPoint = TypeAdapter(OperatingPoint).validate_python(content)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'it'}: {e['msg']}" for e in error.errors())
        raise DataError(f"{path} is not an operating point ({wrong}); expected {_names()}") from error
    return point


def _names() -> str:
    return ", ".join(field.name for field in fields(OperatingPoint))
