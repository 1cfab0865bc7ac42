"""A prediction as its options ask for it: members, files, operating point; what was found, and where it lies."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from rsna_det.config.console import table_of
from rsna_det.config.devices import pick_device
from rsna_det.config.options import PredictOptions
from rsna_det.data.cache.decoding_pool import available_cores
from rsna_det.data.dicom.discovery import find_radiographs
from rsna_det.data.dicom.reading import DicomError, read_size
from rsna_det.data.labels.reading import read_truth
from rsna_det.evaluation.operating_point import OperatingPoint
from rsna_det.predict.folder import DETECTIONS, PICTURES, SUBMISSION
from rsna_det.predict.members import Member, find_members, operating_point, trained_on
from rsna_det.predict.pipeline import predict
from rsna_det.predict.plan import DECODING, DRAWING, Result, Settings

log = logging.getLogger(__name__)

_POINT_KEYS = ("cut", "nms_iou", "relative_cut", "size_rule", "size_scale", "rescale_factor")
_SHOWN = 5


def predict_files(options: PredictOptions) -> Result:
    """Predict as the options say, into ``options.out``, which this process holds.

    Raises:
        ConfigError: before anything is predicted, for options that do not go together.
        InUseError: if another prediction lies in the folder.
    """
    settings = _settings(options)
    members = find_members(options.checkpoints)
    point = _point(options, members)
    files = find_radiographs(options.images)
    truths = _truths(options.labels, files) if options.labels else None
    log.info("%d images, %d members: %s", len(files), len(members), ", ".join(str(m.path) for m in members[:_SHOWN]))
    result = predict(
        files=files,
        members=members,
        point=point,
        out=options.out,
        settings=settings,
        truths=truths,
        member_rows=_member_rows(members, list(files)),
        overwrite=options.overwrite,
    )
    _conclude(options.out, result, settings, point)
    return result


def _settings(options: PredictOptions) -> Settings:
    # True is a number as well.
    pictures = {True: None, False: 0}[options.pictures] if isinstance(options.pictures, bool) else options.pictures
    return Settings(
        batch_size=options.batch_size,
        memory_gb=options.memory_gb,
        workers=available_cores() if options.workers is None else options.workers,
        device=pick_device(options.accelerator),
        pictures=pictures,
    )


def _point(options: PredictOptions, members: Sequence[Member]) -> OperatingPoint:
    changed = {key: getattr(options, key) for key in _POINT_KEYS if getattr(options, key) is not None}
    point = replace(operating_point(members, options.operating_point), **changed)
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
