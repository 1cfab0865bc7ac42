"""Checkpoints -> the members of an ensemble: what they were trained as, their weights, their operating point."""

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from rsna_det.boxes.decoding import DecodingSettings
from rsna_det.config.compose import build
from rsna_det.errors import ConfigError
from rsna_det.evaluation.operating_point import OPERATING_POINT, OperatingPoint, read_operating_point
from rsna_det.files.paths import matching_paths
from rsna_det.models.retinanet import MultiTaskRetinaNet
from rsna_det.runs.folder import RunFolder
from rsna_det.training.checkpoint_io import read_checkpoint

log = logging.getLogger(__name__)

_WEIGHTS = "model."


@dataclass(frozen=True, kw_only=True)
class Member:
    """One checkpoint of a detector, its weights left on disk.

    Attributes:
        path: of the checkpoint.
        name: of its experiment.
        fold: that its run validated on.
        epoch: after which it was written, from 0.
        image_size: side of the square that it was trained on, network pixels.
        levels: numbers of its pyramid's levels.
        decoding: from scored anchors to detections, as in its run.
        encoder: what builds its encoder, as plain containers.
        model: what builds the rest of it, likewise.
    """

    path: Path
    name: str
    fold: int
    epoch: int
    image_size: int
    levels: tuple[int, ...]
    decoding: DecodingSettings
    encoder: Mapping[str, Any]
    model: Mapping[str, Any]


def find_members(checkpoints: str | Sequence[str]) -> list[Member]:
    """The members that paths and globs name, sorted by path, each once.

    Raises:
        ConfigError: if members cannot be combined; naming two of them and what differs.
        FileNotFoundError: for a path or glob that matches nothing.
        OSError: for a file that is damaged or would run code.
        ValueError: for a checkpoint of something else.
    """
    places = [checkpoints] if isinstance(checkpoints, str) else list(checkpoints)
    paths = {path.resolve(): path for place in places for path in matching_paths(place, option="checkpoints")}
    members = [read_member(path) for path in sorted(paths.values())]
    if not members:
        raise ConfigError("checkpoints is empty: name one or more, `checkpoints=<file>`")
    _check_agreement(members)
    seen: dict[tuple[Path, int, int], Path] = {}
    for member in members:
        twin = seen.setdefault((member.path.parent, member.fold, member.epoch), member.path)
        if twin != member.path:
            log.warning("%s and %s are of the same run and epoch: it counts twice", twin, member.path.name)
    return members


def read_member(path: Path) -> Member:
    """What a checkpoint says of itself.

    Raises:
        FileNotFoundError: if there is no such file.
        OSError: if it is damaged or would run code.
        ValueError: if it is not a checkpoint of this package.
    """
    if path.is_dir():
        raise ValueError(f"{path} is a folder: name the checkpoints in it, `{path}/*.ckpt` for all")
    content = read_checkpoint(path)
    description: Any = content.get("rsna_det")
    try:
        _check_description(description)
        return Member(
            path=path,
            name=str(description["name"]),
            fold=int(description["fold"]),
            epoch=int(content["epoch"]),
            image_size=int(description["image_size"]),
            levels=tuple(int(level) for level in description["model"]["levels"]),
            decoding=_built(description["decoding"]),
            encoder=description["encoder"],
            model=description["model"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not a checkpoint that rsna_det.train wrote ({error})") from error


def load_model(member: Member) -> MultiTaskRetinaNet:
    """A member's network with its weights, for evaluation, on the CPU.

    Raises:
        OSError: if the checkpoint cannot be read.
        ValueError: if its weights do not fit its own description.
    """
    model: MultiTaskRetinaNet = _built(member.model, encoder=_built(member.encoder))
    state = read_checkpoint(member.path)["state_dict"]
    weights = {name.removeprefix(_WEIGHTS): value for name, value in state.items() if name.startswith(_WEIGHTS)}
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"the weights of {member.path} do not fit its own description: {error}") from error
    return model.eval().requires_grad_(requires_grad=False)


def operating_point(members: Sequence[Member], file: Path | None) -> OperatingPoint:
    """The operating point of an ensemble: of a file, else of those beside the checkpoints, else the members' own.

    Args:
        members: of one ensemble.
        file: None for the files that lie beside the checkpoints, which must agree in all but the epoch.

    Raises:
        ConfigError: if the files do not agree, or one is for another image size.
        FileNotFoundError: if there is no such file.
        ValueError: if a file is no operating point.
    """
    beside = sorted({member.path.parent / OPERATING_POINT for member in members})
    files = [file] if file is not None else [path for path in beside if path.is_file()]
    points = {path: read_operating_point(path) for path in files}
    if not points:
        return _untuned(members)
    if file is None and len(files) < len(beside):
        log.warning("only %d of %d runs have an %s: theirs is taken", len(files), len(beside), OPERATING_POINT)
    first, point = next(iter(points.items()))
    for path, other in points.items():
        _compare(first, replace(point, epoch=None), path, replace(other, epoch=None))
        of_it = [m for m in members if file is not None or m.path.parent == path.parent]
        if other.epoch is not None and other.epoch not in {m.epoch for m in of_it}:
            epochs = ", ".join(str(epoch) for epoch in sorted({m.epoch for m in of_it}))
            log.warning("%s was chosen at epoch %d, and the members are of %s", path, other.epoch, epochs)
    if point.image_size != members[0].image_size:
        raise ConfigError(
            f"{first} is for images of {point.image_size} px, {members[0].path} was trained on "
            f"{members[0].image_size} px: give the one that was chosen for it, `operating_point=<file>`"
        )
    return point if len({p.epoch for p in points.values()}) == 1 else replace(point, epoch=None)


def trained_on(member: Member, image_ids: Collection[str]) -> list[str] | None:
    """Those of the images that the member learnt from, sorted; None if its run's truth table is not there."""
    tables = RunFolder.of_checkpoint(member.path).tables
    try:
        truth = tables.truth()
    except (FileNotFoundError, ValueError) as error:
        log.info("whether %s was trained on some of the images cannot be known: %s", member.path, error)
        return None
    return sorted(set(truth.loc[truth["role"] == "train", "image_id"]) & set(image_ids))


def _built(description: Mapping[str, Any], **parts: object) -> Any:  # noqa: ANN401
    node: Any = OmegaConf.create(dict(description))
    return build(node, **parts)


def _check_description(description: object) -> None:
    """It may only build what belongs to this package."""
    if not isinstance(description, Mapping):
        raise TypeError("it does not describe a detector")
    for target in _targets(description):
        if not str(target).startswith("rsna_det."):
            raise ValueError(f"it would call {target}")


def _targets(node: object) -> Iterator[object]:
    children = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list) else ()
    for key, child in children:
        if key == "_target_":
            yield child
        yield from _targets(child)


def _check_agreement(members: Sequence[Member]) -> None:
    first = members[0]
    for member in members[1:]:
        for what, ours, theirs in (
            ("image_size", first.image_size, member.image_size),
            ("model.levels", first.levels, member.levels),
            ("decoding.score_floor", first.decoding.score_floor, member.decoding.score_floor),
            ("decoding.max_candidates", first.decoding.max_candidates, member.decoding.max_candidates),
        ):
            if ours != theirs:
                raise ConfigError(
                    f"{first.path} and {member.path} cannot be combined: {what} is {ours} in the first and {theirs} "
                    "in the second"
                )


def _untuned(members: Sequence[Member]) -> OperatingPoint:
    points = [OperatingPoint.of_run(decoding=m.decoding, image_size=m.image_size) for m in members]
    for member, point in zip(members, points, strict=True):
        _compare(members[0].path, points[0], member.path, point)
    log.warning(
        "no %s lies beside the checkpoints: cut %g and NMS IoU %g are those of their training, nothing was tuned",
        OPERATING_POINT,
        points[0].cut,
        points[0].nms_iou,
    )
    return points[0]


def _compare(path: Path, point: OperatingPoint, other_path: Path, other: OperatingPoint) -> None:
    ours, theirs = asdict(point), asdict(other)
    differing = [f"{name} is {ours[name]} and {theirs[name]}" for name in ours if ours[name] != theirs[name]]
    if differing:
        raise ConfigError(
            f"the operating points of {path} and {other_path} differ ({'; '.join(differing)}): "
            "choose one with `operating_point=<file>`"
        )
