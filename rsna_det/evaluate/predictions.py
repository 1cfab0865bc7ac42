"""The evaluation of a prediction against labels: the report, and the rules of box sizes beside one another."""

import logging
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd

from rsna_det.config.console import table_of
from rsna_det.config.options import EvaluateOptions
from rsna_det.data.labels.reading import read_test_ids, read_truth
from rsna_det.errors import ConfigError
from rsna_det.evaluate.report import write_report
from rsna_det.evaluation.candidate_rows import CandidateRows, candidate_rows
from rsna_det.evaluation.metric import scores_of_lists
from rsna_det.evaluation.operating_point import OPERATING_POINT, OperatingPoint, image_detections, read_operating_point
from rsna_det.evaluation.operating_report import OperatingReport, make_report, units_in_words
from rsna_det.evaluation.out_of_fold import true_boxes
from rsna_det.evaluation.statistics.bootstrap import bootstrap_mean, paired_difference
from rsna_det.evaluation.tables import CANDIDATES_SCHEMA, IMAGES_SCHEMA, read_table
from rsna_det.files.tables import markdown_table, write_csv
from rsna_det.predict.folder import FILES, IMAGES, MEAN, MEMBERS, PERCENTILE

log = logging.getLogger(__name__)

_METHODS = {"none": "mean", "percentile": "percentile", "rescale": "re-scaled"}
"""The size rules as table 4's methods."""
_NAMED = 5


def score_predictions(options: EvaluateOptions) -> dict[str, float]:
    """Score the prediction in ``options.predictions`` against ``options.labels``, into ``options.run_dir``.

    Returns:
        The numbers of the report at the prediction's own size rule.

    Raises:
        ConfigError: if the folder holds no prediction, or wanted ids have no prediction or no label.
        FileNotFoundError: if labels or a table are missing.
        ValueError: if a table is damaged.
    """
    source, folder = Path(str(options.predictions)), options.run_dir
    if not (source / OPERATING_POINT).is_file():
        raise ConfigError(f"predictions={source} is no folder of a prediction: there is no {source / OPERATING_POINT}")
    point = read_operating_point(source / OPERATING_POINT)
    files = _files(source)
    images = _labelled(options, files)
    predicted = read_table(source / f"{IMAGES}.parquet", IMAGES_SCHEMA).set_index("image_id")
    rows = _rows(source, images["image_id"].tolist())
    rules = _size_rules(images, rows, point, resamples=options.resamples, seed=options.seed)
    write_csv(rules, folder / "size_rules.csv")
    report = make_report(
        images=images,
        rows=rows[_combination(point.size_rule, rows)],
        point=point,
        p_opacity=predicted["p_opacity"].reindex(images["image_id"]).to_numpy(np.float64),
        resamples=options.resamples,
        seed=options.seed,
    )
    write_report(
        report,
        folder,
        title=f"Prediction {source} against {options.labels}",
        sections={"Images": _coverage(files, images["image_id"], listed=options.ids is not None)}
        | _sections(source, point, rules, units=units_in_words(images["true_patient"])),
    )
    _show(report, rules, folder)
    return report.numbers


def _files(source: Path) -> pd.DataFrame:
    """The files that were predicted, by image id: ``width`` and ``height`` (source pixels), NaN where unreadable."""
    files = _read_csv(source / FILES, numbers=["width", "height"]).set_index("image_id")
    unreadable = files.index[files["width"].isna()]
    if len(unreadable):
        log.warning(
            "%d images could not be read when they were predicted and count as without boxes: %s",
            *(len(unreadable), _some(unreadable)),
        )
    return files


def _read_csv(path: Path, *, numbers: list[str]) -> pd.DataFrame:
    """A table as text, but for some columns of numbers where a cell may be empty: an image may be called NA, or 007."""
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    return table.assign(**{name: pd.to_numeric(table[name]) for name in numbers})


def _labelled(options: EvaluateOptions, files: pd.DataFrame) -> pd.DataFrame:
    """The labels of the images to score: those of ``ids``, or all that are both predicted and labelled."""
    wanted = files.index
    if options.ids is not None:
        wanted = pd.Index(sorted(read_test_ids(options.ids)))
        _check_all(wanted, files.index, f"ids of {options.ids}", "prediction")
    sizes = files.loc[wanted, ["height", "width"]].itertuples()
    truth = read_truth(
        Path(str(options.labels)),
        patients_csv=options.patients_csv,
        # Of an image that could not be read the size is not known.
        sizes={str(name): None if np.isnan(height) else (int(height), int(width)) for name, height, width in sizes},
    )
    if options.ids is not None:
        _check_all(wanted, pd.Index(truth["image_id"]), f"ids of {options.ids}", "label")
    log.info(_coverage(files, truth["image_id"], listed=options.ids is not None))
    if options.patients_csv is None:
        log.warning("without patients_csv every image counts as a patient of its own: the intervals are too narrow")
    return truth


def _coverage(files: pd.DataFrame, scored: pd.Series, *, listed: bool) -> str:
    """Which of the predicted images are scored."""
    left_out = files.index.difference(pd.Index(scored))
    text = f"{len(scored)} of {len(files)} predicted images have labels and are scored."
    if listed:
        text = f"{len(scored)} of {len(files)} predicted images are scored: those of the list of ids."
    if len(left_out):
        why = "are not on it" if listed else "have no labels"
        text += f" {len(left_out)} {why} and are left out: {_some(left_out)}."
    unreadable = int(files.loc[scored, "width"].isna().sum())
    return text + (f" {unreadable} of the scored could not be read and count as without boxes." if unreadable else "")


def _check_all(wanted: pd.Index, present: pd.Index, whose: str, what: str) -> None:
    lacking = wanted.difference(present)
    if len(lacking):
        raise ConfigError(f"{len(lacking)} of the {len(wanted)} {whose} have no {what}: {_some(lacking)}")


def _members(source: Path) -> str:
    """The members of the prediction; says it where some had learnt from the images that are scored."""
    members = _read_csv(source / MEMBERS, numbers=["images_trained_on"])
    table = markdown_table(members)
    learnt = members["images_trained_on"]
    if learnt.isna().any():
        table += "\n\nOf some members it is not known which images they were trained on."
    if (learnt > 0).any():
        warning = f"{(learnt > 0).sum()} of {len(members)} members were trained on images of this prediction"
        log.warning("%s: the scores say nothing of new images", warning)
        table += f"\n\n**{warning}: the scores say nothing of new images.**"
    return table


def _some(ids: pd.Index) -> str:
    return ", ".join(map(str, ids[:_NAMED])) + (", ..." if len(ids) > _NAMED else "")


def _rows(source: Path, image_ids: list[str]) -> dict[str, CandidateRows]:
    """The candidates by how members were combined."""
    paths = {name: source / f"{name}.parquet" for name in (MEAN, PERCENTILE)}
    # One member has no spread of sizes: there is no second table.
    return {
        name: candidate_rows(read_table(path, CANDIDATES_SCHEMA), image_ids)
        for name, path in paths.items()
        if name == MEAN or path.is_file()
    }


def _combination(size_rule: str, rows: dict[str, CandidateRows]) -> str:
    return PERCENTILE if size_rule == "percentile" and PERCENTILE in rows else MEAN


def _size_rules(
    images: pd.DataFrame, rows: dict[str, CandidateRows], point: OperatingPoint, *, resamples: int, seed: int
) -> pd.DataFrame:
    """Table 4's method column: each rule's score, and its paired difference to the mean of the members."""
    truths, patients = true_boxes(images), images["true_patient"].tolist()
    table, plain = [], None
    for rule, method in _METHODS.items():
        if rule == "percentile" and PERCENTILE not in rows:
            continue
        found = image_detections(rows[_combination(rule, rows)], replace(point, size_rule=rule))
        scores = scores_of_lists(detections=found, truths=truths, cuts=[0.0])[:, 0].numpy()
        plain = scores if plain is None else plain
        own = bootstrap_mean(scores, true_patients=patients, resamples=resamples, seed=seed)
        more = paired_difference(scores, plain, true_patients=patients, resamples=resamples, seed=seed)
        table.append(
            {
                "size_rule": rule,
                "method": method,
                "map": own.estimate,
                "map_low": own.low,
                "map_high": own.high,
                "more_than_mean": more.estimate,
                "more_low": more.low,
                "more_high": more.high,
            }
        )
    return pd.DataFrame(table)


def _sections(source: Path, point: OperatingPoint, rules: pd.DataFrame, *, units: str) -> dict[str, str]:
    numbers = pd.DataFrame(asdict(point).items(), columns=["operating point", "value"])
    return {
        "Members": _members(source),
        "Operating point": markdown_table(numbers),
        "Rules of box sizes": (
            f"{markdown_table(rules)}\n\nIntervals are 95% bootstraps over {units}; differences are paired, over the "
            "same images."
        ),
    }


def _show(report: OperatingReport, rules: pd.DataFrame, folder: Path) -> None:
    rows = {
        f"mAP, {row.method}": f"{row.map:.4f} ({row.map_low:.4f} to {row.map_high:.4f})"
        for row in rules.itertuples(index=False)
    }
    numbers = report.numbers
    rows |= {
        "operating point": f"cut {report.point.cut:g}, NMS IoU {report.point.nms_iou:g}, {report.point.size_rule}",
        "sensitivity, false positives/image": f"{report.sensitivity:.3f}, {report.false_positives_per_image:.3f}",
        "COCO AP50, AP": f"{numbers['coco_ap50']:.4f}, {numbers['coco_ap']:.4f}",
        "images": f"{numbers['images']}",
        "report": str(folder / "report.md"),
    }
    table_of("prediction against labels (95% intervals)", rows)
