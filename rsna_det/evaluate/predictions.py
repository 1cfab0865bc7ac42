"""The evaluation of a prediction with labels: the report, and the size rules compared."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from rsna_det.config.options import EvaluateOptions
from rsna_det.data.labels.reading import read_test_ids, read_truth
from rsna_det.errors import ConfigError, DataError
from rsna_det.evaluate.prediction_report import coverage, first_ids, sections, show, warn_of_unreadable
from rsna_det.evaluate.report import write_report
from rsna_det.evaluation.candidate_rows import CandidateRows, candidate_rows
from rsna_det.evaluation.metric import scores_of_lists
from rsna_det.evaluation.operating_point import OPERATING_POINT, OperatingPoint, image_detections, read_operating_point
from rsna_det.evaluation.operating_report import make_report, units_in_words
from rsna_det.evaluation.out_of_fold import true_boxes
from rsna_det.evaluation.statistics.bootstrap import bootstrap_mean, paired_difference
from rsna_det.evaluation.tables import CANDIDATES_SCHEMA, IMAGES_SCHEMA, read_table
from rsna_det.files.tables import markdown_code, markdown_text, read_csv_text, write_csv
from rsna_det.predict.folder import FILES, IMAGES, MEAN, MEMBERS, PERCENTILE

log = logging.getLogger(__name__)

_REMEDY = "predict again with overwrite=true"
_METHODS = {"none": "mean", "percentile": "percentile", "rescale": "re-scaled"}
"""Table 4's methods by size rule."""


def score_predictions(options: EvaluateOptions) -> dict[str, float]:
    """Score the prediction in ``options.predictions`` with ``options.labels``, into ``options.run_dir``.

    Returns:
        The numbers of the report at the prediction's own size rule.

    Raises:
        RsnaDetError: if the folder holds no prediction, wanted ids have no prediction or no label, or labels or a
            table are missing or damaged.
    """
    source, folder = Path(str(options.predictions)), options.run_dir
    if not (source / OPERATING_POINT).is_file():
        raise ConfigError(f"predictions={source} is not the folder of a prediction: it has no {OPERATING_POINT}")
    point = read_operating_point(source / OPERATING_POINT)
    files = _read_csv(source / FILES, text=["image_id"], numbers=["width", "height"]).set_index("image_id")
    warn_of_unreadable(files)
    members = _read_csv(source / MEMBERS, numbers=["images_trained_on"])
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
        title=f"Prediction {markdown_code(source)}, scored with {markdown_code(options.labels)}",
        sections={
            "Images": markdown_text(coverage(files, images["image_id"], listed=options.ids is not None)),
            **sections(members, point, rules, units=units_in_words(images["true_patient"])),
        },
    )
    show(report, rules, folder)
    return report.numbers


def _read_csv(path: Path, *, numbers: Sequence[str], text: Sequence[str] = ()) -> pd.DataFrame:
    """A table of a prediction.

    Args:
        path: of the CSV file.
        numbers: columns that it must have, of whole numbers from 0 or empty cells.
        text: further columns that it must have. All others are text as well: an image may be called 007 or NA.

    Raises:
        MissingFileError, StorageError: if it cannot be read.
        DataError: if it is damaged; naming the file and the remedy.
    """
    table = read_csv_text(path, needed=[*text, *numbers], remedy=_REMEDY)
    for name in numbers:
        wrong = table.loc[~table[name].str.fullmatch(r"[0-9]{0,9}"), name]
        if len(wrong):
            raise DataError(
                f"{path} is damaged ({name} is {wrong.iloc[0][:50]!r}; expected a whole number or nothing): {_REMEDY}"
            )
    for name in text:
        if table[name].duplicated().any():
            twice = table.loc[table[name].duplicated(), name].iloc[0]
            raise DataError(f"{path} is damaged ({name} {twice[:100]!r} occurs twice): {_REMEDY}")
    return table.assign(**{name: pd.to_numeric(table[name]) for name in numbers})


def _labelled(options: EvaluateOptions, files: pd.DataFrame) -> pd.DataFrame:
    """The labels of the images to score: those of ``ids``, or all that have a prediction and a label."""
    wanted = files.index
    if options.ids is not None:
        wanted = pd.Index(sorted(read_test_ids(options.ids)))
        _check_all(wanted, files.index, f"ids of {options.ids}", "prediction")
    sizes = files.loc[wanted, ["height", "width"]].itertuples()
    truth = read_truth(
        Path(str(options.labels)),
        patients_csv=options.patients_csv,
        # The size of an image that could not be read is unknown.
        sizes={str(name): None if np.isnan(height) else (int(height), int(width)) for name, height, width in sizes},
    )
    if options.ids is not None:
        _check_all(wanted, pd.Index(truth["image_id"]), f"ids of {options.ids}", "label")
    log.info(coverage(files, truth["image_id"], listed=options.ids is not None))
    if options.patients_csv is None:
        log.warning("without patients_csv every image counts as a patient of its own, so the intervals are too narrow")
    return truth


def _check_all(wanted: pd.Index, present: pd.Index, whose: str, what: str) -> None:
    lacking = wanted.difference(present)
    if len(lacking):
        raise ConfigError(f"{len(lacking)} of the {len(wanted)} {whose} have no {what}: {first_ids(lacking)}")


def _rows(source: Path, image_ids: list[str]) -> dict[str, CandidateRows]:
    """The candidates for each way of combining members."""
    paths = {name: source / f"{name}.parquet" for name in (MEAN, PERCENTILE)}
    # A single member has no spread of sizes, and no second table.
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
    """Table 4's methods: the mAP of each size rule, and its paired difference from the mean of the members."""
    truths, patients = true_boxes(images), images["true_patient"].tolist()
    table, plain = [], None
    for rule, method in _METHODS.items():
        if rule == "percentile" and PERCENTILE not in rows:
            continue
        detections = image_detections(rows[_combination(rule, rows)], replace(point, size_rule=rule))
        scores = scores_of_lists(detections=detections, truths=truths, cuts=[0.0])[:, 0].numpy()
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
