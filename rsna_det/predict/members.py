"""Checkpoints -> the members of an ensemble: how each was trained, and its network."""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rsna_det.boxes.decoding import DecodingSettings
from rsna_det.config.plain import Number, shown_value
from rsna_det.errors import ConfigError, DataError, MissingFileError, StorageError
from rsna_det.files.names import shown
from rsna_det.files.paths import matching_paths, place_of
from rsna_det.files.reading import readable
from rsna_det.models.retinanet import MultiTaskRetinaNet
from rsna_det.runs.description import build_network, read_description
from rsna_det.runs.folder import RunFolder
from rsna_det.training.checkpoint_io import network_weights, read_checkpoint

log = logging.getLogger(__name__)

_EPOCH = Number(low=0, high=10**6, whole=True)


@dataclass(frozen=True, kw_only=True)
class Member:
    """One checkpoint of a detector; its weights stay on disk.

    Attributes:
        path: of the checkpoint.
        name: of its experiment.
        fold: the one that its run validated on.
        epoch: after which it was written, from 0.
        image_size: side of the square images it was trained on, network pixels.
        levels: numbers of its pyramid's levels.
        decoding: from scored anchors to detections, as in its run.
        encoder: arguments of its encoder, checked.
        model: arguments of the rest of the network, checked.
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


def find_members(checkpoints: str | Path | Sequence[str | Path]) -> list[Member]:
    """The members that paths and globs name, sorted by path, each file once; a further name of one is warned of.

    Raises:
        ConfigError: if nothing or a folder is named, or if members cannot be combined: two of them and what differs.
        MissingFileError: for a path or glob that matches nothing.
        DataError: for a file that is damaged, would run code or is no checkpoint of this package.
    """
    places = [checkpoints] if isinstance(checkpoints, str | Path) else list(checkpoints)
    members = [read_member(path) for path in _each_once(places)]
    if not members:
        raise ConfigError("checkpoints is empty: name one or more, `checkpoints=<file>`")
    _check_agreement(members)
    seen: dict[tuple[Path, int, int], Path] = {}
    for member in members:
        twin = seen.setdefault((member.path.parent, member.fold, member.epoch), member.path)
        if twin != member.path:
            log.warning(
                "%s and %s are checkpoints of the same run and epoch, which therefore counts twice",
                twin,
                member.path.name,
            )
    return members


def _each_once(places: Sequence[str | Path]) -> list[Path]:
    """The files that places name, sorted; of several names of one file the first, and a warning of the others."""
    named = {place_of(path): path for place in places for path in matching_paths(str(place), option="checkpoints")}
    files: dict[Path, Path] = {}
    for path in sorted(named.values()):
        with readable(path):
            first = files.setdefault(path.resolve(strict=True), path)
        if first != path:
            log.warning("%s is the same file as %s, which counts once", shown(path), shown(first))
    return list(files.values())


def read_member(path: Path) -> Member:
    """A checkpoint as a member, from the description that its run wrote into it.

    Raises:
        ConfigError: if the path is a folder.
        MissingFileError: if there is no such file.
        DataError: if it is damaged, would run code, is no checkpoint of this package, or its weights are not finite.
    """
    if path.is_dir():
        raise ConfigError(f"{path} is a folder: name the checkpoints in it, `{path}/*.ckpt` for all")
    content = read_checkpoint(path)
    try:
        description = read_description(content.get("rsna_det"))
    except DataError as error:
        raise _foreign(path, error) from error
    epoch = content.get("epoch")
    problem = _EPOCH.problem(epoch)
    if problem is not None or not isinstance(epoch, int):
        raise _foreign(path, f"epoch is {shown_value(epoch)}: {problem}")
    network_weights(path, content)
    return Member(
        path=path,
        name=description.name,
        fold=description.fold,
        epoch=epoch,
        image_size=description.image_size,
        levels=tuple(description.model["levels"]),
        decoding=description.decoding,
        encoder=description.encoder,
        model=description.model,
    )


def load_model(member: Member) -> MultiTaskRetinaNet:
    """A member's network with its weights, for evaluation, on the CPU.

    Raises:
        MissingFileError: if the checkpoint is gone.
        DataError: if the checkpoint cannot be read, or its weights do not fit its description.
    """
    weights = network_weights(member.path, read_checkpoint(member.path))
    try:
        model = build_network(encoder=member.encoder, model=member.model, weights=weights)
    except DataError as error:
        raise DataError(f"the weights of {member.path} do not fit its own description: {error}") from error
    return model.eval().requires_grad_(requires_grad=False)


def trained_on(member: Member, image_ids: Collection[str]) -> list[str] | None:
    """Those of the images that the member was trained on, sorted; None if its run's truth table is missing."""
    try:
        truth = RunFolder.of_checkpoint(member.path).tables.truth()
    except (MissingFileError, DataError, StorageError) as error:
        log.info("cannot tell whether %s was trained on some of the images: %s", member.path, error)
        return None
    return sorted(set(truth.loc[truth["role"] == "train", "image_id"]) & set(image_ids))


def _foreign(path: Path, problem: object) -> DataError:
    return DataError(f"{path} is not a checkpoint that rsna_det.train wrote ({problem})")


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
