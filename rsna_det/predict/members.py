"""Checkpoints -> the members of an ensemble: how each was trained, and its network."""

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from rsna_det.boxes.decoding import DecodingSettings
from rsna_det.config.compose import build
from rsna_det.errors import ConfigError, DataError, MissingFileError, StorageError
from rsna_det.files.names import shown
from rsna_det.files.paths import matching_paths, place_of
from rsna_det.files.reading import readable
from rsna_det.models.retinanet import MultiTaskRetinaNet
from rsna_det.runs.folder import RunFolder
from rsna_det.runs.records import Record, problems_of
from rsna_det.training.checkpoint_io import read_checkpoint

log = logging.getLogger(__name__)

_WEIGHTS = "model."


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
        encoder: component that builds its encoder.
        model: component that builds the rest of the network.
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


class _Description(Record):
    """What a run notes in its checkpoints, so that the network can be rebuilt."""

    name: str
    fold: int
    image_size: int
    encoder: dict[str, Any]
    model: dict[str, Any]
    decoding: dict[str, Any]


class _Content(Record):
    """What is needed of a checkpoint."""

    epoch: int
    state_dict: dict[str, Any]
    rsna_det: _Description


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
        DataError: if it is damaged, would run code or is no checkpoint of this package.
    """
    if path.is_dir():
        raise ConfigError(f"{path} is a folder: name the checkpoints in it, `{path}/*.ckpt` for all")
    content = read_checkpoint(path)
    needed = {name: content[name] for name in _Content.model_fields if name in content}
    try:
        found = _Content.model_validate(needed)
    except ValidationError as error:
        raise _foreign(path, problems_of(error)) from error
    description = found.rsna_det
    for target in _targets([description.encoder, description.model, description.decoding]):
        # Only what belongs to this package may be built.
        if not str(target).startswith("rsna_det."):
            raise _foreign(path, f"it would call {target}")
    return Member(
        path=path,
        name=description.name,
        fold=description.fold,
        epoch=found.epoch,
        image_size=description.image_size,
        levels=_levels(path, description),
        decoding=_decoding(path, description),
        encoder=description.encoder,
        model=description.model,
    )


def load_model(member: Member) -> MultiTaskRetinaNet:
    """A member's network with its weights, for evaluation, on the CPU.

    Raises:
        MissingFileError: if the checkpoint is gone.
        DataError: if the checkpoint cannot be read, or its weights do not fit its description.
    """
    model: MultiTaskRetinaNet = _built(member.model, encoder=_built(member.encoder))
    state = read_checkpoint(member.path)["state_dict"]
    weights = {name.removeprefix(_WEIGHTS): value for name, value in state.items() if name.startswith(_WEIGHTS)}
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
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


def _built(component: Mapping[str, Any], **parts: object) -> Any:  # noqa: ANN401
    return build(component, **parts)


def _foreign(path: Path, problem: object) -> DataError:
    return DataError(f"{path} is not a checkpoint that rsna_det.train wrote ({problem})")


def _levels(path: Path, description: _Description) -> tuple[int, ...]:
    levels = description.model.get("levels")
    if not isinstance(levels, list) or not levels or not all(isinstance(level, int) for level in levels):
        raise _foreign(path, f"model.levels is {levels!r}")
    return tuple(levels)


def _decoding(path: Path, description: _Description) -> DecodingSettings:
    try:
        settings: DecodingSettings = _built(description.decoding)
    except (TypeError, ValueError) as error:
        # Keys and types are the file's, and so is what is wrong with them.
        raise _foreign(path, f"decoding: {error}") from error
    return settings


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
