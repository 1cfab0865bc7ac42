"""The command's work: a prediction as its options ask for it, and a summary of what was detected."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from rsna_det.config.console import table_of
from rsna_det.config.devices import pick_device
from rsna_det.config.options import PredictOptions
from rsna_det.data.cache.decoding_pool import available_cores
from rsna_det.data.dicom.discovery import find_radiographs
from rsna_det.data.dicom.limits import Limits
from rsna_det.data.dicom.problems import DicomError
from rsna_det.data.dicom.reading import read_size
from rsna_det.data.labels.reading import read_truth
from rsna_det.evaluation.operating_point import OPERATING_POINT, OperatingPoint
from rsna_det.predict.ensemble_point import CHANGEABLE, choose_point
from rsna_det.predict.folder import DETECTIONS, FILES, IMAGES, MEMBERS, PICTURES, PROBLEMS, SUBMISSION
from rsna_det.predict.members import Member, find_members, trained_on
from rsna_det.predict.plan import DECODING, DRAWING, Settings, Timings
from rsna_det.predict.resumable import Result, predict_into

log = logging.getLogger(__name__)

_SHOWN = 5


def predict_files(options: PredictOptions) -> Result:
    """Predict as the options say, into ``options.out``, which this process holds.

    Raises:
        ConfigError: before anything is predicted, for options that contradict each other or the checkpoints.
        InvalidValueError: likewise, for a number out of range.
        MissingFileError: likewise, for a checkpoint, image or table that does not exist.
        DataError: for a damaged checkpoint, table or operating point; a damaged image is recorded instead.
        InUseError: if the folder holds another prediction.
        ResourceError: if there is no GPU although one is asked for, or memory is too small.
    """
    settings = _settings(options)
    members = find_members(options.checkpoints)
    point = choose_point(members, options.operating_point, {name: getattr(options, name) for name in CHANGEABLE})
    files = find_radiographs(options.images)
    truths = _truths(options.labels, files, settings.limits) if options.labels else None
    log.info("%d images, %d members: %s", len(files), len(members), ", ".join(str(m.path) for m in members[:_SHOWN]))
    result = predict_into(
        options.out,
        files=files,
        members=members,
        point=point,
        settings=settings,
        truths=truths,
        member_rows=_member_rows(members, list(files)),
        overwrite=options.overwrite,
    )
    table_of("prediction", _summary(options.out, result, settings, point))
    for problem in result.problems.values():
        log.error("not predicted: %s", problem)
    for problem in result.undrawn.values():
        log.error("predicted, but not drawn: %s", problem)
    return result


def _settings(options: PredictOptions) -> Settings:
    # A bool is an int, too.
    pictures = {True: None, False: 0}[options.pictures] if isinstance(options.pictures, bool) else options.pictures
    return Settings(
        batch_size=options.batch_size,
        memory_gb=options.memory_gb,
        workers=available_cores() if options.workers is None else options.workers,
        device=pick_device(options.accelerator),
        pictures=pictures,
        limits=Limits.of(**vars(options.reading)),
    )


def _truths(labels: Path, files: Mapping[str, Path], limits: Limits) -> dict[str, np.ndarray]:
    """True boxes of the images that have labels, source pixels."""
    sizes = {}
    for image_id, path in files.items():
        try:
            sizes[image_id] = read_size(path, limits=limits)
        except DicomError:
            # Reported when its pixels are read.
            continue
    truth = read_truth(labels, sizes=sizes)
    return dict(zip(truth["image_id"], truth["boxes"], strict=True))


def _member_rows(members: Sequence[Member], image_ids: Sequence[str]) -> list[dict[str, object]]:
    """The rows of ``members.csv``; warns of members that were trained on images to predict."""
    rows: list[dict[str, object]] = []
    for member in members:
        seen = trained_on(member, image_ids)
        if seen:
            ids = ", ".join(seen[:_SHOWN]) + (", ..." if len(seen) > _SHOWN else "")
            log.warning(
                "%s was trained on %d of the %d images; its scores on these do not hold for new images: %s",
                *(member.path, len(seen), len(image_ids), ids),
            )
        count = "" if seen is None else len(seen)
        columns = {"path": member.path, "name": member.name, "fold": member.fold, "epoch": member.epoch}
        rows.append({**columns, "images_trained_on": count})
    return rows


def _summary(folder: Path, result: Result, settings: Settings, point: OperatingPoint) -> dict[str, str]:
    """What was detected, how fast, and where it is."""
    boxes = [len(found.scores) for found in result.found.values()]
    rows = {
        "images": str(len(boxes)),
        "  with boxes": str(sum(count > 0 for count in boxes)),
        "  boxes": str(sum(boxes)),
        "  unreadable": str(len(result.problems)),
        "operating point": f"score threshold {point.cut:g}, NMS IoU {point.nms_iou:g}, size rule {point.size_rule}",
    }
    if result.undrawn:
        rows["  without picture"] = str(len(result.undrawn))
    rows |= _speeds(result.timings)
    rows |= {
        "folder": str(folder),
        "  boxes, challenge format": SUBMISSION,
        "  boxes, table": DETECTIONS,
        "  candidates before NMS": "*.candidates.parquet",
        "  image categories": f"{IMAGES}.parquet",
        "  ids, members, problems": f"{FILES}, {MEMBERS}, {PROBLEMS}",
        "  operating point": OPERATING_POINT,
    }
    if settings.pictures != 0:
        rows["  pictures"] = f"{PICTURES}/"
    return rows


def _speeds(timings: Timings) -> dict[str, str]:
    """Images per second of each stage."""
    rows = {}
    for stage, seconds in timings.seconds.items():
        count = timings.counts[stage]
        where = " per worker" if stage in (DECODING, DRAWING) else ""
        rows[f"  {stage}"] = f"{count / seconds:.1f} per second{where} ({count} in {seconds:.2g} s)"
    return rows
