"""Which operating point an ensemble predicts at, and warnings where it may not suit."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rsna_det.errors import ConfigError
from rsna_det.evaluation.operating_point import OPERATING_POINT, OperatingPoint, read_operating_point
from rsna_det.predict.members import Member

log = logging.getLogger(__name__)

CHANGEABLE = ("cut", "nms_iou", "relative_cut", "size_rule", "size_scale", "rescale_factor")
"""Fields of an operating point that a prediction may change; the others belong to the candidates of training."""


def choose_point(
    members: Sequence[Member],
    given: OperatingPoint | Path | None = None,
    changes: Mapping[str, Any] | None = None,
) -> OperatingPoint:
    """The operating point of an ensemble, with what is to be changed of it.

    Args:
        members: of one ensemble.
        given: a point or its file; None for the files next to the checkpoints, which must agree in all but the epoch,
            or else for what the members were trained with.
        changes: values of fields in :data:`CHANGEABLE`; None for no change.

    Raises:
        ConfigError: if the files next to the checkpoints differ, or a point is for another image size.
        InvalidValueError: for a change that is out of range.
        MissingFileError: if there is no such file.
        DataError: if a file is no operating point.
    """
    changed = {name: value for name, value in (changes or {}).items() if value is not None}
    point = replace(_unchanged(members, given), **changed)
    if point.size_rule == "percentile" and len(members) == 1:
        log.warning("size_rule=percentile has no effect with one member")
    # Only an evaluation of runs records the epoch.
    if point.epoch is not None and len(members) > 1 and "cut" not in changed:
        log.warning(
            "the score threshold %g was chosen on single models and is applied to the mean of %d. Averaging shifts "
            "scores, so a threshold tuned on single models does not transfer: evaluate the prediction on labelled "
            "images (`python -m rsna_det.evaluate predictions=<out> labels=<folder>`) and set `cut=`",
            *(point.cut, len(members)),
        )
    return point


def uses_percentiles(point: OperatingPoint, *, members: int) -> bool:
    """Whether detections come from candidates with the sizes of the percentile rule, which needs several members."""
    return point.size_rule == "percentile" and members > 1


def _unchanged(members: Sequence[Member], given: OperatingPoint | Path | None) -> OperatingPoint:
    if isinstance(given, OperatingPoint):
        _check_image_size(given, "the operating point", members[0])
        return given
    beside = sorted({member.path.parent / OPERATING_POINT for member in members})
    files = [given] if given is not None else [path for path in beside if path.is_file()]
    if not files:
        return _of_training(members)
    points = {path: read_operating_point(path) for path in files}
    if given is None and len(files) < len(beside):
        log.warning("only %d of %d runs have an %s: using it for all members", len(files), len(beside), files[0].name)
    first, point = next(iter(points.items()))
    for path, other in points.items():
        _check_equal(first, replace(point, epoch=None), path, replace(other, epoch=None))
        _warn_of_other_epoch(path, other, [m for m in members if given is not None or m.path.parent == path.parent])
    _check_image_size(point, first, members[0])
    return point if len({p.epoch for p in points.values()}) == 1 else replace(point, epoch=None)


def _of_training(members: Sequence[Member]) -> OperatingPoint:
    points = [OperatingPoint.of_run(decoding=m.decoding, image_size=m.image_size) for m in members]
    for member, point in zip(members, points, strict=True):
        _check_equal(members[0].path, points[0], member.path, point)
    log.warning(
        "no %s next to the checkpoints: using the training defaults, score threshold %g, NMS IoU %g",
        *(OPERATING_POINT, points[0].cut, points[0].nms_iou),
    )
    return points[0]


def _warn_of_other_epoch(path: Path, point: OperatingPoint, members: Sequence[Member]) -> None:
    epochs = sorted({member.epoch for member in members})
    if point.epoch is not None and point.epoch not in epochs:
        log.warning(
            "%s was chosen at epoch %d, the members are from epoch %s",
            *(path, point.epoch, ", ".join(map(str, epochs))),
        )


def _check_image_size(point: OperatingPoint, name: object, member: Member) -> None:
    if point.image_size != member.image_size:
        raise ConfigError(
            f"{name} is for images of {point.image_size} px, {member.path} was trained on {member.image_size} px: "
            "give one for that size, `operating_point=<file>`"
        )


def _check_equal(path: Path, point: OperatingPoint, other_path: Path, other: OperatingPoint) -> None:
    ours, theirs = asdict(point), asdict(other)
    differing = [f"{name} is {ours[name]} and {theirs[name]}" for name in ours if ours[name] != theirs[name]]
    if differing:
        raise ConfigError(
            f"the operating points of {path} and {other_path} differ ({'; '.join(differing)}): "
            "choose one with `operating_point=<file>`"
        )
