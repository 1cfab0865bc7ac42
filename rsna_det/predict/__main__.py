"""Predict boxes: ``python -m rsna_det.predict checkpoints=<files> images=<folder of DICOM files>``.

Several checkpoints make an ensemble, combined anchor by anchor before decoding. Writes the challenge's submission, the
candidates that its boxes were made of, and a picture of each radiograph.
"""

import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf

from rsna_det.config.check import check_config
from rsna_det.config.compose import CONF, compose_config, override_key
from rsna_det.config.console import check_command_line, errors_as_messages, set_up, table_of
from rsna_det.data.cache.decoding_pool import available_cores
from rsna_det.data.dicom.discovery import find_radiographs
from rsna_det.data.dicom.reading import DicomError, read_size
from rsna_det.data.labels.reading import read_truth
from rsna_det.errors import ConfigError
from rsna_det.evaluation.operating_point import OperatingPoint
from rsna_det.files.output_lock import check_not_in_use, in_use
from rsna_det.predict.folder import DETECTIONS, PICTURES, SUBMISSION, check_not_finished
from rsna_det.predict.members import Member, find_members, operating_point, trained_on
from rsna_det.predict.pipeline import predict
from rsna_det.predict.plan import DECODING, DRAWING, Result, Settings

log = logging.getLogger(__name__)

_POINT_KEYS = ("cut", "nms_iou", "relative_cut", "size_rule", "size_scale", "rescale_factor")
_SHOWN = 5


def main() -> None:
    """Predict as the command line says; exit status 1 if a file could not be read or drawn."""
    set_up()
    with errors_as_messages():
        check_command_line("predict")
        _refuse_taken(sys.argv[1:])
    _start()


@hydra.main(config_path=str(CONF), config_name="predict", version_base="1.3")
def _start(config: DictConfig) -> None:
    with errors_as_messages():
        result = run(config)
    if result.problems or result.undrawn:
        sys.exit(1)


def run(config: DictConfig) -> Result:
    """Predict as configured.

    Raises:
        ConfigError: before anything is predicted, for a configuration that cannot run.
        FileExistsError: if another prediction lies in the folder, or another process writes into it.
    """
    check_config(config)
    settings = _settings(config)
    members = find_members(_plain(config.checkpoints))
    point = _point(config, members)
    files = find_radiographs(_plain(config.images))
    truths = _truths(Path(config.labels).expanduser(), files) if config.labels else None
    log.info("%d images, %d members: %s", len(files), len(members), ", ".join(str(m.path) for m in members[:_SHOWN]))
    out = Path(config.out).expanduser()
    with in_use(out):
        result = predict(
            files=files,
            members=members,
            point=point,
            out=out,
            settings=settings,
            truths=truths,
            member_rows=_member_rows(members, list(files)),
            overwrite=config.overwrite,
        )
    _conclude(Path(config.out), result, settings, point)
    return result


def pick_device(accelerator: str) -> torch.device:
    """The device that ``auto``, ``cpu`` or ``cuda`` means here.

    Raises:
        ConfigError: if a GPU is asked for and there is none.
    """
    available = torch.cuda.is_available()
    if accelerator == "cuda" and not available:
        raise ConfigError("accelerator=cuda, and torch sees no GPU here: set accelerator=cpu or auto")
    return torch.device("cuda" if accelerator != "cpu" and available else "cpu")


def _refuse_taken(arguments: Sequence[str]) -> None:
    """Before Hydra writes its files into the folder."""
    if not any(override_key(argument) == "out" for argument in arguments):
        return
    config = compose_config("predict", [a for a in arguments if not a.startswith("-")])
    out = Path(config.out).expanduser()
    check_not_in_use(out)
    if not config.overwrite:
        check_not_finished(out)


def _plain(value: Any) -> str | list[str]:  # noqa: ANN401
    plain: Any = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
    return plain  # type: ignore[no-any-return]


def _settings(config: DictConfig) -> Settings:
    # True is a number as well.
    pictures = {True: None, False: 0}[config.pictures] if isinstance(config.pictures, bool) else config.pictures
    return Settings(
        batch_size=config.batch_size,
        memory_gb=config.memory_gb,
        workers=available_cores() if config.workers is None else config.workers,
        device=pick_device(config.accelerator),
        pictures=pictures,
    )


def _point(config: DictConfig, members: Sequence[Member]) -> OperatingPoint:
    file = Path(config.operating_point).expanduser() if config.operating_point else None
    changed = {key: config[key] for key in _POINT_KEYS if config[key] is not None}
    point = replace(operating_point(members, file), **changed)
    if point.size_rule == "percentile" and len(members) == 1:
        log.warning("size_rule=percentile measures the spread between members: of one it is none, and sizes stay")
    # Only an evaluation of runs notes the epoch.
    if point.epoch is not None and len(members) > 1 and "cut" not in changed:
        log.warning(
            "cut %g was chosen on single models and is applied to the mean of %d: its scores lie otherwise. Hold the "
            "prediction against labelled images (`python -m rsna_det.evaluate predictions=<out> labels=<folder>`) and "
            "give what suits it with `cut=`",
            *(point.cut, len(members)),
        )
    return point


def _truths(labels: Path, files: Mapping[str, Path]) -> dict[str, np.ndarray]:
    """True boxes of those images that have labels, source pixels."""
    sizes = {}
    for image_id, path in files.items():
        try:
            sizes[image_id] = read_size(path)
        except DicomError:
            # Reported when its pixels are read.
            continue
    truth = read_truth(labels, sizes=sizes)
    return dict(zip(truth["image_id"], truth["boxes"], strict=True))


def _member_rows(members: Sequence[Member], image_ids: Sequence[str]) -> list[dict[str, object]]:
    """What ``members.csv`` says; warns of members that have learnt from the images they are to predict."""
    rows: list[dict[str, object]] = []
    for member in members:
        seen = trained_on(member, image_ids)
        if seen:
            ids = ", ".join(seen[:_SHOWN]) + (", ..." if len(seen) > _SHOWN else "")
            log.warning(
                "%s was trained on %d of the %d images, its boxes on these say nothing of new ones: %s",
                *(member.path, len(seen), len(image_ids), ids),
            )
        count = "" if seen is None else len(seen)
        columns = {"path": member.path, "name": member.name, "fold": member.fold, "epoch": member.epoch}
        rows.append({**columns, "images_trained_on": count})
    return rows


def _conclude(folder: Path, result: Result, settings: Settings, point: OperatingPoint) -> None:
    """Say what was found, how fast, where it lies, and what could not be read."""
    boxes = [len(found.scores) for found in result.found.values()]
    rows = {
        "images": str(len(boxes)),
        "  with boxes": str(sum(count > 0 for count in boxes)),
        "  boxes": str(sum(boxes)),
        "  could not be read": str(len(result.problems)),
        "operating point": f"cut {point.cut:g}, NMS IoU {point.nms_iou:g}, size rule {point.size_rule}",
    }
    if result.undrawn:
        rows["  could not be drawn"] = str(len(result.undrawn))
    for stage, seconds in result.seconds.items():
        count = result.counts[stage]
        where = " in one worker" if stage in (DECODING, DRAWING) else ""
        rows[f"  {stage}"] = f"{count / seconds:.1f} a second{where} ({count} in {seconds:.2g} s)"
    rows |= {
        "folder": str(folder),
        "  boxes, the challenge's CSV": SUBMISSION,
        "  the same as a table": DETECTIONS,
        "  candidates before NMS": "*.candidates.parquet",
        "  categories of images": "images.parquet",
        "  ids, members, problems": "files.csv, members.csv, problems.csv",
        "  numbers that made the boxes": "operating_point.yaml",
    }
    if settings.pictures != 0:
        rows["  pictures"] = f"{PICTURES}/"
    table_of("prediction", rows)
    for problem in result.problems.values():
        log.error("not predicted: %s", problem)
    for problem in result.undrawn.values():
        log.error("predicted, but not drawn: %s", problem)


if __name__ == "__main__":
    main()
